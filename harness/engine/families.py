"""The families of Neural Engine: limits, support of MIL's ops, costs, and the source of every figure.

Read from ane_rms/neural_engine.json, which ships with ``ane_rms``. A new chip needs one entry in ``families``
there, with its capability tier, from which the supported ops follow. Figures are those of arXiv 2606.22283 (G)
and ANEForge (F), whose authors dispatch below Core ML: Core ML may place or lower an op otherwise.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import msgspec

from harness.errors import UnknownNameError
from harness.interpreter.engine_numerics import data_path

if TYPE_CHECKING:
    from collections.abc import Sequence


class Figure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One figure with its source, and whether it was measured on the family it stands for."""

    value: float | int | bool | tuple[float, float] | None
    source: str
    measured: bool
    """Whether it was measured on this family; otherwise it is derived from another one or from a compiler's tables."""
    note: str = ""

    @property
    def number(self) -> float:
        """The value as a number; infinite where there is no limit."""
        return float("inf") if self.value is None or isinstance(self.value, tuple) else float(self.value)


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The largest sizes a family takes."""

    rank: Figure
    extent: Figure
    """Elements of an axis other than the channels'."""
    channels: Figure
    """Elements of the third axis from the end, in tensors of rank 3 and more."""
    arg_axis: Figure
    """Elements of the axis of an arg-max or arg-min."""
    kernel_width: Figure
    granule_bytes: Figure
    """The last axis is padded to a multiple of it."""
    weight_bytes: Figure
    """Bytes of weights of a program."""
    working_set_bytes: Figure
    """An op whose operands exceed it streams them from memory."""
    one_affine_width: Figure
    """From this width on a layer_norm with one of gamma and beta varying is reported not to compile."""
    two_affine_width: Figure
    """The same with both varying."""


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The constants of ``max(work / peak, bytes / bandwidth) + floor``."""

    peak_flops: Figure
    bytes_per_s: Figure
    floor_s: Figure
    """Seconds of one dispatch."""
    weight_stream_bytes_per_s: Figure
    """The rate of streaming weights alone; not what the fitted model uses."""


class Family(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One generation of Neural Engine."""

    name: str
    architecture: str
    tier: str
    measured: bool
    """Whether anything was measured on it."""
    numerics: dict[str, Figure]
    """The figures for `harness.interpreter.engine_numerics`."""
    limits: Limits
    costs: Costs
    note: str = ""


class Support(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The families that take an op."""

    since: str | None = msgspec.field(name="from")
    """The first capability tier with a path for it; None for no family."""
    kind: str
    """Its class of cost: ``product``, ``elementwise``, ``layer_norm``, ``movement`` ..."""
    note: str = ""
    placed: bool = True
    """False where Core ML's placement model has no cost for it on the engine, so that it runs elsewhere (G 18)."""
    streams_from: str | None = None
    """For a compressed weight, the first tier that streams it compressed."""


class SupportTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Support by MIL op."""

    source: str
    ops: dict[str, Support]


class ElementCosts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Seconds an element by class of op, measured on one family."""

    family: str
    source: str
    seconds: dict[str, float]


class ModelError(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The errors of the published cost model over its authors' own graphs."""

    median: float
    graphs: int
    within_17_percent: int
    source: str


class EngineData(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole data file."""

    sources: dict[str, str]
    tiers: tuple[str, ...]
    """Capability tiers, oldest first."""
    error: ModelError
    placement: dict[str, object]
    """Core ML's own coarse rooflines by unit, for placement."""
    element_costs: ElementCosts
    families: dict[str, Family]
    support: SupportTable

    def reaches(self, family: Family, tier: str | None) -> bool:
        """Return whether a family has the features of a tier; False for None."""
        return tier is not None and self.tiers.index(family.tier) >= self.tiers.index(tier)


@cache
def load() -> EngineData:
    """Return the data file, checked."""
    return msgspec.json.decode(data_path().read_bytes(), type=EngineData)


def choose(names: Sequence[str]) -> list[str]:
    """Return the keys of the families named; all of them for none.

    Raises
    ------
    UnknownNameError: for a family the data file does not have.
    """
    known = load().families
    for name in names:
        if name not in known:
            raise UnknownNameError("family", name, known)
    return list(dict.fromkeys(names)) or list(known)

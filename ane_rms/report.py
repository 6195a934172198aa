"""What was fused, what was nearly, and why not: the report that travels with a package.

``ane_rms.convert`` stores it as JSON in the package's user-defined metadata under :data:`METADATA_KEY`, so that it
survives saving and loading.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import coremltools as ct

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from ane_rms import mil

METADATA_KEY = "ane_rms.fusion_report"
VERSION = 1


@dataclass(frozen=True, slots=True)
class Site:
    """One RMSNorm that is, or would be, fused."""

    name: str
    """The name of the value computed, as in the program."""
    spelling: str
    """How the program spelled it, for example ``mean_rsqrt_mul``."""
    shape: tuple[int | str, ...]
    """Shape of the input; a dimension unknown until run time is its symbol's name."""
    axes: tuple[int, ...]
    """Normalised axes, counted from the back: -1 is the last."""
    epsilon: float
    """Added to the mean square."""
    has_gamma: bool
    """Whether a scale is part of the site."""
    deviation_bound: float
    """Largest relative deviation from the value written, for rows of RMS 0.01 or more; 0 where the forms are equal."""
    module: str = ""
    """Path of the torch module it came from, where coremltools knows it."""


@dataclass(frozen=True, slots=True)
class Miss:
    """One place that looks like an RMSNorm and is not fused."""

    name: str
    """The name of the root's value, as in the program."""
    op_type: str
    """The op that takes the root."""
    reason: str
    """Why it is not fused, in a sentence."""
    shape: tuple[int | str, ...] = ()
    """Shape of the root's value."""
    module: str = ""
    """Path of the torch module it came from, where coremltools knows it."""


@dataclass(frozen=True, slots=True)
class Caution:
    """What may go wrong with a fused norm on the device."""

    name: str
    """The site's name."""
    reason: str
    """What, and what to do, in a sentence."""


@dataclass(frozen=True, slots=True)
class FusionReport:
    """Every norm site of a program: fused, or missed with its reason."""

    fused: tuple[Site, ...] = ()
    missed: tuple[Miss, ...] = ()
    compute_units: str = ""
    """The compute units asked for at conversion; empty where the report is not of a conversion."""
    lowering: str = ""
    """The lowering strategy of the conversion; empty where nothing was lowered."""
    warnings: tuple[Caution, ...] = ()
    """Guard rails that fused sites touch."""

    def to_json(self) -> str:
        """Return the report as JSON, with the version of its form."""
        return json.dumps({"version": VERSION, **asdict(self)}, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> FusionReport:
        """Return the report that ``text`` holds.

        Raises
        ------
        ValueError: if it is not a report, or one of a newer form.
        """
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not a fusion report: {error}") from None
        if not isinstance(data, dict) or not isinstance(data.get("version"), int):
            raise ValueError("not a fusion report: no version")  # noqa: TRY004 - of the text, which has no type
        if data["version"] > VERSION:
            raise ValueError(
                f"a fusion report of version {data['version']}, this ane_rms reads up to {VERSION}: update ane_rms"
            )
        try:
            return cls(
                fused=tuple(_record(Site, item) for item in data["fused"]),
                missed=tuple(_record(Miss, item) for item in data["missed"]),
                warnings=tuple(_record(Caution, item) for item in data.get("warnings", ())),
                compute_units=str(data["compute_units"]),
                lowering=str(data["lowering"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a fusion report: {error!r}") from None


def _record(kind: type[Any], item: Mapping[str, Any]) -> Any:
    """Return ``item`` as a ``kind``, lists as tuples; unknown keys are an error."""
    names = {entry.name for entry in fields(kind)}
    if unknown := set(item) - names:
        raise TypeError(f"unknown keys {sorted(unknown)}")
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in item.items()})


_live: WeakKeyDictionary[mil.Program, FusionReport] = WeakKeyDictionary()
"""Reports of programs that passed through the fusion in this process: what ``pipeline()`` alone can leave behind."""


def keep_report(program: mil.Program, found: FusionReport) -> None:
    """Keep the report of ``program`` for as long as the program lives."""
    _live[program] = found


def kept_report(program: mil.Program) -> FusionReport | None:
    """Return the report kept for ``program``, or None."""
    return _live.get(program)


def report(model: ct.models.MLModel | str | os.PathLike[str]) -> FusionReport:
    """Return the fusion report of a converted model.

    Parameters
    ----------
    model: an ``MLModel``, or the path of an ``.mlpackage``.

    Raises
    ------
    FileNotFoundError: if there is no package at the path.
    ValueError: if the model was not converted through ``ane_rms``, or its report cannot be read.
    """
    if isinstance(model, ct.models.MLModel):
        name, spec = "the model", model._spec  # noqa: SLF001 - get_spec() would copy every weight held in it
        kept = kept_report(model._mil_program) if model._mil_program is not None else None  # noqa: SLF001
    else:
        path = Path(model)
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such package")
        name, kept, spec = str(path), None, ct.models.utils.load_spec(str(path))
    text = spec.description.metadata.userDefined.get(METADATA_KEY)
    if text:
        return FusionReport.from_json(text)
    if kept is None:
        raise ValueError(
            f"{name} holds no fusion report: convert it with ane_rms.convert(), or with ane_rms.install() in effect"
        )
    return kept

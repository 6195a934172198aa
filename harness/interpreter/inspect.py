"""Inspect a run: find where two programs part and what overflowed, and save every value to a file.

Two models are run on the same input. Ops are paired by the names of their results or, if the programs share hardly
any name, in order by op type and shape. A value that only one program has is skipped.
For every pair the relative L2 deviation ``|b - a| / |a|`` is computed in float64. The programs part at the first
pair, in the first model's order, that deviates by more than a tolerance.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.interpreter.program import Op
    from harness.interpreter.reference_model import ReferenceModel


SHARED = 4
"""Programs that share the name of one value in this many, or more, are compared only by name."""


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts and extremes of one value.

    Parameters
    ----------
    shape, dtype: as stored.
    smallest, largest: over the finite elements; NaN when there are none.
    rms: root mean square of the finite elements.
    overflows: elements that are infinite while every float input of the op was finite.
    nans: elements that are NaN.
    collapsed_rows: rows (last axis) of all zeros although the first input of that shape has none there.
    """

    shape: tuple[int, ...]
    dtype: str
    smallest: float
    largest: float
    rms: float
    overflows: int
    nans: int
    collapsed_rows: int


@dataclass(frozen=True, slots=True)
class Record:
    """One value an op produced in a run."""

    name: str
    op_type: str
    value: torch.Tensor
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Deviation:
    """A value both programs produce, and how far the second's is from the first's.

    ``collapsed_rows`` counts rows (last axis) that are all zeros in the second and not in the first.
    """

    first: Record
    second: Record
    rel_l2: float
    max_abs: float
    collapsed_rows: int = 0


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result of ``compare``.

    Parameters
    ----------
    parted: the first pair beyond the tolerance, or ``None``.
    worst: the pairs from there on, worst first.
    pairs: every pair, in the first model's order.
    unpaired: names only one of the two programs has.
    """

    parted: Deviation | None
    worst: tuple[Deviation, ...]
    pairs: tuple[Deviation, ...]
    unpaired: tuple[str, ...]


class Recorder:
    """A listener that keeps every tensor (only float ones, unless asked for all) with its statistics."""

    def __init__(self, *, floats_only: bool = True) -> None:
        self.floats_only = floats_only
        self.records: list[Record] = []
        self._seen: defaultdict[str, int] = defaultdict(int)

    def __call__(self, op: Op, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Keep an op's results; a value made again in a loop is numbered."""
        for name, value in outputs.items():
            if not isinstance(value, torch.Tensor) or (self.floats_only and not value.is_floating_point()):
                continue
            count = self._seen[name]
            self._seen[name] += 1
            unique = f"{name}#{count}" if count else name
            self.records.append(Record(unique, op.op_type, value, statistics(value, inputs)))

    def save(self, path: Path) -> None:
        """Write every kept value into an ``.npz`` file, by name.

        Raises
        ------
        OutputError: when the file cannot be written.
        """
        arrays: Any = {record.name: record.value.numpy() for record in self.records}
        try:
            np.savez(path, **arrays)
        except OSError as error:
            raise OutputError(f"{path}: cannot be written: {error.strerror or error}") from error


def statistics(value: torch.Tensor, inputs: Mapping[str, Any]) -> Statistics:
    """Return the statistics of an op's result, given the op's inputs."""
    wide = value.double()
    finite = wide[wide.isfinite()]
    floats = [v for v in inputs.values() if isinstance(v, torch.Tensor) and v.is_floating_point()]
    clean = all(bool(v.isfinite().all()) for v in floats)
    return Statistics(
        shape=tuple(value.shape),
        dtype=str(value.dtype).removeprefix("torch."),
        smallest=float(finite.min()) if finite.numel() else float("nan"),
        largest=float(finite.max()) if finite.numel() else float("nan"),
        rms=float(finite.square().mean().sqrt()) if finite.numel() else float("nan"),
        overflows=int(wide.isinf().sum()) if clean else 0,
        nans=int(wide.isnan().sum()),
        collapsed_rows=_collapsed_rows(value, floats),
    )


def _collapsed_rows(value: torch.Tensor, inputs: list[torch.Tensor]) -> int:
    source = next((v for v in inputs if v.shape == value.shape), None)
    if source is None or not value.dim() or not value.shape[-1]:
        return 0
    return int(((value == 0).all(-1) & (source != 0).any(-1)).sum())


def record(model: ReferenceModel, data: Mapping[str, Any], *, state: Any = None, floats_only: bool = True) -> Recorder:
    """Run a model once and return its ops' results, in the order of execution."""
    recorder = Recorder(floats_only=floats_only)
    with model.listening(recorder):
        model.predict(data, state)
    return recorder


def compare(
    first: ReferenceModel, second: ReferenceModel, data: Mapping[str, Any], tolerance: float = 1e-3, worst: int = 10
) -> Comparison:
    """Run two models on the same input and find where they part.

    Parameters
    ----------
    first, second: the models; the first is the one deviations are relative to.
    data: inputs by name, good for both.
    tolerance: relative L2 deviation from which on a value counts as different.
    worst: how many of the worst pairs from the parting on are returned.
    """
    left, right = record(first, data).records, record(second, data).records
    pairs = [deviation(a, b) for a, b in pair(left, right)]
    start = next((i for i, p in enumerate(pairs) if not p.rel_l2 <= tolerance), None)
    after = [] if start is None else sorted(pairs[start:], key=lambda p: -np.nan_to_num(p.rel_l2, nan=np.inf))
    paired = {id(r) for p in pairs for r in (p.first, p.second)}
    return Comparison(
        parted=None if start is None else pairs[start],
        worst=tuple(after[:worst]),
        pairs=tuple(pairs),
        unpaired=tuple(r.name for r in (*left, *right) if id(r) not in paired),
    )


def pair(left: list[Record], right: list[Record]) -> list[tuple[Record, Record]]:
    """Pair the values of two runs by name and shape or, if hardly any name is shared, in order by type and shape.

    The endings that coremltools' float16 cast adds to names are ignored. The second way is for packages of different
    tools; in programs of one tool it would pair unrelated values.
    """
    by_name = {(_plain(r.name), r.statistics.shape): r for r in right}
    matched = {id(a): by_name.pop(key) for a in left if (key := (_plain(a.name), a.statistics.shape)) in by_name}
    if len(matched) * SHARED > min(len(left), len(right)):
        return [(a, matched[id(a)]) for a in left if id(a) in matched]
    used = {id(b) for b in matched.values()}
    waiting: defaultdict[tuple[str, tuple[int, ...]], list[Record]] = defaultdict(list)
    for b in right:
        if id(b) not in used:
            waiting[b.op_type, b.statistics.shape].append(b)
    for a in left:
        queue = waiting[a.op_type, a.statistics.shape]
        if id(a) not in matched and queue:
            matched[id(a)] = queue.pop(0)
    return [(a, matched[id(a)]) for a in left if id(a) in matched]


def _plain(name: str) -> str:
    """Return a name without the ending that coremltools' float16 cast appends."""
    base, separator, number = name.partition("#")
    return base.removesuffix("_cast_fp16").removesuffix("_to_fp16") + separator + number


def deviation(first: Record, second: Record) -> Deviation:
    """Return how far the second value is from the first; equal infinities and NaNs count as equal."""
    a, b = first.value.double(), second.value.double()
    same = (a == b) | (a.isnan() & b.isnan())
    gap = torch.where(same, torch.zeros_like(a), b - a).abs()
    size = torch.where(a.isfinite(), a, torch.zeros_like(a)).norm()
    norm = float(gap.norm())
    rel = 0.0 if norm == 0 else norm / float(size) if float(size) else float("inf")
    collapsed = int(((b == 0).all(-1) & (a != 0).any(-1)).sum()) if a.dim() and a.shape[-1] else 0
    return Deviation(first, second, rel, float(gap.max()) if gap.numel() else 0.0, collapsed)

"""The comparison of two programs op by op, as ``diff`` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.report.table import DECIDING, DETAIL, Document, Table, head, places
from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.interpreter.inspect import Comparison, Deviation


def _listed(values: Sequence[int]) -> str:
    return ", ".join(map(str, values))


COLUMNS = places(
    head("op", priority=DECIDING, width=16),
    head("type", priority=DECIDING, width=10),
    head("shape", _listed),
    head("rel L2", ".1e", priority=DECIDING),
    head("max abs", ".1e", priority=DECIDING),
    *(head(name, ".3g", priority=DETAIL) for name in ("smallest A", "largest A", "smallest B", "largest B")),
    head("overflow A/B"),
    head("NaN A/B", priority=DECIDING),
    head("rows zero in B alone", "d", priority=DETAIL),
)


def document(found: Comparison, tolerance: float, from_torch: Sequence[tuple[str, float]] = ()) -> Document:
    """Return the op at which the programs part, and the worst ops from there on.

    Parameters
    ----------
    found: the comparison.
    tolerance: the relative L2 from which on a value counts as different.
    from_torch: the name of each side that is a zoo model, and its distance from the eager model.
    """
    said = [f"{name}: relative L2 {value:.1e} from the eager model" for name, value in from_torch]
    said.append(f"{plural(len(found.pairs), 'value')} compared, {len(found.unpaired)} in one program only")
    parted, worst = [], []
    title = ""
    if found.parted is None:
        said.append(f"nowhere beyond {tolerance:g} relative L2")
    else:
        parted, worst, at = [_row(found.parted)], [_row(one) for one in found.worst], found.parted.first
        title = f"first parted at {at.name} ({at.op_type}), beyond {tolerance:g}:"
    tables = Table(COLUMNS, worst, "worst", "worst from there on:"), Table(COLUMNS, parted, "parted", title)
    data = {
        "compared": len(found.pairs),
        "in_one_program_only": len(found.unpaired),
        "tolerance": tolerance,
        "from_torch": dict(from_torch),
        **{one.name: one.objects() for one in tables},
    }
    return Document(["\n".join(said), tables[1], tables[0]], tables[0], data)


def _row(one: Deviation) -> tuple[Any, ...]:
    a, b = one.first.statistics, one.second.statistics
    return (
        one.first.name if one.first.name == one.second.name else f"{one.first.name} / {one.second.name}",
        one.first.op_type,
        a.shape,
        one.rel_l2,
        one.max_abs,
        *(a.smallest, a.largest, b.smallest, b.largest),
        f"{a.overflows}/{b.overflows}",
        f"{a.nans}/{b.nans}",
        one.collapsed_rows,
    )

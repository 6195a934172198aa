"""The probes of the engine model as a table: each result beside the published value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from harness.report.table import DECIDING, DETAIL, Document, Table, head, places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.engine.probes import Answer


def document(answers: Sequence[tuple[str, Sequence[Answer]]], kind: str) -> Document:
    """Return the table.

    Parameters
    ----------
    answers: by family, the answer to each probe.
    kind: ``measured`` for a device, ``predicted`` for a policy: the header of the results' column.
    """
    columns = places(
        head("family", priority=DECIDING),
        head("probe", priority=DECIDING, width=12),
        head("input", width=12),
        head(kind, priority=DECIDING, width=12),
        head("published", priority=DECIDING, width=12),
        head("source", priority=DETAIL, width=16),
        head("agreement", priority=DECIDING),
    )
    return Document([Table(columns, [[family, *_row(family, one)] for family, found in answers for one in found])])


def _row(family: str, one: Answer) -> list[str]:
    published = one.probe.expected(family)
    came = _listed(one.values) if one.values else one.reason
    where = one.probe.source + ("" if family in one.probe.measured_on else ", derived")
    agrees = len(one.values) == len(published) and all(map(_same, one.values, published))
    given = _listed(one.probe.x[0]) if len(one.probe.x[0]) <= 4 else f"{len(one.probe.x[0]):,} elements"
    return [one.probe.name, given, came, _listed(published), where, "agrees" if agrees else "differs"]


def _same(a: float, b: float) -> bool:
    return a == b and math.copysign(1.0, a) == math.copysign(1.0, b)


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.6g}" for value in values)

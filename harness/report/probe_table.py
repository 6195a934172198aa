"""The probes of the engine model as a table: each result beside the published value."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import msgspec
from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.engine.probes import Answer

HEADERS = ("family", "probe", "input", "published", "source", "")


def render(answers: Sequence[tuple[str, Sequence[Answer]]], kind: str, form: str = "github") -> str:
    """Return the table.

    Parameters
    ----------
    answers: by family, the answer to each probe.
    kind: ``measured`` for a device, ``predicted`` for a policy: the header of the results' column.
    form: ``github``, ``tsv`` or ``json``.
    """
    headers = [*HEADERS[:3], kind, *HEADERS[3:]]
    rows = [[family, *_row(family, one)] for family, found in answers for one in found]
    if form == "json":
        return msgspec.json.format(msgspec.json.encode([dict(zip(headers, row, strict=True)) for row in rows])).decode()
    if form == "tsv":
        return "\n".join("\t".join(row) for row in [headers, *rows])
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)


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

"""Number the sizes that are unknown until run time in a report's own order.

coremltools numbers them for the process: ``is46`` is the 47th since it started. In a package they are ``is0``, ``is1``
and so on, so that the same model gives the same package whatever was converted before. A symbol that the user named
keeps its name.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ane_rms.report import FusionReport

NUMBERED = re.compile(r"is\d+")
IN_A_SENTENCE = re.compile(r"'(is\d+)'")
"""A symbol in the list of a shape's entries, as reasons have it."""


def with_own_symbols(report: FusionReport) -> FusionReport:
    """Return a report whose unknown sizes are numbered by their first appearance in it."""
    numbers: dict[str, str] = {}

    def own(symbol: str) -> str:
        return numbers.setdefault(symbol, f"is{len(numbers)}")

    def shaped(record: Any) -> Any:
        shape = (own(n) if isinstance(n, str) and NUMBERED.fullmatch(n) else n for n in record.shape)
        return replace(record, shape=tuple(shape))

    def told(record: Any) -> Any:
        return replace(record, reason=IN_A_SENTENCE.sub(lambda found: f"'{own(found[1])}'", record.reason))

    return replace(
        report,
        fused=tuple(map(shaped, report.fused)),
        lowered=tuple(map(shaped, report.lowered)),
        missed=tuple(told(shaped(miss)) for miss in report.missed),
        warnings=tuple(map(told, report.warnings)),
    )

"""The night as one HTML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.report.engine_table import summary
from harness.report.page.content import Page
from harness.report.page.html import render
from harness.report.page.recent_nights import changes_of_late, nights, own_series

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.judge.night import Night


def page_of(night: Night, notes: Sequence[str], *, beside: bool = False) -> Page:
    """Return the content of the report: the run against its base, its history, and the newest errors by regime.

    Parameters
    ----------
    night: the judged run.
    notes: sentences for the foot of the page, about files and lines that were left out.
    beside: whether the base's rows are shown beside the run's.
    """
    records = night.run.records
    own = own_series(night.series, records)
    regimes = night.regimes
    return Page(
        records,
        night.run_id,
        base=night.base.name if night.base else "",
        verdicts=night.verdicts,
        history=nights(own, records),
        changes=changes_of_late(own, records),
        regimes={"run": regimes[0], "errors": msgspec.to_builtins(regimes[1])} if regimes else None,
        notes=notes,
        predictions=[summary(one) for one in night.predictions],
        before=night.base.records if beside and night.base else (),
    )


def html(page: Page) -> bytes:
    """Return the file."""
    return render(page, page.records).encode()

"""The night as Markdown: the summary, what changed, since when, and the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import history_table, results_table, verdict_table
from harness.system.text import cell

if TYPE_CHECKING:
    from harness.judge.night import Night


def markdown(night: Night) -> str:
    """Return the page of a night that was compared with something."""
    verdicts = night.verdicts or []
    changed = [verdict for verdict in verdicts if verdict.kind != "unchanged"]
    ended = [f"- {cell(sentence)}" for sentence in history_table.ended(night.series)]
    return "\n\n".join(
        [
            f"# {cell(night.title)}",
            f"{verdict_table.summary(verdicts)}.",
            verdict_table.github(changed) or "Nothing changed.",
            "## Since when",
            "\n".join(ended) or "Every figure that was ever measured is there.",
            history_table.github(night.series) or "No figure changed its level in any night.",
            "## Rows",
            results_table.github(night.run.records),
            "",
        ]
    )

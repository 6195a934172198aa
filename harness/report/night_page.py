"""A night as GitHub Markdown: the headline, the regressions, since when they exist, and every row, folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report import history_table, results_table, verdict_table
from harness.system.text import cell, plural

if TYPE_CHECKING:
    from harness.judge.night import Night

PACKAGES = ("coremltools", "torch", "transformers")
"""Packages whose versions are at the head of the page."""


def markdown(night: Night, page: str = "nightly.html") -> str:
    """Return the page.

    Parameters
    ----------
    night: the run, judged.
    page: link to the HTML report.
    """
    verdicts = night.verdicts or []
    worse = [one for one in verdicts if one.kind == "regression"]
    others = [one for one in verdicts if one.kind not in ("regression", "unchanged")]
    ended = [f"- {cell(sentence)}" for sentence in history_table.ended(night.series)]
    parts = [f"# {cell(night.headline)}", about(night, page)]
    if worse:
        parts += ["## What got worse", verdict_table.github(worse), MEND]
    parts += [_details(f"{plural(len(others), 'other verdict')}", verdict_table.github(others))] if others else []
    if not worse and not others:
        parts.append("Nothing changed." if night.verdicts is not None else FIRST_NIGHT)
    parts += ["## Since when", *(["\n".join(ended)] if ended else [])]
    parts.append(history_table.github(night.series) or "No figure changed its level in any night.")
    parts += [_details(f"All {plural(len(night.run.records), 'row')}", results_table.github(night.run.records)), ""]
    return "\n\n".join(parts)


MEND = (
    'Mend it, or accept a new level with a reason: `ane-harness accept MODEL FIGURE --reason "..."`, '
    "and commit `results/baselines/`."
)
FIRST_NIGHT = (
    "There is nothing to judge this run against yet. `ane-harness expect --update` writes what is expected from now on "
    "into `results/baselines/`; commit that folder."
)


def about(night: Night, page: str = "") -> str:
    """Return the lines under the headline: date, commit, machine, versions, and the link to the report, if given."""
    records = night.run.records
    if not records:
        return f"Run {cell(night.run_id)}."
    env = records[0].environment
    commit = env.git_commit[:10] + ("" if env.git_clean is not False else " and uncommitted changes")
    versions = ", ".join(f"{name} {env.versions[name]}" for name in PACKAGES if name in env.versions)
    lines = [
        f"Night of {night.date}, run {cell(night.run_id)}"
        + (f", against {cell(night.base.name)}." if night.base else ", compared with nothing."),
        f"Commit {cell(commit or 'unknown')}; {cell(env.chip or env.machine)}, {cell(env.os)}; {cell(versions)}.",
        *([f"[The report]({page})."] if page else []),
    ]
    return "  \n".join(lines)


def _details(title: str, content: str) -> str:
    """Return a part that GitHub shows folded."""
    return f"<details><summary>{title}</summary>\n\n{content}\n\n</details>"

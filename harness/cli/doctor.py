"""``doctor``: report what this machine can do, and what is missing."""

from __future__ import annotations

import typer

from harness.cli.output import say


def doctor() -> None:
    """Say what this machine can do and what is missing.

    Exit code 2 if the main job cannot run here.

    Example: ane-harness doctor
    """
    from tabulate import tabulate

    from harness.runtime.diagnosis import diagnose

    findings = diagnose()
    rows = [[finding.subject, finding.state, finding.detail] for finding in findings]
    say(tabulate(rows, headers=["", "", ""], tablefmt="plain", disable_numparse=True).strip())
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(2)

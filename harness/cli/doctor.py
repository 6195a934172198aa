"""``doctor``: report what this machine can do, and what is missing."""

from __future__ import annotations

import typer

from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions


@expanded
def doctor(*, shown: TableOptions) -> None:
    """Say what this machine can do and what is missing.

    Exit code 2 if the main job cannot run here.

    Example: ane-harness doctor
    """
    from harness.report.table import DECIDING, Document, Table, head, places
    from harness.runtime.diagnosis import diagnose

    columns = places(
        head("subject", priority=DECIDING),
        head("state", priority=DECIDING),
        head("detail", priority=DECIDING, width=20),
    )
    shown.check(columns)
    findings = diagnose()
    shown.show(Document([Table(columns, [(one.subject, one.state, one.detail) for one in findings])]))
    if any(finding.state == "missing" for finding in findings):
        raise typer.Exit(2)

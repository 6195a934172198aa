"""``list``: list the models of the zoo."""

from __future__ import annotations

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.table_options import TableOptions


@expanded
def list_models(*, tier: options.OnlyTier = None, shown: TableOptions) -> None:
    """List the models of the zoo.

    Example: ane-harness list --tier quick
    """
    from harness.report.table import DECIDING, Document, Table, head, places
    from harness.zoo import catalog

    columns = places(
        head("model", priority=DECIDING),
        head("tier", priority=DECIDING),
        "family",
        head("published size"),
        head("norms", priority=DECIDING, width=8),
        head("notes", priority=DECIDING, width=30, absent=""),
    )
    shown.check(columns)
    specs = catalog.select(catalog.load_zoo(), tier=tier)
    rows = [
        (
            spec.key,
            spec.tier,
            spec.title,
            spec.published,
            spec.norms,
            "control" if spec.control else spec.unconvertible or spec.notes,
        )
        for spec in specs
    ]
    shown.show(Document([Table(columns, rows)]))

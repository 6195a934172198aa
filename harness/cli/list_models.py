"""``list``: list the models of the zoo."""

from __future__ import annotations

from harness.cli import options
from harness.cli.output import say


def list_models(tier: options.OnlyTier = None) -> None:
    """List the models of the zoo.

    Example: ane-harness list --tier quick
    """
    from tabulate import tabulate

    from harness.system.text import cell
    from harness.zoo import catalog

    specs = catalog.select(catalog.load_zoo(), tier=tier)
    rows = [
        [
            cell(text)
            for text in (
                spec.key,
                spec.tier,
                spec.title,
                spec.published,
                spec.norms,
                "control" if spec.control else spec.unconvertible or spec.notes,
            )
        ]
        for spec in specs
    ]
    headers = ["model", "tier", "family", "published size", "norms", "notes"]
    say(tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True))

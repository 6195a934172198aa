"""The sides of a comparison as the command line names them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.cli.output import say

if TYPE_CHECKING:
    from pathlib import Path

    from harness.store.find import Side


def load(name: str, results: Path) -> Side:
    """Return what a name stands for; a half-written last line is said on stderr."""
    from harness.store.find import find

    return find(name, results, lambda text: say(f"ane-harness: {text}", err=True))


def only(side: Side, models: list[str] | None, tier: str | None) -> Side:
    """Return a side with some models alone.

    Raises
    ------
    UnknownNameError: for an unknown tier.
    """
    from harness.store.find import Side

    if not models and not tier:
        return side
    kept = set(models or ())
    if tier:
        from harness import zoo

        kept |= {spec.key for spec in zoo.select(zoo.load_zoo(), tier=tier)}
    return Side(
        side.name,
        [record for record in side.records if record.model in kept],
        {name: one for name, one in side.baselines.items() if name in kept},
        side.others,
    )

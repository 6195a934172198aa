"""List the lowerings that ``lowering="auto"`` chooses for the sites of a report, by family, with the reasons."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from ane_rms.passes.choice import Norm, choose

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.explain.fusion import Explained


def automatic(explained: Explained, families: Sequence[str]) -> list[tuple[str, str, int, str]]:
    """Return the families, lowering, number of sites and reason of each choice; families that agree share a row.

    Parameters
    ----------
    explained: the sites. If calibration ran, the choice for every site uses the model's largest row.
    families: keys of the Neural Engine families.
    """
    by_choice: dict[tuple[str, int, str], list[str]] = {}
    for family in families:
        found: Counter[tuple[str, str]] = Counter()
        for site in explained.report.fused:
            size = site.shape[site.axes[-1]]
            width = size if isinstance(size, int) else None
            choice = choose(Norm(width, len(site.axes), site.axes[-1] == -1, explained.row_norm), family)
            found[choice.lowering, choice.reason] += 1
        for (lowering, reason), count in found.items():
            by_choice.setdefault((lowering, count, reason), []).append(family)
    return [(", ".join(names), lowering, count, why) for (lowering, count, why), names in by_choice.items()]

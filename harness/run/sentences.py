"""The sentences on a case whose output is not fine. The modules that search the program are imported only for these."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.convert.conversion import Converted
    from harness.measure.model_precision import Trial
    from harness.records.schema import Facts, TextRecord
    from harness.run.maker import Made
    from harness.run.steps import Steps


LEFT = "left as it is: "
"""The beginning of the reason of a region that ``--rescale auto`` did not scale."""


def misread(text: TextRecord | None, outcome: str) -> str:
    """Return the sentence on a program that is fine on the prompts, but not on the text."""
    ours, theirs = (
        "infinite" if value is None else f"{value:.4g}"
        for value in ((None, None) if text is None else (text.perplexity, text.perplexity_float32))
    )
    return (
        f"the output is {outcome} on the text, although it is fine on the prompts: its perplexity is {ours}, float32 "
        f"PyTorch's {theirs}; --prompts FILE with prompts like the text lets the calibration see its values"
    )


def lost(made: Made, policy: str, outcome: str, title: str, steps: Steps) -> str:
    """Return the sentence on an output that must be fine and is not: where it first goes wrong, and the mend."""
    from harness.measure.first_site import first_site

    with steps.timed("explain", f"find where {title} goes wrong"):
        site = first_site(made.trial, made.converted, policy)
    left = next((one.reason for one in made.facts.rescaled if one.factor == 1 and one.reason), "")
    where = site.sentence(policy, left.removeprefix(LEFT)) if site else "no op of the program leaves float32 by itself"
    return f"the output is {outcome}: {where}"


def collapse(trial: Trial, model: Converted | str, policy: str, facts: Facts, steps: Steps) -> str:
    """Return the sentence on the collapse of a program whose norms are primitives: a finding, not a fault."""
    from harness.measure.collapse import collapse_sentence

    with steps.timed("explain"):  # too short to be announced
        return collapse_sentence(trial, model, policy, facts.sites)

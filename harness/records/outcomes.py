"""The outcome, one word for the quality of a program's output, and whether it makes the program's row wrong.

The output is compared with the logits of the same model in float32 PyTorch. The outcome is the first that applies:

============  =========================================================================================
not finite    a logit is NaN or infinite
collapsed     a row of logits is all zeros; or the error is nearly as long as the logits; or hardly a
              next token agrees and the distributions have little in common
degraded      the error, the divergence or the number of changed next tokens exceeds float16's rounding
fine          rounding to float16 explains the error
============  =========================================================================================

Runs, benchmarks, comparisons and expectations all use this module's decision.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.records.schema import TextRecord

NOT_FINITE, COLLAPSED, DEGRADED, FINE = "not finite", "collapsed", "degraded", "fine"

OUTCOMES = (FINE, DEGRADED, COLLAPSED, NOT_FINITE)
"""Every outcome, the best first. A row that executed nothing has the empty text."""

FINE_REL_L2 = 0.1
"""Largest relative L2 error that is fine. Float16 gives 1e-3 to 8e-3 on the models of the zoo, 2e-2 if a router
chooses other experts, and a Neural Engine that accumulates in float16 several times that. A row of zeros gives 1."""

FINE_KL = 0.1
"""Largest fine divergence in nats: float16 gives 1e-8 to 1e-3; 0.1 raises the perplexity by about a tenth."""

FINE_TOP1 = 0.9
"""Smallest fine share of equal next tokens."""

TIE_REL_L2 = 0.02
"""Below this error next tokens change only between logits that are equal in float16: `FINE_TOP1` does not apply, since
in a run of eight tokens one such tie is an eighth."""

COLLAPSED_REL_L2 = 0.7
"""Error from which on an output is collapsed: SmolLM2's is 1.04 and Gemma 3's 1.00 without the fusion, and their best
4-bit compressions stay below 0.5."""

COLLAPSED_TOP1 = 0.1
COLLAPSED_KL = 1.0
"""An output with at most this share of equal next tokens and at least this divergence (nats) is collapsed as well."""


def outcome_of(metrics: Mapping[str, float | None]) -> str:
    """Return one of :data:`OUTCOMES`, or "" if nothing was compared.

    Parameters
    ----------
    metrics: of :mod:`harness.measure.metrics`, each at its worst over the runs; None stands for NaN or infinity.
    """
    if not metrics:
        return ""
    rel_l2, kl, top1 = (metrics.get(name, best) for name, best in (("rel_l2", 0.0), ("kl", 0.0), ("top1", 1.0)))
    if rel_l2 is None or kl is None or top1 is None or not all(map(math.isfinite, (rel_l2, kl, top1))):
        return NOT_FINITE
    if metrics.get("zero_rows") or rel_l2 >= COLLAPSED_REL_L2 or (top1 <= COLLAPSED_TOP1 and kl >= COLLAPSED_KL):
        return COLLAPSED
    if rel_l2 > FINE_REL_L2 or kl > FINE_KL or (top1 < FINE_TOP1 and rel_l2 > TIE_REL_L2):
        return DEGRADED
    return FINE


def outcome_of_text(text: TextRecord) -> str:
    """Return the outcome of the reading of a text, which may reach values that no prompt reaches.

    An infinite perplexity is a collapse: a logit is not finite, or the text is impossible. The limits are those of
    :func:`outcome_of`: a divergence of d nats raises the perplexity by the factor ``exp(d)``.
    """
    if text.perplexity is None or text.perplexity_float32 is None:
        return COLLAPSED
    nats = math.log(text.perplexity / text.perplexity_float32)
    if text.agreement <= COLLAPSED_TOP1 and nats >= COLLAPSED_KL:
        return COLLAPSED
    return FINE if nats <= FINE_KL and text.agreement >= FINE_TOP1 else DEGRADED


def worst(*outcomes: str) -> str:
    """Return the worst of some outcomes."""
    return max(outcomes, key=lambda one: (rank(one), bool(one)))


def rank(outcome: str) -> int:
    """Return 0 for the best outcome and more for worse ones; 0 for none."""
    return OUTCOMES.index(outcome) if outcome in OUTCOMES else 0


def is_broken(status: str, outcome: str) -> bool:
    """Return whether a row's output is broken by itself, whatever it is compared with."""
    return status == "wrong" or outcome == NOT_FINITE


def is_fault(outcome: str, *, plain: bool, compressed: bool) -> bool:
    """Return whether an outcome makes a row wrong.

    A program that is not finite is always wrong. A collapse of a program whose norms are primitives (``plain``: the
    variants ``off`` and ``cpu``, and a lowering that builds primitives) is the finding that such a row exists for. A
    compressed program may be degraded, since compression loses precision. Every other program is one that a user would
    ship, and must be fine.
    """
    if outcome == NOT_FINITE:
        return True
    if plain:
        return False
    return outcome == COLLAPSED or (outcome == DEGRADED and not compressed)

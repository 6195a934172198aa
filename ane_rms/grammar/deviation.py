"""Bound how far a root deviates from that of an RMSNorm, and choose the epsilon that represents its additions.

With t the factor from RMS to root, x is divided by ``t * sqrt(mean + e) + outside``. An outside term
delta = outside / t is represented by an epsilon of delta^2, which keeps the value at zero rows, and a floor on the RMS
by a tiny epsilon. Neither is exact. The bound is that of the relative deviation for rows whose RMS is at least
:data:`RMS_FLOOR`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ane_rms.grammar.forms import SMALLEST_FP16

if TYPE_CHECKING:
    from ane_rms.grammar.forms import Root

RMS_FLOOR = 1e-2
"""Smallest RMS of rows for which deviation bounds hold; embeddings of published models have about 0.02."""

DEVIATION_LIMIT = 2e-3
"""Largest relative deviation of a fused form: twice the spacing of float16 at 1, which is 2**-10."""

SMALLEST_NORMAL = 2.0**-126
"""float32's smallest number; a smaller epsilon would be 0 in a float32 program, and rows of zeros NaN."""


def normalised(found: Root, width: int) -> tuple[float, float, float]:
    """Return (scale, epsilon, deviation bound): the product is ``scale * x * (mean(x^2) + epsilon)^(-1/2)``.

    With t the factor from RMS to root, the divisor is ``t * sqrt(mean + e0) + outside``. An outside term
    delta = outside / t is represented by epsilon = delta^2, which keeps the value at zero rows; the deviation is at
    most delta / rms. A floor g on the RMS (``clamp_min``) does not affect rows above it; a tiny epsilon represents it.
    """
    q = found.quadratic
    stretch = q.scale * width
    to_root = found.scale * math.sqrt(stretch)
    epsilon = q.epsilon / stretch
    delta = found.outside / to_root
    floor = max((found.floor - found.outside) / to_root, math.sqrt(max(q.floor - q.epsilon, 0.0) / stretch))
    bound = 0.5 * q.dropped / stretch / RMS_FLOOR**2
    if delta:
        epsilon += delta * delta
        bound += delta / RMS_FLOOR
    if floor > 0:
        tiny = min(max(floor * floor, SMALLEST_NORMAL), SMALLEST_FP16)
        bound += 0.5 * max(tiny - epsilon, 0.0) / RMS_FLOOR**2 if floor <= RMS_FLOOR else floor / RMS_FLOOR
        epsilon = max(epsilon, tiny)
    return found.number / to_root, epsilon, bound


def largest_taken_out(epsilon: float, width: int) -> tuple[float, float]:
    """Return (epsilon, deviation bound) of rows divided by their largest magnitude m before they are squared.

    ``x / (m * sqrt(mean((x/m)^2) + e))`` is ``x / sqrt(mean(x^2) + e * m^2)``, and ``m^2 <= width * mean(x^2)``, so it
    deviates by at most ``e * width / 2`` from the form without epsilon. A tiny epsilon keeps zero rows at zero.
    """
    return SMALLEST_FP16, max(0.5 * epsilon * width, 0.5 * SMALLEST_FP16 / RMS_FLOOR**2)

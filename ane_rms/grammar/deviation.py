"""How far a root is from that of an RMSNorm, and which epsilon stands for what it adds.

With t the factor from RMS to root, ``t * sqrt(mean + e) + outside`` divides x. An outside term delta = outside / t is
met by an epsilon of delta^2, which keeps the value at zero rows; a floor on the RMS by a tiny one. Neither is exact:
the bound is that of the relative deviation for rows whose RMS is at least :data:`RMS_FLOOR`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ane_rms.grammar.forms import SMALLEST_FP16

if TYPE_CHECKING:
    from ane_rms.grammar.forms import Root

RMS_FLOOR = 1e-2
"""Deviation bounds hold for rows whose RMS is at least this: embeddings of published models stand at about 0.02."""

DEVIATION_LIMIT = 2e-3
"""Twice the spacing of float16 at 1 (2**-10): a fused form may deviate by no more, relative to the value written."""

SMALLEST_NORMAL = 2.0**-126
"""float32's: a smaller epsilon would be 0 in a float32 program, and rows of zeros NaN."""


def normalised(found: Root, width: int) -> tuple[float, float, float]:
    """Return (scale, epsilon, deviation bound): the product is ``scale * x * (mean(x^2) + epsilon)^(-1/2)``.

    With t the factor from RMS to root, ``t * sqrt(mean + e0) + outside`` divides. An outside term delta = outside / t
    is met by epsilon = delta^2, which keeps the value at zero rows: off by at most delta / rms. A floor g on the RMS
    (``clamp_min``) leaves rows above it untouched: a tiny epsilon stands for it.
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

    ``x / (m * sqrt(mean((x/m)^2) + e))`` is ``x / sqrt(mean(x^2) + e * m^2)``, and ``m^2 <= width * mean(x^2)``: off by
    at most ``e * width / 2`` from no epsilon at all. A tiny one stands for it, which keeps zero rows at zero.
    """
    return SMALLEST_FP16, max(0.5 * epsilon * width, 0.5 * SMALLEST_FP16 / RMS_FLOOR**2)

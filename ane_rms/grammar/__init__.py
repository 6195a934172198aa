r"""Recognise RMSNorm in a MIL graph by algebra, or give the reason why a near match is not one.

.. math::  y = \gamma \cdot x \cdot \big(\tfrac1d \textstyle\sum x^2 + \epsilon\big)^{-1/2}

Four productions compose. Each returns a match, a :class:`Refusal` (a near match), or None (something else).

``quadratic``   a mean or sum of squares, times a number, plus a number:  ``a * sum(x^2) + e``
``root``        its square root or the inverse of that, times a number, plus a number, floored by a number
``product``     a tree of ``mul``, ``real_div`` and ``cast``: constants, and factors to the power of 1 or -1
``rms_norm``    a product of x, the inverse root of x's own quadratic, and constants, which make gamma; if no part of a
product is a norm by itself, also a norm that another value multiplies (:func:`rms_norm_within`)

Scales are tracked exactly, so ``x * sqrt(d) / norm(x)``, ``x / (norm(x) * d**-0.5)``, a sum divided by d and a mean are
equivalent. Ops are looked through if their inputs and outputs are floats. Two values are the same if they are the same
variable, or the same computation on the same values (:mod:`ane_rms.grammar.values`).

Norms that are already lowered are recognised separately (:func:`lowered_norms`).

A match that is not exactly an RMSNorm has a bound of the relative deviation (:mod:`ane_rms.grammar.deviation`), and is
refused if that bound is too large. :mod:`ane_rms.grammar.unused` gives the reason for a root that no product used.
"""

from ane_rms.grammar.deviation import DEVIATION_LIMIT, RMS_FLOOR
from ane_rms.grammar.forms import SMALLEST_FP16, LoweredNorm, Quadratic, Refusal, RmsNorm, Root
from ane_rms.grammar.lowered import lowered_norms
from ane_rms.grammar.norm import rms_norm, rms_norm_within
from ane_rms.grammar.product import Product, product
from ane_rms.grammar.quadratic import quadratic
from ane_rms.grammar.root import root
from ane_rms.grammar.taken import takes_root
from ane_rms.grammar.unused import unused_root

__all__ = [
    "DEVIATION_LIMIT",
    "RMS_FLOOR",
    "SMALLEST_FP16",
    "LoweredNorm",
    "Product",
    "Quadratic",
    "Refusal",
    "RmsNorm",
    "Root",
    "lowered_norms",
    "product",
    "quadratic",
    "rms_norm",
    "rms_norm_within",
    "root",
    "takes_root",
    "unused_root",
]

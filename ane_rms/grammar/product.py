"""The third production: a product, flattened, and what its constants make of a normalised x.

``mul``, ``real_div`` and casts between float types are looked into as long as nothing else reads what lies between:
``g * (x / r)``, ``(g * x) * (1 / r)`` and ``x / (r / g)`` are one product. All of its constants, and the number that is
left of the root, multiply to one array: 1 is no gamma, one along the normalised axes is gamma, any other stays a
multiplication after the norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import Product, Refusal

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

SCALE_TOLERANCE = 2.0**-11
"""float16's unit roundoff: a factor sqrt(d) that was stored in float16 is off by no more."""

SCALE_EXACT = 1e-6
"""float32's rounding of d and sqrt(d): no deviation worth stating."""


def product(op: mil.Op, stop: Collection[int] = ()) -> Product:
    """Flatten the product that ends in ``op``, through intermediates that nothing else uses.

    Parameters
    ----------
    op: the last multiplication or division.
    stop: ids of ops that are not looked into.
    """
    result = Product()

    def visit(var: mil.Var, power: int, *, last: bool) -> None:
        constant = mil.floats(var)
        if constant is not None:
            result.constants.append((constant, power))
            return
        inner = mil.producer(var, "mul", "real_div", "cast")
        if inner is None or _opaque(inner) or id(inner) in stop or not (last or mil.is_interior(var)):
            result.factors.append((var, power))
            return
        result.ops.append(inner)
        visit(inner.x, power, last=False)
        if inner.op_type != "cast":
            visit(inner.y, power if inner.op_type == "mul" else -power, last=False)

    visit(op.outputs[0], 1, last=True)
    return result


def _opaque(op: mil.Op) -> bool:
    """Return whether ``op`` is a cast that changes more than rounding."""
    return bool(op.op_type == "cast" and not mil.is_float(op.x))


@dataclass(frozen=True, slots=True)
class Scaling:
    """What multiplies a normalised x: gamma over its axes, or a constant ``after`` it; ``drift`` from exactly 1."""

    gamma: npt.NDArray[np.float64] | None = None
    after: npt.NDArray[np.float64] | None = None
    drift: float = 0.0


def scaling(flat: Product, scale: float, rank: int, sizes: dict[int, int], *, within: bool) -> Scaling | Refusal:
    """Return what the constants of a product, and the scale of its root, make of the normalised x.

    Parameters
    ----------
    flat: the product.
    scale: what is left of the root, 1 where it is the RMS itself.
    rank: of x.
    sizes: length of each normalised axis.
    within: whether no part of the product is a norm by itself.
    """
    total, along, elsewhere = np.full((1,) * rank, scale), False, False
    for constant, power in flat.constants:
        spread = constant.reshape((1,) * (rank - constant.ndim) + constant.shape)
        along |= any(n != 1 for axis, n in enumerate(spread.shape) if axis in sizes)
        elsewhere |= any(n != 1 for axis, n in enumerate(spread.shape) if axis not in sizes)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = total * spread if power == 1 else total / spread
    is_rms = abs(scale - 1.0) <= SCALE_TOLERANCE
    if not np.isfinite(total).all():
        return Refusal("gamma is not finite")
    if elsewhere:
        if is_rms and not within:
            return Refusal("a constant factor varies along other axes than the normalised ones")
        return Scaling(after=total)
    number = float(total.flat[0])
    if not along and abs(number - 1.0) <= SCALE_TOLERANCE:
        drift = abs(number - 1.0)
        return Scaling(drift=drift if drift > SCALE_EXACT else 0.0)
    if not along and not is_rms:
        return Refusal(f"an L2 normalisation: the result is {number:.4g} times an RMSNorm, with no gamma to take it up")
    shape = [sizes.get(axis, 1) for axis in range(rank)]
    return Scaling(gamma=np.broadcast_to(total, shape).reshape(list(sizes.values())))

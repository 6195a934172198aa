"""The second production: a root of a quadratic, ``number * (scale * sqrt(quadratic) + outside)^(1 or -1)``.

``sqrt``, ``rsqrt``, ``pow`` to 0.5 or -0.5, or ``reduce_l2_norm`` takes it; ``inverse`` or a division of a number turns
it round. Numbers multiply it, are added outside the root, or bound it from below; a power of -1 takes a factor alone:

``(s * r + o) * n = (s * n) * r + o * n``,  ``n / (s * r + o)``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import SMALLEST_FP16, Quadratic, Refusal, Root, constant_operand, floored
from ane_rms.grammar.quadratic import kept, quadratic, reduction

RSQRT_GUARD = 1e-12
INVERSE_GUARD = 1e-4
"""What coremltools adds by itself under ``rsqrt`` and to the argument of ``inverse``. Torch's own ops have no such
term: each is kept only where the user wrote no epsilon, the second as a floor."""


def root(var: mil.Var) -> Root | Refusal | None:
    """Return the root form that ``var`` has."""
    op = mil.base(var).op
    if op is None:
        return None
    if op.op_type in ("sqrt", "rsqrt", "pow"):
        return _taken(op)
    if op.op_type == "reduce_l2_norm":
        q = reduction(op)
        return Root(replace(q, spelling="l2_norm"), op, 1, "l2_norm") if isinstance(q, Quadratic) else q
    if op.op_type in ("expand_dims", "reshape"):
        found: Root | Refusal | None = kept(root(op.x), op)
        return found
    if op.op_type == "tile":
        return _tiled(op)
    if op.op_type == "inverse":
        return _inverted(root(op.x), 1.0, guard=mil.scalar(op.epsilon) or 0.0)
    if op.op_type == "real_div" and (number := mil.scalar(op.x)) is not None:
        return _inverted(root(op.y), number)
    if op.op_type in ("add", "maximum", "mul", "real_div", "clip"):
        return _adjusted(op)
    return None


def _taken(op: mil.Op) -> Root | Refusal | None:
    """Return the root of a quadratic that ``sqrt``, ``rsqrt`` or ``pow`` takes."""
    exponent = {"sqrt": 0.5, "rsqrt": -0.5}.get(op.op_type) or mil.scalar(op.y)
    if exponent not in (0.5, -0.5):
        return None
    q = quadratic(op.x)
    if isinstance(q, Refusal):
        return replace(q, op=op)
    if q is None:
        return None
    if op.op_type == "rsqrt" and (guard := mil.scalar(op.epsilon)):
        written = q.epsilon > 0 or q.floor > 0
        default = math.isclose(guard, RSQRT_GUARD, rel_tol=1e-6) or mil.dtype(op.x) == "fp16"
        q = q if written and default and guard <= SMALLEST_FP16 else replace(q, epsilon=q.epsilon + guard)
    return Root(q, op, 1 if exponent > 0 else -1, f"{q.spelling}_{op.op_type}")


def _tiled(op: mil.Op) -> Root | Refusal | None:
    """Look through a ``tile`` that only spreads the reduced axes, as ``expand_as`` does."""
    found, reps = root(op.x), mil.const_value(op.reps)
    if not isinstance(found, Root) or reps is None:
        return found if isinstance(found, Refusal) else None
    spread = all(n == 1 or axis in found.quadratic.axes for axis, n in enumerate(np.atleast_1d(reps)))
    return found if spread else None


def _inverted(found: Root | Refusal | None, number: float, guard: float = 0.0) -> Root | Refusal | None:
    """Return ``number / (found + guard)``."""
    if not isinstance(found, Root):
        return found
    if found.power != 1 or number <= 0:
        return Refusal("an inverse of the inverse root, or a negative one", found.op)
    written = guard > SMALLEST_FP16 and not math.isclose(guard, INVERSE_GUARD, rel_tol=1e-2)
    outside = found.outside + (guard if written else 0.0)
    # Rows of zeros have the guard alone to thank for being zeros: there it stands as a floor.
    bare = not (written or outside or found.floor or found.quadratic.epsilon or found.quadratic.floor)
    floor = guard if bare else found.floor
    return replace(found, power=-1, number=number, outside=outside, floor=floor, spelling=f"{found.spelling}_inverse")


def _adjusted(op: mil.Op) -> Root | Refusal | None:
    """Return a root plus, times, divided by or floored by a number."""
    if op.op_type == "real_div":
        divisor = mil.scalar(op.y)
        operand = None if not divisor else (op.x, 1 / divisor)
    else:
        operand = floored(op) if op.op_type == "clip" else constant_operand(op)
    if operand is None:
        return None
    inner, number = operand
    found = root(inner)
    if not isinstance(found, Root):
        return found
    if number < 0 or not math.isfinite(number):
        return Refusal(f"the root is combined with {number:g}; it must be a finite number, 0 or more", found.op)
    if op.op_type in ("mul", "real_div"):
        return _scaled(found, number)
    if found.power != 1:
        return Refusal("something is added to the inverse root", found.op)
    if op.op_type == "add":
        return replace(found, outside=found.outside + number)
    return replace(found, floor=max(found.floor, number))


def _scaled(found: Root, number: float) -> Root:
    """Return ``number * found``."""
    if found.power == -1:
        return replace(found, number=found.number * number)
    return replace(found, scale=found.scale * number, outside=found.outside * number, floor=found.floor * number)

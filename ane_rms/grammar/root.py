"""The second production: a root of a quadratic, ``number * (scale * sqrt(quadratic) + outside)^(1 or -1)``.

``sqrt``, ``rsqrt``, ``pow`` to 0.5 or -0.5, ``exp(0.5 * log)`` or ``reduce_l2_norm`` takes the root. ``inverse``, a
power of -1 or a division of a number inverts it, before the root or after. Numbers may multiply it, be added outside
the root, or bound it from below; to the power of -1 it takes only a factor:

``(s * r + o) * n = (s * n) * r + o * n``,  ``n / (s * r + o)``,  ``sqrt(n / q) = sqrt(n) / sqrt(q)``.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import SMALLEST_FP16, Quadratic, Refusal, Root, floored, number_operand
from ane_rms.grammar.quadratic import ARITHMETIC, quadratic, reduction
from ane_rms.grammar.spread import is_along
from ane_rms.grammar.squares import REGROUPING, holds_mean_square
from ane_rms.grammar.taken import Taken, taken, unfollowed
from ane_rms.grammar.turned import turned

RSQRT_GUARD = 1e-12
INVERSE_GUARD = 1e-4
"""The terms that coremltools adds by itself under ``rsqrt`` and to the argument of ``inverse``. Torch's own ops have
no such term, so each is kept only if the user wrote no epsilon, the second as a floor."""

SMALLEST_NORMAL = 2.0**-126
"""float32's smallest normal number: ``log`` adds 1e-45 by itself."""

NEGLIGIBLE = 1e-5
"""Share of epsilon below which a guard, in a program not read from torch, is omitted and counted in the bound."""


def refuse(op: mil.Op, reason: str, found: Root) -> Refusal:
    """Return a refusal of this production at ``op``, after ``found`` had matched."""
    return Refusal(reason, op, "root", found.op)


def root(var: mil.Var) -> Root | Refusal | None:
    """Return the root form that ``var`` has."""
    op = mil.float_producer(var)
    if op is None:
        return None
    power = taken(op)
    if power is not None and power.is_square_root:
        return _taken(op, power)
    if op.op_type == "reduce_l2_norm":
        q = reduction(op)
        if isinstance(q, Refusal):
            return replace(q, root=op)
        return Root(replace(q, spelling="l2_norm"), op, 1, "l2_norm")
    if op.op_type in REGROUPING:
        return root(op.x)
    if op.op_type == "tile":
        return _tiled(op)
    if op.op_type == "transpose":
        return _transposed(op)
    if op.op_type in ("inverse", "pow") or (op.op_type == "real_div" and mil.scalar(op.x) is not None):
        return _turned(op)
    return _adjusted(op) if op.op_type in ARITHMETIC else None


def _transposed(op: mil.Op) -> Root | Refusal | None:
    """Look through a ``transpose`` of a root, if x is transposed in the same way."""
    found = root(op.x)
    q = turned(found.quadratic, op) if isinstance(found, Root) else None
    return None if not isinstance(found, Root) or q is None else replace(found, quadratic=q)


def _turned(op: mil.Op) -> Root | Refusal | None:
    """Return the root that an ``inverse``, a power of -1 or a division of a number inverts."""
    if op.op_type == "inverse":
        return _inverted(op, root(op.x), 1.0, guard=mil.scalar(op.epsilon) or 0.0)
    if op.op_type == "real_div":
        return _inverted(op, root(op.y), mil.scalar(op.x) or 0.0)
    return _inverted(op, root(op.x), 1.0) if mil.scalar(op.y) == -1 else None


def _taken(op: mil.Op, given: Taken) -> Root | Refusal | None:
    """Return the root of a quadratic, or of a number divided by one, that an op takes."""
    exponent = given.exponent or 0.0
    q, number = quadratic(given.value), 1.0
    if q is None:
        q, number = _turned_round(given.value)
        exponent = -exponent
    if isinstance(q, Refusal):
        return replace(q, root=op)
    if q is None:
        return replace(unfollowed(given.value), root=op) if holds_mean_square(given.value) else None
    if given.guard:
        if exponent == given.exponent:
            q = _guarded(q, given.guard, op)
        elif not (_is_default(given.guard, op) and mil.is_from_torch(op)):
            reason = f"`{op.op_type}` adds an epsilon to the inverse of the mean square"
            return Refusal(reason, op, "root", root=op)
    power = 1 if exponent > 0 else -1
    factor = math.sqrt(number) if power == -1 else 1 / math.sqrt(number)
    scaling = {"number": factor} if power == -1 else {"scale": factor}
    return Root(q, op, power, f"{q.spelling}_{op.op_type}", **scaling)


def _guarded(q: Quadratic, guard: float, op: mil.Op) -> Quadratic:
    """Return the quadratic with the term under ``rsqrt`` or ``log``, unless coremltools added it by itself."""
    if guard < SMALLEST_NORMAL:
        return q
    written = q.epsilon > 0 or q.floor > 0
    if written and _is_default(guard, op):
        if mil.is_from_torch(op):
            return q
        if guard <= NEGLIGIBLE * q.epsilon:
            return replace(q, dropped=guard)
    return replace(q, epsilon=q.epsilon + guard, floor=q.floor + guard if q.floor else 0.0)


def _is_default(guard: float, op: mil.Op) -> bool:
    """Return whether the epsilon of an ``rsqrt`` or a ``log`` is coremltools' default."""
    stored = guard < SMALLEST_NORMAL or math.isclose(guard, RSQRT_GUARD, rel_tol=1e-6) or mil.dtype(op.x) == "fp16"
    return stored and guard <= SMALLEST_FP16


def _turned_round(var: mil.Var) -> tuple[Quadratic | Refusal | None, float]:
    """Return (quadratic, n) if ``var`` is ``n / quadratic``."""
    op = mil.float_producer(var, "real_div", "inverse", "pow")
    if op is None:
        return None, 1.0
    if op.op_type == "real_div":
        number = mil.scalar(op.x)
        q = quadratic(op.y) if number is not None else None
        if number is not None and isinstance(q, Quadratic) and not (math.isfinite(number) and number > 0):
            reason = f"{number:g} is divided by the mean square; it must be a positive number"
            return Refusal(reason, op, "root"), 1.0
        return q, number or 1.0
    if op.op_type == "pow":
        return (quadratic(op.x) if mil.scalar(op.y) == -1 else None), 1.0
    q, guard = quadratic(op.x), mil.scalar(op.epsilon) or 0.0
    if not isinstance(q, Quadratic):
        return q, 1.0
    unwritten = math.isclose(guard, INVERSE_GUARD, rel_tol=1e-2) and mil.is_from_torch(op)
    return (q if unwritten and q.epsilon > 0 else replace(q, epsilon=q.epsilon + guard)), 1.0


def _tiled(op: mil.Op) -> Root | Refusal | None:
    """Look through a ``tile`` that only repeats along the reduced axes, as ``expand_as`` does."""
    found, reps = root(op.x), mil.const_value(op.reps)
    if not isinstance(found, Root):
        return found
    rank = found.quadratic.x.rank
    if reps is None or not is_along(found.quadratic, op.x) or op.x.rank != rank:
        return refuse(op, "`tile` repeats the root along axes that are not known to be the reduced ones", found)
    if not all(n == 1 or axis in found.quadratic.axes for axis, n in enumerate(np.atleast_1d(reps))):
        return refuse(op, "`tile` repeats the root along an axis that is not reduced", found)
    return found


def _inverted(op: mil.Op, found: Root | Refusal | None, number: float, guard: float = 0.0) -> Root | Refusal | None:
    """Return ``number / (found + guard)``."""
    if not isinstance(found, Root):
        return found
    if found.power != 1 or not (math.isfinite(number) and number > 0):
        return refuse(op, "an inverse of the inverse root, or a negative one", found)
    unwritten = math.isclose(guard, INVERSE_GUARD, rel_tol=1e-2) and mil.is_from_torch(op)
    written = guard > SMALLEST_FP16 and not unwritten
    outside = found.outside + (guard if written else 0.0)
    # Only the guard keeps rows of zeros at zero, so it becomes a floor.
    bare = not (written or outside or found.floor or found.quadratic.epsilon or found.quadratic.floor)
    floor = guard if bare else found.floor
    return replace(found, power=-1, number=number, outside=outside, floor=floor, spelling=f"{found.spelling}_inverse")


def _adjusted(op: mil.Op) -> Root | Refusal | None:
    """Return the root that results from adding, multiplying, dividing by or bounding by a number."""
    operand = floored(op) if op.op_type == "clip" else number_operand(op)
    if operand is None:
        bounded = root(op.x) if op.op_type == "clip" else None
        if isinstance(bounded, Root):
            return refuse(op, "the root is bounded from above by `clip`", bounded)
        return bounded
    inner, number = operand
    found = root(inner)
    if not isinstance(found, Root):
        return found
    if mil.shape(inner) != mil.shape(op.outputs[0]) and not is_along(found.quadratic, op.outputs[0]):
        return refuse(op, f"`{op.op_type}` gives the root the shape {list(mil.shape(op.outputs[0]))}", found)
    if op.op_type == "sub":
        number = -number
    if number < 0 or not math.isfinite(number):
        return refuse(op, f"the root is combined with {number:g}; it must be a finite number, 0 or more", found)
    if op.op_type in ("mul", "real_div"):
        factor = number if op.op_type == "mul" else 1 / number if number else 0.0
        return _scaled(found, factor) if factor else refuse(op, "the root is multiplied or divided by 0", found)
    return _shifted(op, found, number)


def _shifted(op: mil.Op, found: Root, number: float) -> Root | Refusal:
    """Return the root that results from adding a number, or bounding by one."""
    if op.op_type == "minimum":
        return refuse(op, "the root is bounded from above by `minimum`", found)
    if op.op_type in ("add", "sub") and number == 0:
        return found
    if found.power != 1:
        bound = "something is added to the inverse root"
        if op.op_type in ("maximum", "clip"):
            bound = f"the inverse root is bounded from below by `{op.op_type}`"
        return refuse(op, bound, found)
    if op.op_type in ("add", "sub"):
        return replace(found, outside=found.outside + number, floor=found.floor + number if found.floor else 0.0)
    return replace(found, floor=max(found.floor, number))


def _scaled(found: Root, number: float) -> Root:
    """Return ``number * found``."""
    if found.power == -1:
        return replace(found, number=found.number * number)
    return replace(found, scale=found.scale * number, outside=found.outside * number, floor=found.floor * number)

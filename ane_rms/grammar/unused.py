"""Give the reason why a root of a mean or sum of squares is part of no norm.

Every such root is examined, so that none is ignored silently. The root of a variance belongs to a LayerNorm, not to an
RMSNorm, and is not reported.
"""

from __future__ import annotations

from dataclasses import replace

from ane_rms import mil
from ane_rms.grammar.forms import Refusal, Root, called
from ane_rms.grammar.norm import of_variance
from ane_rms.grammar.product import product
from ane_rms.grammar.root import root
from ane_rms.grammar.spread import centred_on
from ane_rms.grammar.taken import not_a_square_root, taken, unfollowed


def unused_root(op: mil.Op) -> Refusal:
    """Return why the root that ``op`` takes is part of no norm.

    Parameters
    ----------
    op: the op that takes the root of a mean or sum of squares.
    """
    other = not_a_square_root(op)
    if other is not None:
        return other
    found, power = root(op.outputs[0]), taken(op)
    if found is None:
        return replace(unfollowed(op.x if power is None else power.value), root=op)
    if isinstance(found, Refusal):
        return replace(found, root=op)
    centre = centred_on(found.quadratic.x)
    if centre is not None and centre[1] == found.quadratic.axes:
        return replace(of_variance(op, centre[0]), root=op)
    return replace(_followed(op, called(found.quadratic)), root=op)


def _followed(op: mil.Op, square: str) -> Refusal:
    """Follow the value of a recognised root to the first op that does not fit a norm."""
    user = op
    while True:
        users = user.outputs[0].child_ops
        if not users:
            return Refusal(f"the root of the {square} is an output, and divides nothing", user, "rms_norm")
        before, user = user, users[0]
        value = user.outputs[0] if user.outputs else None
        found = None if value is None else root(value)
        if isinstance(found, Refusal):
            return found
        if not isinstance(found, Root):
            return _ended(before, user, square)


def _ended(before: mil.Op, user: mil.Op, square: str) -> Refusal:
    """Describe the use of a root that the grammar does not follow."""
    if user.op_type not in ("mul", "real_div") or not mil.is_float_arithmetic(user):
        return Refusal(f"the root of the {square} goes into `{user.op_type}`, not into a product", user, "rms_norm")
    found = root(before.outputs[0])
    power = next((node.power for _, node in product(user).unknowns() if node.var is before.outputs[0]), 1)
    if isinstance(found, Root) and found.power * power == 1:
        return Refusal(f"a value is multiplied by the root of the {square}, not divided by it", user, "product")
    return Refusal("what is scaled is not the value whose mean square is taken", user, "rms_norm")

"""Refuse layer norms of a doubled row that are no lowered norm, so that none is silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ane_rms.grammar.doubled import product_and_negative
from ane_rms.grammar.forms import NO_HALF, Refusal
from ane_rms.grammar.layout import SIGN

if TYPE_CHECKING:
    from ane_rms import mil
    from ane_rms.grammar.doubled import Doubled
    from ane_rms.grammar.layout import Layout
    from ane_rms.grammar.lowered import LayerNormed


def without_half(normal: LayerNormed, row: Doubled) -> Refusal | None:
    """Refuse a layer norm of which no half is kept."""
    return _refused(normal, NO_HALF, normal.source.op) if _is_over_sign(row.laid[0][0][1], normal) else None


def with_beta(normal: LayerNormed, row: Doubled) -> Refusal | None:
    """Refuse a layer norm that adds a beta."""
    reason = "a LayerNorm of a value joined with its negative that adds a beta: add it to the half that is kept instead"
    return _refused(normal, reason, normal.value.op) if _is_over_sign(row.laid[0][0][1], normal) else None


def of_product(normal: LayerNormed) -> Refusal | None:
    """Refuse a layer norm of a product and its negative, which is a norm of the product."""
    found = product_and_negative(normal.source)
    if found is None or not _is_over_sign(found[1], normal):
        return None
    reason = (
        f"a LayerNorm of a product and its negative, which one matrix of `{found[0].op_type}` makes; the product is no "
        "value by itself: make it so, and join it with its negative by a `concat`"
    )
    return _refused(normal, reason, found[0])


def _is_over_sign(layout: Layout, normal: LayerNormed) -> bool:
    """Return whether a layer norm is over the axis that tells a value from its negative."""
    return any(part[0] == SIGN for axis in normal.axes for part in layout[axis])


def _refused(normal: LayerNormed, reason: str, op: mil.Op) -> Refusal:
    return Refusal(reason, op, "lowered", root=normal.root if normal.root is not None else normal.value.op)

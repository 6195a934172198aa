"""Find the factor of a product that is the x of its root, and the parts beside the two.

The factor and the squared value may each be a number times the same value: ``h * rsqrt(mean((h / c)^2) + e)``. They
may also be x and ``x / m``, with m the largest magnitude of x's rows, divided out before squaring: coremltools expands
``torch.nn.RMSNorm`` into ``x / (m * sqrt(mean((x/m)^2) + e))``, in which epsilon acts as ``e * m^2``. If coremltools
itself emitted all of it for one node of torch, ``e`` is the user's epsilon, and is the one fused (coremltools issue
2821). If a user wrote this form, :mod:`ane_rms.grammar.deviation` states the deviation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ane_rms import mil
from ane_rms.grammar.forms import common_value, reduced_axes
from ane_rms.grammar.values import same

if TYPE_CHECKING:
    from ane_rms.grammar.forms import Quadratic, Root
    from ane_rms.grammar.product import Node, Product


@dataclass(frozen=True, slots=True)
class Operand:
    """The x of a product: the quadratic of x itself, and the remaining factors."""

    quadratic: Quadratic
    number: float
    """The number that multiplies x, if the factor is a number times x."""
    constants: list[Node]
    others: list[Node]
    """The largest parts of the product that contain neither x nor the root and are not constant."""
    meets_last: bool
    """Whether x and the root first meet in the product's last op."""
    is_over_largest: bool = False
    is_torchs: bool = False
    """Whether coremltools divided by the largest magnitude, in its expansion of one node of torch."""


def operand(flat: Product, found: Root, at: int) -> Operand | None:
    """Return the x of a product around the root that is its factor ``at``; None if no factor is it."""
    return _plain(flat, found.quadratic, at) or _over_largest(flat, found, at)


def _plain(flat: Product, q: Quadratic, at: int) -> Operand | None:
    candidates = []
    for place, node in flat.unknowns():
        if place == at or node.power != 1:
            continue
        common = common_value(q.x, node.var)
        if common is not None and all(common[1:]):
            inner, squared_factor, factor = common
            scale = q.scale * squared_factor * squared_factor
            candidates.append(_around(flat, at, place, replace(q, x=inner, scale=scale), factor))
    return min(candidates, key=lambda one: len(one.others), default=None)


def _over_largest(flat: Product, found: Root, at: int) -> Operand | None:
    q = found.quadratic
    inner = mil.float_producer(q.x, "real_div")
    if inner is None or not _is_largest_magnitude(inner.y, inner.x, q.axes):
        return None
    for place, node in flat.unknowns():
        if place == at or node.power != 1 or not same(node.var, inner.x):
            continue
        around = _around(flat, at, place, replace(q, x=inner.x), 1.0)
        undone = [one for one in around.others if one.power == -1 and same(one.var, inner.y)]
        if undone:
            rest = [one for one in around.others if one is not undone[0]]
            return replace(around, others=rest, is_over_largest=True, is_torchs=_is_torchs(found.op, inner))
    return None


def _around(flat: Product, root_at: int, at: int, q: Quadratic, number: float) -> Operand:
    beside = flat.beside(root_at, at)
    return Operand(
        quadratic=q,
        number=number,
        constants=[node for node in beside if node.constant is not None],
        others=[node for node in beside if node.constant is None],
        meets_last=_meets_in(flat, flat.ancestors(root_at) & flat.ancestors(at)),
    )


def _meets_in(flat: Product, shared: set[int]) -> bool:
    """Return whether the places on both paths are only the whole product, or casts of it."""
    ops = [flat.nodes[place].op for place in shared]
    return len([op for op in ops if op is not None and op.op_type != "cast"]) == 1


def _is_largest_magnitude(var: mil.Var, x: mil.Var, axes: tuple[int, ...]) -> bool:
    """Return whether ``var`` is ``max(|x|)`` over ``axes``, which are kept with length 1."""
    reduction = mil.float_producer(var, "reduce_max")
    if reduction is None or reduction.axes is None or not reduction.keep_dims.val:
        return False
    magnitude = mil.float_producer(reduction.x, "abs")
    return magnitude is not None and same(magnitude.x, x) and reduced_axes(reduction) == axes


def _is_torchs(root: mil.Op, division: mil.Op) -> bool:
    """Return whether coremltools read the root, and the division by the largest magnitude, from one node of torch."""
    node = mil.torch_node(root)
    return bool(node) and node == mil.torch_node(division) == mil.torch_node(mil.base(division.y).op)

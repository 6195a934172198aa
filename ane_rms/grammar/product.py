"""The third production: a product as a tree, and the gamma that its constants make.

``mul``, ``real_div`` and casts between float types in one block are followed as long as nothing else reads the values
between them: ``g * (x / r)``, ``(g * x) * (1 / r)`` and ``x / (r / g)`` are one product. Its constants, and the
number that remains of the root, multiply to one array. An array of 1 is no gamma, an array along the normalised axes
is gamma, and any other stays a multiplication after the norm.

A part of the tree that contains neither x nor the root is one factor, whatever its structure. It is computed as it was
written, because regrouping values known only at run time could overflow float16.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.grammar.forms import Refusal
from ane_rms.grammar.spread import narrowed

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

SCALE_TOLERANCE = 2.0**-11
"""float16's unit roundoff, the largest relative error of a factor sqrt(d) stored in float16."""

SCALE_EXACT = 1e-6
"""float32's rounding of d and sqrt(d), which is too small to be stated as a deviation."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a product, to the power of 1 or -1; ``op`` if it is followed further, ``constant`` if known."""

    var: mil.Var
    power: int
    parent: int
    op: mil.Op | None
    constant: npt.NDArray[np.float64] | None


@dataclass(slots=True)
class Product:
    """The tree of a product. Each node follows its parent, and the first is the whole product."""

    nodes: list[Node] = field(default_factory=list)

    @property
    def ops(self) -> tuple[mil.Op, ...]:
        """The multiplications and casts of the tree."""
        return tuple(node.op for node in self.nodes if node.op is not None)

    @property
    def constants(self) -> list[tuple[npt.NDArray[np.float64], int]]:
        """The constants of the product, each with its power."""
        return [(node.constant, node.power) for node in self.nodes if node.constant is not None]

    @property
    def factors(self) -> list[tuple[mil.Var, int]]:
        """The factors of the product that are not constant, each with its power."""
        return [(node.var, node.power) for _, node in self.unknowns()]

    def unknowns(self) -> Iterator[tuple[int, Node]]:
        """Yield each factor that is not constant, with its place."""
        yield from ((i, node) for i, node in enumerate(self.nodes) if node.op is None and node.constant is None)

    def ancestors(self, at: int) -> set[int]:
        """Return the places of a node and of its ancestors."""
        found = set()
        while at >= 0:
            found.add(at)
            at = self.nodes[at].parent
        return found

    def beside(self, *places: int) -> list[Node]:
        """Return the constants and values that are the largest parts containing none of the nodes at ``places``."""
        paths = set().union(*(self.ancestors(at) for at in places))
        return [node for i, node in enumerate(self.nodes) if i not in paths and node.parent in paths]


def product(op: mil.Op) -> Product:
    """Return the product that ends in ``op``, through intermediates that nothing else uses."""
    result, pending = Product(), [(op.outputs[0], 1, -1)]
    while pending:
        var, power, parent = pending.pop()
        constant = mil.floats(var)
        inner = _opened(var, op) if constant is None else None
        at = len(result.nodes)
        result.nodes.append(Node(var, power, parent, inner, constant))
        if inner is not None:
            if inner.op_type != "cast":
                pending.append((inner.y, power if inner.op_type == "mul" else -power, at))
            pending.append((inner.x, power, at))
    return result


def _opened(var: mil.Var, last: mil.Op) -> mil.Op | None:
    """Return the op of a product that ``var`` is the result of, if it is followed further."""
    inner = mil.producer(var, "mul", "real_div", "cast")
    if inner is None or not mil.is_float_arithmetic(inner):
        return None
    if inner is not last and not (inner.enclosing_block is last.enclosing_block and mil.is_interior(var)):
        return None
    # A cast of a value that is not itself a product belongs to the factor: x in float16 is a different value from x.
    return None if inner.op_type == "cast" and _opened(inner.x, last) is None else inner


@dataclass(frozen=True, slots=True)
class Scaling:
    """The factors of a normalised x: gamma over its axes, or a constant ``after`` it; ``drift`` is the error from 1.

    ``is_rms``: the root is the RMS itself, before any constant. ``is_unit``: the number that multiplies the norm,
    apart from gamma, is that of an L2 norm.
    """

    gamma: npt.NDArray[np.float64] | None = None
    after: npt.NDArray[np.float64] | None = None
    drift: float = 0.0
    is_rms: bool = True
    is_unit: bool = False


def scaling(
    constants: list[Node], scale: float, rank: int, sizes: dict[int, int], op: mil.Op, *, is_rms: bool
) -> Scaling | Refusal:
    """Return the scaling of the normalised x by the constants of a product and the scale of its root.

    Parameters
    ----------
    constants: the constants of the product.
    scale: the number that remains of the root, which is 1 if it is the RMS itself.
    rank: rank of x.
    sizes: length of each normalised axis.
    op: the product's last op, for a refusal.
    is_rms: whether the root is the RMS of the squared value, whatever multiplies it.
    """
    total = np.full((1,) * rank, scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        for node in constants:
            if node.constant is not None:
                one = narrowed(node.constant, rank)
                total = total * one if node.power == 1 else total / one
    is_rms = is_rms or abs(scale - 1.0) <= SCALE_TOLERANCE
    if not np.isfinite(total).all():
        return Refusal("gamma is not finite", op, "product")
    along = any(n != 1 for axis, n in enumerate(total.shape) if axis in sizes)
    if any(n != 1 for axis, n in enumerate(total.shape) if axis not in sizes):
        return Scaling(after=total, is_rms=is_rms, is_unit=not (is_rms or along))
    number = float(total.flat[0])
    if not along and abs(number - 1.0) <= SCALE_TOLERANCE:
        drift = abs(number - 1.0)
        return Scaling(drift=drift if drift > SCALE_EXACT else 0.0)
    shape = [sizes.get(axis, 1) for axis in range(rank)]
    gamma = np.broadcast_to(total, shape).reshape(list(sizes.values()))
    return Scaling(gamma=gamma, is_unit=not (is_rms or along))

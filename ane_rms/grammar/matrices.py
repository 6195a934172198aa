"""Recognise a row and its negative that one matrix makes: ``[M, -M] x``, or their elements in turn.

``M`` is 1 for ``[x, -x]``, and ``[1, -1]`` for an outer product with x. The op is a ``linear``, a ``matmul`` or a
``conv`` of one position, with a constant matrix.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ane_rms import mil
from ane_rms.grammar.layout import SIGNS, whole

if TYPE_CHECKING:
    import numpy.typing as npt

    from ane_rms.grammar.layout import Layout, Part

    Matrix = npt.NDArray[np.floating[Any]]
    Parts = tuple[mil.Var, int, Matrix, bool]
    """The value, the axis of the results, the matrix of shape (results, elements), and whether the value is turned."""

MATRICES = ("linear", "matmul", "conv")


@dataclass(frozen=True, slots=True)
class Product:
    """A product whose results, along one axis, are those of ``matrix`` and their negatives."""

    op: mil.Op
    value: mil.Var
    """The value that the matrix multiplies."""
    axis: int
    """The axis of the results in the product."""
    matrix: Matrix
    """The half that is not negated, of shape (results, elements)."""
    in_turn: bool
    """Whether each result is followed by its negative; otherwise all results are."""
    shifted: bool
    """Whether a bias is added."""
    turned: bool
    """Whether the value's last two axes are exchanged before."""

    @property
    def layout(self) -> Layout:
        """The layout of the product in a value that has its results along the axis."""
        parts: tuple[Part, ...] = ((self.axis, 1, len(self.matrix)),)
        return self._with(whole(self.op.outputs[0]), parts)

    def into(self, layout: Layout) -> Layout:
        """Return the layout of the product where that of the value is ``layout``, if the matrix only doubles it."""
        layout = (*layout[:-2], layout[-1], layout[-2]) if self.turned else layout
        parts = tuple(part for part in layout[self.axis] if not mil.known(part[2]) or part[2] != 1)
        return self._with(layout, parts)

    def _with(self, layout: Layout, parts: tuple[Part, ...]) -> Layout:
        along = (*parts, SIGNS) if self.in_turn else (SIGNS, *parts)
        return (*layout[: self.axis], along, *layout[self.axis + 1 :])

    @property
    def sign(self) -> int | None:
        """1 if the results are the value, -1 if they are its negative, None if they are anything else."""
        rows, columns = self.matrix.shape
        if self.shifted or rows != columns or abs(self.matrix[0, 0]) != 1:
            return None
        return int(self.matrix[0, 0]) if np.array_equal(self.matrix * self.matrix[0, 0], np.eye(rows)) else None


def doubling_product(op: mil.Op) -> Product | None:
    """Return the product that ``op`` is, if its matrix and bias are the negatives of themselves in halves."""
    found = {"linear": _linear, "matmul": _matmul, "conv": _conv}[op.op_type](op)
    if found is None:
        return None
    value, axis, matrix, turned = found
    bias = None if op.op_type == "matmul" or op.bias is None else mil.const_value(op.bias)
    if len(matrix) % 2 or not len(matrix) or (op.op_type != "matmul" and op.bias is not None and bias is None):
        return None
    for in_turn in (False, True):
        half = _half(matrix, in_turn=in_turn)
        if half is not None and (bias is None or not bias.any() or _half(bias, in_turn=in_turn) is not None):
            shifted = bias is not None and bool(bias.any())
            return Product(op, value, axis % value.rank, half, in_turn, shifted, turned)
    return None


def _half(values: Matrix, *, in_turn: bool) -> Matrix | None:
    """Return the half of values whose other half is its negative. Most differ in the first row already."""
    middle = len(values) // 2
    one, other = (values[::2], values[1::2]) if in_turn else (values[:middle], values[middle:])
    if not np.array_equal(one[0], -other[0]) or not np.array_equal(one, -other) or not one.any():
        return None
    return one


def _linear(op: mil.Op) -> Parts | None:
    matrix = mil.const_value(op.weight)
    return None if matrix is None else (op.x, -1, matrix, False)


def _matmul(op: mil.Op) -> Parts | None:
    right, left = _matrix(op.y), _matrix(op.x)
    across_x, across_y = bool(op.transpose_x.val), bool(op.transpose_y.val)
    if right is not None and op.x.rank >= max(2, op.y.rank):
        return op.x, -1, right if across_y else right.T, across_x
    if left is not None and op.y.rank >= max(2, op.x.rank):
        return op.y, -2, left.T if across_x else left, across_y
    return None


def _matrix(var: mil.Var) -> Matrix | None:
    """Return the matrix that a constant is, or that each of its matrices equals."""
    given = mil.const_value(var)
    if given is None or given.ndim < 2 or not given.size:
        return None
    one = given[(0,) * (given.ndim - 2)]
    return one if given.ndim == 2 or (given == one).all() else None


def _conv(op: mil.Op) -> Parts | None:
    weight, groups = mil.const_value(op.weight), mil.scalar(op.groups)
    one_position = weight is not None and all(size == 1 for size in weight.shape[2:])
    if weight is None or groups != 1 or not one_position or mil.shape(op.x)[2:] != mil.shape(op.outputs[0])[2:]:
        return None
    return op.x, 1, weight.reshape(weight.shape[:2]), False

"""The only module that touches coremltools' intermediate representation (MIL).

coremltools ships no types: its programs, blocks, operations and variables are ``Any`` to a type checker. The
functions here give the rest of the package typed answers about them: constants as numpy arrays, shapes, producers,
consumers, walks, and the one rewrite that the passes make.

Source: coremltools 9.0, ``coremltools.converters.mil.mil`` (``block.py``, ``operation.py``, ``var.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder, Function, types
from coremltools.converters.mil.mil.passes.helper import block_context_manager
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from coremltools.converters.mil.mil.scope import ScopeSource
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt


# What MIL calls an operation, a variable, a block and a program. All are Any: coremltools is untyped.
Op = Any
Var = Any
Block = Any
Program = Any


def blocks(program: Program) -> Iterator[Block]:
    """Every block of every function, the inner blocks of ``cond`` and ``while_loop`` after the one around them."""
    pending = list(reversed(program.functions.values()))
    while pending:
        block = pending.pop()
        yield block
        pending.extend(inner for op in block.operations for inner in reversed(op.blocks))


def root_function(op: Op) -> Any:
    """Return the MIL function that holds ``op``, however deeply nested."""
    block = op.enclosing_block
    while not isinstance(block, Function):
        block = block.outer_op.enclosing_block
    return block


def opset_version(op: Op) -> Any:
    """Return the opset (``ct.target``) of the function that holds ``op``; None while it is not settled."""
    return root_function(op).opset_version


def producer(var: Var, *op_types: str) -> Op | None:
    """Return the op that computes ``var`` if it is of one of ``op_types``, else None."""
    op = var.op
    return op if op is not None and op.op_type in op_types else None


def known(value: object) -> bool:
    """Return whether one entry of a shape is a number, not a symbol."""
    return not is_symbolic(value)


def shape(var: Var) -> tuple[int | str, ...]:
    """Return the shape; a dimension unknown until run time is given by its symbol's name."""
    return tuple(int(n) if known(n) else str(n) for n in var.shape)


def dtype(var: Var) -> str:
    """Return the element type's MIL name: ``"fp16"``, ``"fp32"``, ``"int32"`` ..."""
    return str(types.builtin_to_string(var.dtype))


def const_value(var: Var) -> npt.NDArray[Any] | None:
    """Return the value of a constant as an array, or None if it is not known at conversion."""
    value = var.val
    return None if value is None else np.asarray(value)


def floats(var: Var) -> npt.NDArray[np.float64] | None:
    """Return the value of a numeric constant in float64, or None."""
    value = const_value(var)
    if value is None or value.dtype.kind not in "fiu":
        return None
    return value.astype(np.float64)


def scalar(var: Var) -> float | None:
    """Return the value of a numeric constant of one element, or None.

    The shortest decimal that rounds to the stored value is taken, so that an epsilon written as 1e-6 and stored in
    float32 comes back as 1e-6.
    """
    value = const_value(var)
    if value is None or value.size != 1 or value.dtype.kind not in "fiu":
        return None
    return float(str(value.reshape(())[()]))


def base(var: Var) -> Var:
    """Return what ``var`` was before conversions between float types."""
    while (op := producer(var, "cast")) is not None and is_float(op.x):
        var = op.x
    return var


def is_float(var: Var) -> bool:
    """Return whether ``var`` is of a floating-point type."""
    return bool(types.is_float(var.dtype))


def consumers(var: Var) -> int:
    """Return how many distinct ops take ``var`` as an input."""
    return len({id(op) for op in var.child_ops})


def is_interior(var: Var) -> bool:
    """Return whether ``var`` has one consumer and is no block's output: nothing else would notice its end."""
    return consumers(var) == 1 and not var.consuming_blocks


def positive_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return the axes counted from the front, ascending."""
    return tuple(sorted(int(axis) + rank if axis < 0 else int(axis) for axis in axes))


def signed_axis(axis: int, rank: int) -> int:
    """Return the axis counted from the back (-1 is the last), as users write it."""
    return axis - rank if axis >= 0 else axis


def module_path(op: Op) -> str:
    """Return the path of the torch module that ``op`` came from, as far as coremltools knows it, or ``""``.

    Traced programs carry it, in a scope whose last entry is the node's own name; exported ones do not.
    """
    names = op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME) or []
    return ".".join(str(name) for name in names[:-1])


def epsilon_like(x: Var, epsilon: float) -> np.generic:
    """Return ``epsilon`` as a scalar of ``x``'s element type: iOS 15 and 16 want the same type for both.

    A positive number stays positive: float16 would make 1e-8 into 0, and zero rows into NaN.
    """
    scalar_type: type[np.generic] = types.nptype_from_builtin(x.dtype)
    value = scalar_type(epsilon)
    return np.nextafter(value, scalar_type(1)) if epsilon > 0 and not value else value


def cast_like(x: Var, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``value`` in ``x``'s element type."""
    return np.asarray(value).astype(types.nptype_from_builtin(x.dtype))


def replace(op: Op, new: Var) -> None:
    """Let everything that used ``op``'s result use ``new``, which stands before ``op``."""
    op.enclosing_block.replace_uses_of_var_after_op(anchor_op=op, old_var=op.outputs[0], new_var=new)


class Constants:
    """Constants of one block, each made once and placed before the block's first op, where every op sees it."""

    def __init__(self, block: Block) -> None:
        self._first = next(iter(block.operations))
        self._known: dict[tuple[str, tuple[int, ...], bytes], Var] = {}

    def get(self, value: npt.ArrayLike) -> Var:
        """Return the variable of a constant."""
        array = np.asarray(value)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._known:
            self._known[key] = Builder.const(val=array if array.ndim else array[()], before_op=self._first)
        return self._known[key]


_constants: list[Constants] = []
"""Those of the block that is being rewritten; empty outside a rewrite."""


def constant(value: npt.ArrayLike) -> Any:
    """Return a constant that all sites of a block share, or outside a rewrite the value itself.

    Making constants is most of what a lowering costs: a norm has a dozen, the same at nearly every site.
    """
    return _constants[-1].get(value) if _constants else value


def rewrite_each(program: Program, ops: Sequence[Op], build: Callable[[Op], Var]) -> None:
    """Replace the result of each of ``ops`` with what ``build`` makes in its place, then drop what nothing uses."""
    visit_each(program, ops, lambda op: replace(op, build(op)))


def visit_each(program: Program, ops: Sequence[Op], act: Callable[[Op], None]) -> None:
    """Call ``act`` for each of ``ops``, inside its block and with new ops placed before it; then drop what is unused.

    The last op comes first, and inner blocks before the ones around them: what was built reads the values in front of
    it, and follows when one of these is replaced in turn. Blocks are entered once each: leaving one makes coremltools
    walk all of it.
    """
    by_block: dict[int, list[Op]] = {}
    for op in reversed(ops):
        by_block.setdefault(id(op.enclosing_block), []).append(op)

    @block_context_manager  # type: ignore[untyped-decorator,unused-ignore]
    def visit(block: Block, members: list[Op]) -> None:
        _constants.append(Constants(block))
        try:
            for op in members:
                with Builder.set_before_op(op):
                    act(op)
        finally:
            _constants.pop()

    for members in by_block.values():
        visit(members[0].enclosing_block, members)
    if by_block:
        dead_code_elimination(program)


def dead_code_elimination(program: Program) -> None:
    """Run coremltools' own dead-code elimination."""
    PASS_REGISTRY["common::dead_code_elimination"](program)

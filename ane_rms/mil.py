"""Query coremltools' intermediate representation (MIL); :mod:`ane_rms.replacing` changes it.

coremltools ships no types, so its programs, blocks, operations and variables are ``Any`` to a type checker. The
functions here give the rest of the package typed access to them: constants as numpy arrays, shapes, producers and
walks.

Source: coremltools 9.0, ``coremltools.converters.mil.mil`` (``block.py``, ``operation.py``, ``var.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil._deployment_compatibility import AvailableTarget
from coremltools.converters.mil.mil import Function, types
from coremltools.converters.mil.mil.block import curr_opset_version
from coremltools.converters.mil.mil.scope import ScopeSource
from coremltools.converters.mil.mil.types.symbolic import is_symbolic

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt


TORCH_SOURCES = (
    ScopeSource.TORCHSCRIPT_MODULE_NAME,
    ScopeSource.TORCHSCRIPT_MODULE_TYPE,
    ScopeSource.EXIR_STACK_TRACE,
    ScopeSource.EXIR_DEBUG_HANDLE,
)
"""The scope sources of ops that came from torch, traced or exported."""

# MIL's operation, variable, block and program. All are Any, because coremltools is untyped.
Op = Any
Var = Any
Block = Any
Program = Any


def blocks(program: Program) -> Iterator[Block]:
    """Yield every block of every function; inner blocks of ``cond`` and ``while_loop`` follow the enclosing one."""
    pending = list(reversed(program.functions.values()))
    while pending:
        block = pending.pop()
        yield block
        pending.extend(inner for op in block.operations for inner in reversed(op.blocks))


def root_function(op: Op) -> Any:
    """Return the MIL function that contains ``op``, at any depth of nesting."""
    block = op.enclosing_block
    while not isinstance(block, Function):
        block = block.outer_op.enclosing_block
    return block


def opset_version(op: Op) -> Any:
    """Return the opset (``ct.target``) of the function that contains ``op``; None if it is not decided yet."""
    return root_function(op).opset_version


def takes_float32_parameters() -> bool:
    """Return whether the function being built may have a norm's epsilon and gamma in float32 beside a float16 x."""
    version = curr_opset_version()
    return bool(version is not None and version >= AvailableTarget.iOS17)


def producer(var: Var, *op_types: str) -> Op | None:
    """Return the op that computes ``var`` if it is of one of ``op_types``, else None."""
    op = var.op
    return op if op is not None and op.op_type in op_types else None


def known(value: object) -> bool:
    """Return whether one entry of a shape is a number and not a symbol."""
    return not is_symbolic(value)


def shape(var: Var) -> tuple[int | str, ...]:
    """Return the shape, with the symbol's name for a dimension unknown until run time."""
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
    """Return the value of a numeric constant whose elements are all equal, or None.

    Frontends write epsilon as one number or broadcast over the reduced shape. The result is the shortest decimal that
    rounds to the stored value, so an epsilon written as 1e-6 and stored in float32 is returned as 1e-6.
    """
    value = const_value(var)
    if value is None or value.size == 0 or value.dtype.kind not in "fiu":
        return None
    first = value.reshape(-1)[0]
    if value.size > 1 and not (value == first).all():
        return None
    return float(str(first))


def base(var: Var) -> Var:
    """Return ``var`` before casts between float types, including narrowing ones."""
    while (op := producer(var, "cast")) is not None and is_float(op.x) and is_float(var):
        var = op.x
    return var


def widened(var: Var) -> Var:
    """Return ``var`` before casts to a wider float type, which do not change the numbers."""
    while (op := producer(var, "cast")) is not None and is_float(op.x) and is_float(var) and not _narrows(op):
        var = op.x
    return var


def _narrows(cast: Op) -> bool:
    given, made = (types.nptype_from_builtin(var.dtype) for var in (cast.x, cast.outputs[0]))
    return bool(np.finfo(made).bits < np.finfo(given).bits)


def float_producer(var: Var, *op_types: str) -> Op | None:
    """Return the op that computes ``var`` before casts, if it is of one of ``op_types`` and is float arithmetic.

    Its input and its result are floats; an op on integers, or a cast to integers, is never looked through.
    """
    op = base(var).op
    if op is None or (op_types and op.op_type not in op_types):
        return None
    return op if is_float_arithmetic(op) else None


def is_float_arithmetic(op: Op) -> bool:
    """Return whether the input and the result of ``op`` are floats."""
    operands = [getattr(op, name, None) for name in ("x", "y") if name in op.inputs]
    given = [var for var in operands if var is not None and var.val is None]
    return all(is_float(var) for var in (*given, *op.outputs))


def is_float(var: Var) -> bool:
    """Return whether ``var`` is of a floating-point type."""
    return bool(types.is_float(var.dtype))


def is_interior(var: Var) -> bool:
    """Return whether ``var`` has a single use, by an op, so that it can be removed. A square uses it twice."""
    return len(var.child_ops) == 1 and not var.consuming_blocks


def positive_axes(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Return the axes, counted from the front, ascending."""
    return tuple(sorted(int(axis) + rank if axis < 0 else int(axis) for axis in axes))


def signed_axis(axis: int, rank: int) -> int:
    """Return the axis counted from the back, where -1 is the last."""
    return axis - rank if axis >= 0 else axis


def module_path(op: Op) -> str:
    """Return the path of the torch module that ``op`` came from; ``""`` if coremltools does not know it.

    Traced programs record it in a scope whose last entry is the node's own name; exported ones do not.
    """
    names = op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME) or []
    return ".".join(str(name) for name in names[:-1])


def is_from_torch(op: Op) -> bool:
    """Return whether coremltools' torch frontend emitted ``op``; it adds terms that torch's own ops do not have."""
    return any(op.scopes.get(source) for source in TORCH_SOURCES)


def torch_node(op: Op) -> tuple[str, ...]:
    """Return the node of a traced torch program that ``op`` came from, with its enclosing modules; else ``()``."""
    return tuple(str(name) for name in op.scopes.get(ScopeSource.TORCHSCRIPT_MODULE_NAME) or ())


def pass_names(op: Op) -> list[str]:
    """Return the graph passes that built ``op``, in order, from the scope that coremltools copies from op to op."""
    return [str(name) for name in op.scopes.get(ScopeSource.COREMLTOOLS_GRAPH_PASS) or []]


def axes_of(op: Op) -> tuple[int, ...]:
    """Return the axes that an ``ane_rms_norm`` normalises, counted from the front, ascending."""
    return positive_axes([int(axis) for axis in np.atleast_1d(op.axes.val)], op.x.rank)


def has_fixed_axes(op: Op) -> bool:
    """Return whether the axes that an ``ane_rms_norm`` normalises have sizes known at conversion."""
    return all(known(op.x.shape[axis]) for axis in axes_of(op))


def epsilon_like(x: Var, epsilon: float) -> np.generic:
    """Return ``epsilon`` as a scalar of ``x``'s element type, because iOS 15 and 16 require the same type for both.

    A positive number stays positive. Rounding 1e-8 to float16 would give 0, and zero rows would become NaN.
    """
    scalar_type: type[np.generic] = types.nptype_from_builtin(x.dtype)
    value = scalar_type(epsilon)
    return np.nextafter(value, scalar_type(1)) if epsilon > 0 and not value else value


def cast_like(x: Var, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return ``value`` in ``x``'s element type.

    Raises
    ------
    ValueError: if a finite number of ``value`` exceeds that type, which would make it infinite.
    """
    kind = types.nptype_from_builtin(x.dtype)
    with np.errstate(over="ignore"):
        made = np.asarray(value).astype(kind)
    if not np.array_equal(np.isfinite(made), np.isfinite(value)):
        raise ValueError(f"a constant of magnitude {np.nanmax(np.abs(value)):g} exceeds {dtype(x)}")
    return made


def holds(x: Var, value: npt.NDArray[Any]) -> bool:
    """Return whether ``x``'s element type holds every finite number of ``value`` without an overflow."""
    largest = float(np.finfo(types.nptype_from_builtin(x.dtype)).max)
    finite = np.abs(value[np.isfinite(value)])
    return bool((finite <= largest).all())

"""Prepare a function for a policy: find implementations, convert constants, decide when values die.

Everything that does not depend on an input is decided here, so that an unsupported op is an error at load time
and the loop has nothing to decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExecutorError, PackageError
from harness.interpreter.context import Context
from harness.interpreter.program import Constant, Ref, references
from harness.interpreter.registry import CONTROL_FLOW, Implementation, Parameter, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.interpreter.precision import Precision
    from harness.interpreter.program import Argument, Block, Function, Op

SMALL = 1 << 16
"""Constants up to this many elements are held in the compute type; a larger one is widened while it is used,
so that a float16 model never holds a float32 copy of its weights."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """An op ready to run.

    Parameters
    ----------
    op: the op.
    implementation: the function that evaluates it; ``None`` for control flow.
    constants: arguments known at load time, converted for the implementation.
    references: the other arguments: the name, or names, of the values they will have.
    blocks: nested blocks, ready to run.
    dead: names no later step reads.
    context: passed to the implementation if it asks for it.
    """

    op: Op
    implementation: Implementation | None
    constants: Mapping[str, Any]
    references: Mapping[str, str | tuple[str | Constant, ...]]
    blocks: tuple[BoundBlock, ...]
    dead: tuple[str, ...]
    context: Context


@dataclass(frozen=True, slots=True, eq=False)
class BoundBlock:
    """A block ready to run; a constant output is already held under the policy."""

    inputs: tuple[str, ...]
    steps: tuple[Step, ...]
    outputs: tuple[str | Any, ...]
    output_constants: tuple[bool, ...]


def bind(function: Function, policy: Precision) -> BoundBlock:
    """Prepare a function to run under a policy.

    Raises
    ------
    UnsupportedOpError: for the first op without an implementation.
    ExecutorError: for an op whose parameters are not the implementation's.
    PackageError: if an op reads a value that no op before it defines.
    """
    _check_names(function.body, {item.value.name for item in function.inputs} | {v.name for v in function.states})
    return _bind_block(function.body, policy, function.name)


def _bind_block(block: Block, policy: Precision, place: str) -> BoundBlock:
    last_use: dict[str, int] = {}
    for index, op in enumerate(block.ops):
        for name in references(op):
            last_use[name] = index
        for value in op.outputs:
            last_use.setdefault(value.name, index)
    for item in block.outputs:
        if isinstance(item, Ref):
            last_use.pop(item.name, None)
    dead: list[list[str]] = [[] for _ in block.ops]
    for name, index in last_use.items():
        dead[index].append(name)
    steps = tuple(_bind_op(op, policy, tuple(dead[index]), place) for index, op in enumerate(block.ops))
    outputs = tuple(item.name if isinstance(item, Ref) else hold(item, policy) for item in block.outputs)
    return BoundBlock(
        tuple(value.name for value in block.inputs),
        steps,
        outputs,
        tuple(isinstance(item, Constant) for item in block.outputs),
    )


def _check_names(block: Block, known: set[str]) -> None:
    """Check that every value that is read is defined before it, in the block or around it."""
    known |= {value.name for value in block.inputs}
    for op in block.ops:
        for argument in op.inputs.values():
            for item in argument if isinstance(argument, tuple) else (argument,):
                if isinstance(item, Ref) and item.name not in known:
                    raise PackageError(
                        f"corrupted: op {op.name!r} reads {item.name!r}, which nothing before it defines"
                    )
        for inner in op.blocks:
            _check_names(inner, set(known))
        known.update(value.name for value in op.outputs)
    for item in block.outputs:
        if isinstance(item, Ref) and item.name not in known:
            raise PackageError(f"corrupted: the output {item.name!r} is defined nowhere")


def hold(constant: Constant, policy: Precision) -> Any:
    """Return a constant as the policy stores it; a large one is left as it is if that loses nothing."""
    value = constant.value
    if not isinstance(value, torch.Tensor) or not value.is_floating_point():
        return value
    target = policy.stored_dtype(constant.type.dtype)
    if value.numel() > SMALL and target.itemsize >= value.dtype.itemsize:
        return value
    return policy.entered(value, constant.type.dtype)


def _bind_op(op: Op, policy: Precision, dead: tuple[str, ...], function: str) -> Step:
    place = f"op {op.name!r} ({op.op_type}) of function {function!r}"
    context = Context.of(op, policy)
    blocks = tuple(_bind_block(block, policy, function) for block in op.blocks)
    if op.op_type in CONTROL_FLOW:
        _check_blocks(op, place)
        inputs = {name: _names(argument, policy) for name, argument in op.inputs.items()}
        return Step(op, None, {}, inputs, blocks, dead, context)
    implementation = find(op.op_type, op.opset, place)
    _check_arity(op, implementation.parameters, place)
    constants: dict[str, Any] = {}
    open_inputs: dict[str, str | tuple[str | Constant, ...]] = {}
    for name, argument in op.inputs.items():
        parameter = implementation.parameters[name]
        if isinstance(argument, Ref):
            open_inputs[name] = (argument.name,) if parameter.is_tuple else argument.name
        elif isinstance(argument, tuple) and any(isinstance(item, Ref) for item in argument):
            open_inputs[name] = _names(argument, policy)
        else:
            constants[name] = _constant(argument, parameter, implementation, policy)
    return Step(op, implementation, constants, open_inputs, blocks, dead, context)


def _names(argument: Argument, policy: Precision) -> str | tuple[str | Constant, ...]:
    if isinstance(argument, Ref):
        return argument.name
    items = argument if isinstance(argument, tuple) else (argument,)
    return tuple(item.name if isinstance(item, Ref) else replace(item, value=hold(item, policy)) for item in items)


def _constant(
    argument: Constant | tuple[Ref | Constant, ...],
    parameter: Parameter,
    implementation: Implementation,
    policy: Precision,
) -> Any:
    items = argument if isinstance(argument, tuple) else (argument,)
    held = [hold(item, policy) for item in items if isinstance(item, Constant)]
    if not implementation.moves:
        held = [policy.widen(v) if isinstance(v, torch.Tensor) and v.numel() <= SMALL else v for v in held]
    single = not (parameter.is_tuple or isinstance(argument, tuple))
    return parameter.convert(held[0] if single else tuple(held))


def _check_arity(op: Op, parameters: Mapping[str, Parameter], place: str) -> None:
    unknown = [name for name in op.inputs if name not in parameters]
    missing = [name for name, p in parameters.items() if p.required and name not in op.inputs]
    if unknown or missing:
        raise ExecutorError(f"{place}: {_listed('unknown', unknown)}{_listed('missing', missing)}".rstrip("; "))


def _check_blocks(op: Op, place: str) -> None:
    """Check the inputs and outputs of the blocks of ``cond`` and ``while_loop`` against those of the op."""
    argument = op.inputs.get("pred" if op.op_type == "cond" else "loop_vars")
    if argument is None or len(op.blocks) != 2:
        raise PackageError(f"corrupted: {place} has not the input and the two blocks it needs")
    first, second = op.blocks
    if op.op_type == "cond":
        fits = len(first.outputs) == len(second.outputs) == len(op.outputs)
    else:
        carried = len(argument) if isinstance(argument, tuple) else 1
        fits = {len(first.inputs), len(second.inputs), len(second.outputs), len(op.outputs)} == {carried}
        fits = fits and len(first.outputs) == 1
    if not fits:
        raise PackageError(f"corrupted: {place}: its blocks and it differ in how many values they take or return")


def _listed(what: str, names: Iterable[str]) -> str:
    joined = ", ".join(names)
    return f"{what} parameter {joined}; " if joined else ""

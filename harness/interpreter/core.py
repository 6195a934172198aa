"""The loop: evaluate the ops of a block in order.

Per op: fetch its inputs, widen the floats, evaluate the formula, round the result once to the type it is held
in, tell the listeners, drop values that no later op reads. Names are SSA names; a nested block sees the values
around it. ``cond`` and ``while_loop`` are here because they run blocks; every other op is a function in
``ops/``. ``binding`` has prepared the data of each step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from harness.errors import EvaluationError
from harness.interpreter.engine_arithmetic import without_nan
from harness.interpreter.program import Constant

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from harness.interpreter.binding import BoundBlock, Step
    from harness.interpreter.program import Op

    Listener: TypeAlias = Callable[[Op, Mapping[str, Any], Mapping[str, Any]], None]

Environment: TypeAlias = dict[str, Any]

CANNOT = (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError)
"""The exceptions that torch raises for arguments an op cannot take."""


def run_block(block: BoundBlock, env: Environment, listeners: Sequence[Listener]) -> tuple[Any, ...]:
    """Evaluate a block in an environment, which ends up holding its outputs, and return these.

    Raises
    ------
    EvaluationError: when an op cannot take the values it is given.
    """
    for step in block.steps:
        outputs = _evaluate(step, env, listeners)
        results = dict(zip((value.name for value in step.op.outputs), outputs, strict=True))
        if listeners:
            inputs = _inputs(step, env)
            for listener in listeners:
                listener(step.op, inputs, results)
        env.update(results)
        for name in step.dead:
            env.pop(name, None)
    return tuple(
        item if constant else env[item] for item, constant in zip(block.outputs, block.output_constants, strict=True)
    )


def _evaluate(step: Step, env: Environment, listeners: Sequence[Listener]) -> tuple[Any, ...]:
    if step.op.op_type == "cond":
        (predicate,) = _all(step.references["pred"], env)
        return run_block(step.blocks[0] if bool(predicate) else step.blocks[1], dict(env), listeners)
    if step.op.op_type == "while_loop":
        return _while(step, env, listeners)
    return _call(step, env)


def _while(step: Step, env: Environment, listeners: Sequence[Listener]) -> tuple[Any, ...]:
    condition, body = step.blocks
    carried = _all(step.references["loop_vars"], env)
    while bool(run_block(condition, env | dict(zip(condition.inputs, carried, strict=True)), listeners)[0]):
        carried = run_block(body, env | dict(zip(body.inputs, carried, strict=True)), listeners)
    return carried


def _call(step: Step, env: Environment) -> tuple[Any, ...]:
    implementation, policy = step.implementation, step.context.policy
    assert implementation is not None  # noqa: S101 - control flow was handled by the caller
    arguments: dict[str, Any] = dict(step.constants)
    try:
        for name, source in step.references.items():
            arguments[name] = implementation.parameters[name].convert(_fetch(source, env))
        if not implementation.moves:
            arguments = {name: _widened(value, policy.widen) for name, value in arguments.items()}
        if implementation.takes_context:
            arguments["ctx"] = step.context
        result = implementation.function(**arguments)
    except CANNOT as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _cannot(step.op, reason) from error
    results = result if isinstance(result, tuple) else (result,)
    if len(results) != len(step.op.outputs):
        raise _cannot(step.op, f"it has {len(results)} results, not the {len(step.op.outputs)} declared")
    if step.context.engine is not None and not implementation.moves:
        results = tuple(without_nan(value) if isinstance(value, torch.Tensor) else value for value in results)
    return tuple(
        policy.stored(value, out.type.dtype) if isinstance(value, torch.Tensor) else value
        for value, out in zip(results, step.op.outputs, strict=True)
    )


def _cannot(op: Op, reason: str) -> EvaluationError:
    return EvaluationError(
        f"Unable to compute the prediction using ML Program: op {op.name!r} ({op.op_type}): {reason}"
    )


def _widened(value: Any, widen: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return widen(value)
    if isinstance(value, tuple):
        return tuple(_widened(item, widen) for item in value)
    return value


def _fetch(source: str | tuple[str | Constant, ...], env: Environment) -> Any:
    if isinstance(source, str):
        return env[source]
    return tuple(item.value if isinstance(item, Constant) else env[item] for item in source)


def _all(source: str | tuple[str | Constant, ...], env: Environment) -> tuple[Any, ...]:
    values = _fetch(source, env)
    return (values,) if isinstance(source, str) else tuple(values)


def _inputs(step: Step, env: Environment) -> Environment:
    return {**step.constants, **{name: _fetch(source, env) for name, source in step.references.items()}}

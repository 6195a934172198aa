"""Run one op through the executor, without coremltools: the fixture every op test uses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.interpreter import ReferenceModel
from harness.interpreter.dtypes import DTYPES, dtype_named, from_numpy
from harness.interpreter.program import Block, Constant, Function, Input, Op, Program, Ref, Value, ValueType

NAMES = {
    DTYPES[name].numpy: name for name in ("fp16", "fp32", "fp64", "bool", "int8", "int16", "int32", "uint8", "uint16")
}


class Variable:
    """An array that reaches the op as an input of the function rather than as a constant."""

    def __init__(self, array: Any) -> None:
        self.array = np.asarray(array)


def _constant(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return Constant(name, value, ValueType(dtype_named("string"), ()))
    if isinstance(value, tuple):
        return tuple(_constant(f"{name}_{i}", item) for i, item in enumerate(value))
    array = np.asarray(value)
    if array.dtype == np.int64:
        array = array.astype(np.int32)
    if array.dtype == np.float64 and not isinstance(value, np.ndarray):
        array = array.astype(np.float32)
    dtype = dtype_named(NAMES.get(array.dtype, str(array.dtype)))
    return Constant(name, from_numpy(array, dtype), ValueType(dtype, array.shape))


def one_op_program(
    op_type: str, outputs: list[str], opset: int, arguments: dict[str, Any]
) -> tuple[Program, dict[str, Any]]:
    """Build a program of a single op; return it and the data to feed it."""
    inputs, data, bound = [], {}, {}
    for name, value in arguments.items():
        if isinstance(value, Variable):
            dtype = dtype_named(NAMES[value.array.dtype])
            inputs.append(Input(Value(name, ValueType(dtype, value.array.shape))))
            data[name] = value.array
            bound[name] = Ref(name)
        else:
            bound[name] = _constant(name, value)
    results = tuple(Value(f"y{i}", ValueType(dtype_named(dtype), None)) for i, dtype in enumerate(outputs))
    op = Op(op_type, bound, results, opset=opset)
    body = Block((), (op,), tuple(Ref(value.name) for value in results))
    return Program({"main": Function("main", tuple(inputs), (), body, results, opset)}, "main", "test"), data


def _first_dtype(arguments: dict[str, Any]) -> str:
    ordered = sorted(arguments.values(), key=lambda value: not isinstance(value, Variable))
    for value in ordered:
        array = value.array if isinstance(value, Variable) else value[0] if isinstance(value, tuple) else value
        if isinstance(array, np.ndarray):
            return NAMES[array.dtype]
    raise AssertionError("name the declared type: out=")


@pytest.fixture
def run_op() -> Any:
    """Return ``run(op_type, precision=, opset=, out=, **arguments)``: the result, or results, of one op.

    Arrays wrapped in ``run.variable`` are inputs of the program; everything else is a constant. ``out`` names
    the declared type of each result (that of the first array when left out).
    """

    def run(op_type: str, *, precision: Any = "fp32", opset: int = 18, out: Any = None, **arguments: Any) -> Any:
        outputs = [_first_dtype(arguments)] if out is None else [out] if isinstance(out, str) else list(out)
        program, data = one_op_program(op_type, outputs, opset, arguments)
        results = list(ReferenceModel(program, precision).predict(data).values())
        return results[0] if len(results) == 1 else results

    run.variable = Variable
    return run


@pytest.fixture
def rng() -> np.random.Generator:
    """Return a seeded generator."""
    return np.random.default_rng(20260101)

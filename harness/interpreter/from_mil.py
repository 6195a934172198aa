"""Load a live coremltools ``Program`` into the neutral IR.

Takes what ``mb.program`` builds and what ``convert_to="milinternal"`` returns, at any stage of the pipeline:
names need not be unique yet, and dialect ops are ops like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.types.symbolic import is_symbolic, is_variadic

from harness.interpreter.dtypes import dtype_named, from_numpy
from harness.interpreter.program import (
    Argument,
    Block,
    Constant,
    Function,
    Input,
    Op,
    Program,
    Ref,
    Value,
    ValueType,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

FIRST_OPSET = 15


def load_program(program: Any) -> Program:
    """Build the IR of every function of a coremltools program.

    Raises
    ------
    UnsupportedOpError: for an element type the executor does not hold.
    """
    functions = {name: _Loader().function(name, function) for name, function in program.functions.items()}
    default = program.default_function_name
    return Program(functions, default if default in functions else next(iter(functions)), "program")


class _Loader:
    """Give every variable of one function a name of its own and every constant one object."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.taken: set[str] = set()
        self.constants: dict[int, Constant] = {}
        self.opset = FIRST_OPSET

    def function(self, name: str, function: Any) -> Function:
        if function.opset_version is not None:
            self.opset = _opset_number(function.opset_version)
        for var in (*function.inputs.values(), *function.outputs):
            self.name(var)
        inputs = [Value(self.name(var), _value_type(var.sym_type)) for var in function.inputs.values()]
        return Function(
            name,
            tuple(Input(value) for value in inputs if value.type.kind != "state"),
            tuple(value for value in inputs if value.type.kind == "state"),
            self.block(function, ()),
            tuple(Value(self.name(var), _value_type(var.sym_type)) for var in function.outputs),
            self.opset,
        )

    def name(self, var: Any) -> str:
        if id(var) not in self.names:
            name, count = var.name, 0
            while name in self.taken:
                count += 1
                name = f"{var.name}.{count}"
            self.taken.add(name)
            self.names[id(var)] = name
        return self.names[id(var)]

    def block(self, block: Any, inputs: Iterable[Any]) -> Block:
        values = tuple(Value(self.name(var), _value_type(var.sym_type)) for var in inputs)
        ops = tuple(self.op(op) for op in block.operations if op.op_type != "const")
        return Block(values, ops, tuple(self.use(var) for var in block.outputs))

    def op(self, op: Any) -> Op:
        inputs: dict[str, Argument] = {}
        for name, argument in op.inputs.items():
            if name.startswith("_") or argument is None:  # the Python functions that built nested blocks
                continue
            if isinstance(argument, (list, tuple)):
                inputs[name] = tuple(self.use(var) for var in argument)
            else:
                inputs[name] = self.use(argument)
        blocks = tuple(self.block(nested, nested.inputs) for nested in op.blocks)
        outputs = tuple(Value(self.name(var), _value_type(var.sym_type)) for var in op.outputs)
        return Op(op.op_type, inputs, outputs, blocks, {"name": op.name}, self.opset)

    def use(self, var: Any) -> Ref | Constant:
        is_constant = var.op.op_type == "const" if var.op is not None else id(var) not in self.names
        if not is_constant:
            return Ref(self.name(var))
        if id(var) not in self.constants:
            self.constants[id(var)] = _constant(self.name(var), var)
        return self.constants[id(var)]


def _constant(name: str, var: Any) -> Constant:
    declared = _value_type(var.sym_type)
    value = var.val
    if isinstance(value, str):
        return Constant(name, value, declared)
    if declared.kind == "list" or (isinstance(value, np.ndarray) and value.dtype.kind in "US"):
        return Constant(name, list(getattr(value, "ls", value)), declared)
    return Constant(name, from_numpy(np.asarray(value), declared.dtype), declared)


def _opset_number(target: Any) -> int:
    return int(target.name.removeprefix("iOS"))


def _value_type(sym_type: Any) -> ValueType:
    if types.is_state(sym_type):
        wrapped = _value_type(sym_type.wrapped_type())
        return ValueType(wrapped.dtype, wrapped.shape, "state")
    if types.is_list(sym_type):
        element = sym_type.T[0]
        if element in (types.unknown, None):
            return ValueType(dtype_named("fp32"), None, "list")
        inner = _value_type(element)
        return ValueType(inner.dtype, inner.shape, "list")
    if not types.is_tensor(sym_type):
        return ValueType(dtype_named(types.builtin_to_string(sym_type)), ())
    dtype = dtype_named(types.builtin_to_string(sym_type.get_primitive()))
    shape = sym_type.get_shape()
    if any(is_variadic(dim) for dim in shape):
        return ValueType(dtype, None)
    return ValueType(dtype, tuple(None if is_symbolic(dim) else int(dim) for dim in shape))

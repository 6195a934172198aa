"""Serialise ops of coremltools' MIL as protobuf, under names that a finished program does not use yet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.backend.mil import helper
from coremltools.converters.mil.mil import types
from coremltools.proto import MIL_pb2

from ane_rms.package.new_names import unused
from ane_rms.package.storage import key

if TYPE_CHECKING:
    from ane_rms import mil
    from ane_rms.package.storage import Key, Storage

FEWEST_IN_FILE = 10
"""Smallest number of elements of a constant that coremltools stores in the weights file."""


class Writer:
    """Serialises ops of the small program, under names of the finished one."""

    def __init__(self, names: set[str], storage: Storage, known: dict[Key, str]) -> None:
        """Take the names that the finished program uses, the storage of constants, and the names of existing ones."""
        self.names = names
        self.storage = storage
        self.known = known
        self.named: dict[int, str] = {}
        self.declared: dict[int, Any] = {}

    def name(self, var: mil.Var) -> str:
        """Return the name of a value: its own, with a number if the finished program uses that already."""
        if id(var) not in self.named:
            self.named[id(var)] = unused(var.name, self.names)
        return self.named[id(var)]

    def constant(self, var: mil.Var) -> Any:
        """Return a serialised constant; None for one that exists already."""
        if id(var) in self.named:
            return None
        array = np.asarray(var.val)
        known = self.known.get(key(array)) if self.known and array.ndim and array.dtype.kind == "f" else None
        if known is not None:
            self.named[id(var)] = known
            return None
        in_file = array.dtype.kind == "f" and array.size >= FEWEST_IN_FILE
        value = self.storage.kept(array) if in_file else None
        value = helper.create_immediate_value(var) if value is None else value
        name = self.name(var)
        return MIL_pb2.Operation(
            type="const",
            attributes={"name": helper.create_scalar_value(name), "val": value},
            outputs=[MIL_pb2.NamedValueType(name=name, type=_declared(var))],
        )

    def op(self, op: mil.Op) -> Any:
        """Return a serialised op."""
        inputs = {}
        for name, given in op.inputs.items():
            values = given if isinstance(given, (list, tuple)) else [given]
            bindings = [MIL_pb2.Argument.Binding(name=self.name(var)) for var in values]
            inputs[name] = MIL_pb2.Argument(arguments=bindings)
        outputs = [
            MIL_pb2.NamedValueType(name=self.name(var), type=self.declared.get(id(var)) or _declared(var))
            for var in op.outputs
        ]
        attributes = {"name": helper.create_scalar_value(outputs[0].name)}
        return MIL_pb2.Operation(type=op.op_type, inputs=inputs, attributes=attributes, outputs=outputs)


def _declared(var: mil.Var) -> Any:
    """Return the serialised type of a value."""
    if types.is_tensor(var.sym_type):
        primitive = helper.types_to_proto_primitive(var.sym_type.get_primitive())
        return helper.create_valuetype_tensor(var.sym_type.get_shape(), primitive)
    return helper.create_valuetype_scalar(helper.types_to_proto_primitive(var.sym_type))

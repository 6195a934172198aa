"""Load a model specification (protobuf) into the neutral IR.

The protobuf is read directly rather than through coremltools' own frontend, which copies every weight,
re-runs type inference and refuses what it cannot rebuild. Large constants stay in the weights file, mapped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import PackageError, UnknownNameError, UnsupportedOpError
from harness.interpreter.blobs import BlobFile, decode
from harness.interpreter.dtypes import dtype_named, from_numpy
from harness.interpreter.package import Package, inside
from harness.interpreter.program import (
    Argument,
    Block,
    Constant,
    FlexibleShape,
    Function,
    Input,
    Op,
    Program,
    Ref,
    Value,
    ValueType,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.interpreter.dtypes import DType

OPSETS = {"CoreML5": 15, "CoreML6": 16, "CoreML7": 17, "CoreML8": 18, "CoreML9": 26}
SPELLINGS = {"FLOAT16": "fp16", "FLOAT32": "fp32", "FLOAT64": "fp64", "STRING": "string"}
MODEL_FOLDER = "@model_path/"


def load_package(package: Package) -> Program:
    """Build the IR of every function of a package.

    Raises
    ------
    PackageError: when the program refers to weights or names that are not there.
    UnsupportedOpError: for an element type the executor does not hold.
    """
    try:
        return _Loader(package).program()
    except UnsupportedOpError as error:
        raise UnsupportedOpError(f"{package.source}: {error}") from error
    except DAMAGED as error:
        raise PackageError(f"{package.source}: corrupted: {type(error).__name__}: {error}") from error


DAMAGED = (LookupError, TypeError, ValueError, OverflowError, StopIteration, AttributeError)
"""The exceptions of reading a damaged specification: a field is missing, empty, or of another kind."""


class _Loader:
    """The state that every part of a load needs: the package and its open weight files."""

    def __init__(self, package: Package) -> None:
        self.package = package
        self.files: dict[str, BlobFile] = {}

    def program(self) -> Program:
        spec = self.package.spec
        if not spec.mlProgram.functions:
            raise PackageError(f"{self.package.source}: corrupted: the program holds no function")
        descriptions = {d.name: d for d in spec.description.functions}
        functions = {
            name: self.function(name, function, descriptions.get(name, spec.description))
            for name, function in spec.mlProgram.functions.items()
        }
        default = spec.description.defaultFunctionName or ("main" if "main" in functions else next(iter(functions)))
        return Program(functions, default, self.package.source)

    def function(self, name: str, function: Any, description: Any) -> Function:
        blocks = function.block_specializations
        if function.opset not in OPSETS or function.opset not in blocks:
            known = [opset for opset in OPSETS if opset in blocks] or list(OPSETS)
            raise PackageError(f"{self.package.source}: {name}: {UnknownNameError('opset', function.opset, known)}")
        opset = OPSETS[function.opset]
        features = {feature.name: feature.type for feature in description.input}
        values = [Value(v.name, _value_type(v.type)) for v in function.inputs]
        body, types = self.block(blocks[function.opset], {}, opset)
        types |= {v.name: v.type for v in values}
        for out in body.outputs:
            if isinstance(out, Ref) and out.name not in types:
                raise PackageError(f"{self.package.source}: {name}: the output {out.name!r} is defined nowhere")
        return Function(
            name,
            tuple(_input(v, features.get(v.name)) for v in values if v.type.kind != "state"),
            tuple(v for v in values if v.type.kind == "state"),
            body,
            tuple(Value(o.name, o.type if isinstance(o, Constant) else types[o.name]) for o in body.outputs),
            opset,
        )

    def block(self, block: Any, outer: Mapping[str, Constant], opset: int) -> tuple[Block, dict[str, ValueType]]:
        constants = dict(outer)
        ops: list[Op] = []
        types: dict[str, ValueType] = {}
        for operation in block.operations:
            outputs = tuple(Value(o.name, _value_type(o.type)) for o in operation.outputs)
            types |= {value.name: value.type for value in outputs}
            if operation.type == "const":
                constants[outputs[0].name] = self.constant(outputs[0].name, operation.attributes["val"])
            else:
                ops.append(self.op(operation, outputs, constants, opset))
        inputs = tuple(Value(v.name, _value_type(v.type)) for v in block.inputs)
        return Block(inputs, tuple(ops), tuple(constants.get(name, Ref(name)) for name in block.outputs)), types

    def op(self, operation: Any, outputs: tuple[Value, ...], constants: Mapping[str, Constant], opset: int) -> Op:
        inputs: dict[str, Argument] = {}
        for name, argument in operation.inputs.items():
            bound = tuple(self.binding(name, item, constants) for item in argument.arguments)
            inputs[name] = bound[0] if len(bound) == 1 else bound
        attributes: dict[str, str] = {}
        for name, value in operation.attributes.items():
            constant = self.constant(name, value)
            if name == "name":
                attributes[name] = str(constant.value)
            else:  # iOS16's constexpr ops carry their arguments as attributes
                inputs.setdefault(name, constant)
        blocks = tuple(self.block(nested, constants, opset)[0] for nested in operation.blocks)
        return Op(operation.type, inputs, outputs, blocks, attributes, opset)

    def binding(self, name: str, item: Any, constants: Mapping[str, Constant]) -> Ref | Constant:
        if item.WhichOneof("binding") == "value":
            return self.constant(name, item.value)
        return constants.get(item.name, Ref(item.name))

    def constant(self, name: str, value: Any) -> Constant:
        kind = value.type.WhichOneof("type")
        if kind == "listType":
            items = [self.constant(name, item).value for item in value.immediateValue.list.values]
            return Constant(name, list(items), _value_type(value.type))
        if kind != "tensorType":
            raise PackageError(f"{self.package.source}: constant {name!r}: a {kind} is not supported")
        declared = _value_type(value.type)
        shape = tuple(d or 0 for d in declared.shape or ())
        if value.WhichOneof("value") == "blobFileValue":
            blob = value.blobFileValue
            array = self.stored(blob, declared.dtype, shape)
        else:
            tensor = value.immediateValue.tensor
            if declared.dtype.kind == "str":
                strings = list(tensor.strings.values)
                return Constant(name, strings[0] if not shape else list(strings), declared)
            array = self.immediate(name, tensor, declared, shape)
        return Constant(name, from_numpy(array, declared.dtype), declared)

    def stored(self, blob: Any, dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
        if self.package.kept:
            return np.asarray(self.package.kept[blob.offset]).reshape(shape)
        return self.file(blob.fileName).read(blob.offset, dtype, shape)

    def immediate(self, name: str, tensor: Any, declared: ValueType, shape: tuple[int, ...]) -> np.ndarray:
        field = tensor.WhichOneof("value")
        try:
            if field is None:
                return np.zeros(shape, declared.dtype.numpy)
            values = getattr(tensor, field).values
            if field == "bytes":
                return decode(np.frombuffer(values, np.uint8), declared.dtype, shape)
            return np.array(values).astype(declared.dtype.numpy).reshape(shape)
        except ValueError as error:
            raise PackageError(f"{self.package.source}: constant {name!r} is corrupted: {error}") from error

    def file(self, name: str) -> BlobFile:
        if name not in self.files:
            folder = self.package.model_folder
            if folder is None:
                raise PackageError(f"{self.package.source}: {name}: the model has no folder for its weights")
            self.files[name] = BlobFile(inside(folder, name.removeprefix(MODEL_FOLDER), self.package.source))
        return self.files[name]


def _value_type(declared: Any) -> ValueType:
    kind = declared.WhichOneof("type")
    if kind == "stateType":
        wrapped = _value_type(declared.stateType.wrappedType)
        return ValueType(wrapped.dtype, wrapped.shape, "state")
    if kind == "listType":
        element = _value_type(declared.listType.type)
        return ValueType(element.dtype, element.shape, "list")
    if kind == "dictionaryType":
        held = _value_type(declared.dictionaryType.valueType)
        return ValueType(held.dtype, None, "dictionary")
    tensor = declared.tensorType
    spelled = _data_type_name(tensor)
    dims = tuple(tensor.dimensions)
    if any(d.WhichOneof("dimension") == "unknown" and d.unknown.variadic for d in dims):
        return ValueType(dtype_named(spelled), None)
    shape = tuple(int(d.constant.size) if d.WhichOneof("dimension") == "constant" else None for d in dims)
    return ValueType(dtype_named(spelled), shape)


def _data_type_name(tensor: Any) -> str:
    name = tensor.DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_number[tensor.dataType].name
    return SPELLINGS.get(name, str(name).lower())


def _input(value: Value, feature: Any) -> Input:
    if feature is not None and feature.WhichOneof("Type") == "imageType":
        image = feature.imageType
        return Input(
            value, image=image.DESCRIPTOR.fields_by_name["colorSpace"].enum_type.values_by_number[image.colorSpace].name
        )
    if feature is None or feature.WhichOneof("Type") != "multiArrayType":
        return Input(value)
    array = feature.multiArrayType
    flexibility = array.WhichOneof("ShapeFlexibility")
    flexible = None
    if flexibility == "shapeRange":
        ranges = array.shapeRange.sizeRanges
        bounds = tuple((int(r.lowerBound), int(r.upperBound) if r.upperBound >= 0 else None) for r in ranges)
        flexible = FlexibleShape(bounds=bounds)
    elif flexibility == "enumeratedShapes":
        flexible = FlexibleShape(enumerated=tuple(tuple(map(int, s.shape)) for s in array.enumeratedShapes.shapes))
    default = None
    optional = array.WhichOneof("defaultOptionalValue")
    if feature.isOptional:
        fill = float(getattr(array, optional)) if optional else 0.0
        default = (tuple(map(int, array.shape)), fill)
    return Input(value, flexible, default)

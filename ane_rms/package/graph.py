"""View a serialised MIL program as the graph that :mod:`ane_rms.grammar` reads.

The views have the attributes of coremltools' ops and variables that :mod:`ane_rms.mil` uses, from the protobuf alone.
There is no type inference and no copy of a weight (constants are mapped from the weights file when their value is
read), and ops that coremltools does not know are accepted. All dimensions unknown until run time are one symbol.

Source: coremltools 9.0, ``mlmodel/format/MIL.proto``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.program import get_new_symbol

from ane_rms.package.defaults import DEFAULTS
from ane_rms.package.folding import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from ane_rms.package.weights import Weights

ANY_SIZE = get_new_symbol("any_size")
"""The symbol of every dimension that is unknown until run time."""


class VarView:
    """One value: its declared type, the op that makes it, and the ops that read it."""

    def __init__(self, name: str, declared: Any, op: OpView | None, read: Callable[[], Any] | None = None) -> None:
        self.name = name
        self.op = op
        self.declared = declared
        self.child_ops: list[OpView] = []
        self.consuming_blocks: list[BlockView] = []
        self.dtype, self.shape = declared_type(declared)
        self._read = read

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @cached_property
    def val(self) -> Any:
        """The value of a constant, or None."""
        return None if self._read is None else self._read()


class OpView:
    """One op. Its inputs are attributes, as in coremltools; omitted ones have the op's default."""

    def __init__(self, proto: Any, block: BlockView) -> None:
        self.proto = proto
        self.op_type = str(proto.type)
        self.enclosing_block = block
        self.scopes: dict[Any, Any] = {}
        self.inputs: dict[str, Any] = {}
        self.outputs: list[VarView] = []
        self.blocks: list[BlockView] = []

    @property
    def name(self) -> str:
        """The name of its first result, or its type if it has no result."""
        return self.outputs[0].name if self.outputs else self.op_type

    def given(self) -> Iterator[VarView]:
        """Every variable that it reads, repeated for each use."""
        for value in self.inputs.values():
            yield from value if isinstance(value, tuple) else (value,)

    def get_flattened_inputs(self) -> list[VarView]:
        """Return every variable that it reads; the name is that of coremltools' ops."""
        return list(self.given())

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        if key in self.inputs:
            return self.inputs[key]
        default = DEFAULTS.get(self.op_type, {}).get(key)
        return None if default is None else literal(default)


class BlockView:
    """A function's block, or one inside ``cond`` or ``while_loop``; ``proto`` is its serialised form."""

    def __init__(self, proto: Any, outer_op: OpView | None) -> None:
        self.proto = proto
        self.outer_op = outer_op
        self.operations: list[OpView] = []
        self.inputs: list[VarView] = []
        self.outputs: list[VarView] = []


class ProgramView:
    """The functions of a serialised program; ``opsets`` has the opset of each, by the same keys."""

    def __init__(self) -> None:
        self.functions: dict[str, BlockView] = {}
        self.opsets: dict[str, str] = {}
        self.names: dict[str, set[str]] = {}
        """Every name that a function uses."""


def program_view(program: Any, weights: Weights, only: str | None = None, *, exact: bool = False) -> ProgramView:
    """Return the view of a serialised program.

    Parameters
    ----------
    program: the ``MIL_pb2.Program``, to which the views refer.
    weights: the source of constants that are not in the program.
    only: the only function to view. Default: all. A function specialised for several opsets is viewed once for each.
    exact: whether a float16 number is the stored one, 1.0133e-6. Default: the one that was written, 1e-6.

    Raises
    ------
    ValueError: if a function reads a value that it does not define.
    """
    view = ProgramView()
    for name, function in program.functions.items():
        if only not in (None, name):
            continue
        for opset, block in function.block_specializations.items():
            key = name if opset == function.opset else f"{name} ({opset})"
            reader = _Reader(weights, name, exact=exact)
            view.functions[key] = reader.function(function, block)
            view.opsets[key] = str(opset)
            view.names[key] = reader.names
    return view


class _Reader:
    """The state of reading one function: the values known so far, and every name."""

    def __init__(self, weights: Weights, function: str, *, exact: bool) -> None:
        self.weights = weights
        self.exact = exact
        self.where = function
        self.known: dict[str, VarView] = {}
        self.names: set[str] = set()

    def function(self, function: Any, block: Any) -> BlockView:
        view = BlockView(block, None)
        view.inputs = [self.define(VarView(one.name, one.type, None)) for one in function.inputs]
        self.fill(view, block)
        return view

    def define(self, var: VarView) -> VarView:
        self.known[var.name] = var
        self.names.add(var.name)
        return var

    def lookup(self, name: str) -> VarView:
        if name not in self.known:
            raise ValueError(f"the function {self.where!r} reads {name!r}, which nothing before defines")
        return self.known[name]

    def fill(self, view: BlockView, block: Any) -> None:
        """Read the ops of a block; values of an inner block are not visible after it."""
        for proto in block.operations:
            view.operations.append(self.op(proto, view))
        view.outputs = [self.lookup(name) for name in block.outputs]
        for var in view.outputs:
            var.consuming_blocks.append(view)

    def op(self, proto: Any, block: BlockView) -> OpView:
        op = OpView(proto, block)
        for key, argument in proto.inputs.items():
            bound = tuple(self.bound(binding) for binding in argument.arguments)
            op.inputs[key] = bound[0] if len(bound) == 1 and key != "values" else bound
        for key, value in proto.attributes.items():
            if key not in ("name", "val"):
                op.inputs.setdefault(key, self.anonymous(value))
        for var in op.given():
            var.child_ops.append(op)
        for inner in proto.blocks:
            outside = dict(self.known)
            view = BlockView(inner, op)
            view.inputs = [self.define(VarView(one.name, one.type, None)) for one in inner.inputs]
            self.fill(view, inner)
            self.known = outside
            op.blocks.append(view)
        reads = [self.reading(proto, op, declared) for declared in proto.outputs]
        op.outputs = [
            self.define(VarView(one.name, one.type, op, read)) for one, read in zip(proto.outputs, reads, strict=True)
        ]
        return op

    def reading(self, proto: Any, op: OpView, declared: Any) -> Callable[[], Any] | None:
        if op.op_type != "const":
            return lambda: folded(op, declared_type(declared.type))
        value = proto.attributes.get("val")
        return None if value is None else lambda: self.value(value)

    def value(self, value: Any) -> Any:
        """Return the value of a constant; a float16 number is returned in float64 if the stored one is requested."""
        found = self.weights.value(value)
        is_number = self.exact and getattr(found, "dtype", None) == np.float16 and found.size == 1
        return found.astype(np.float64) if is_number else found

    def bound(self, binding: Any) -> VarView:
        return self.anonymous(binding.value) if binding.WhichOneof("binding") == "value" else self.lookup(binding.name)

    def anonymous(self, value: Any) -> VarView:
        return VarView("", value.type, None, lambda: self.value(value))


def declared_type(declared: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return (element type, shape) of a serialised type; a list has no shape, a state that of the wrapped type."""
    kind = declared.WhichOneof("type")
    if kind == "stateType":
        return declared_type(declared.stateType.wrappedType)
    if kind != "tensorType":
        return types.str, ()
    tensor = declared.tensorType
    sizes = (int(d.constant.size) if d.WhichOneof("dimension") == "constant" else ANY_SIZE for d in tensor.dimensions)
    return types.PROTO_TO_BUILTIN_TYPE.get(tensor.dataType, types.str), tuple(sizes)


class _Literal:
    """A constant that is not in the program: the default of an omitted input."""

    op = None

    def __init__(self, value: npt.NDArray[Any] | np.generic | str) -> None:
        self.val = value
        self.shape = np.shape(value)
        self.rank = len(self.shape)
        self.child_ops: list[OpView] = []
        self.consuming_blocks: list[BlockView] = []
        self.dtype = types.str if isinstance(value, str) else types.numpy_type_to_builtin_type(np.asarray(value).dtype)


def literal(value: Any) -> _Literal:
    """Return a constant of ``value``."""
    return _Literal(value if isinstance(value, str) else np.asarray(value)[()])

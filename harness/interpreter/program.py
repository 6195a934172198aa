"""The neutral IR that both loaders produce and the loop evaluates.

It is MIL without its builders: functions of blocks of ops in SSA form. Constants are not ops here: a loader
turns every ``const`` into one ``Constant`` that all its readers share, so a weight exists once however many
ops, blocks or functions read it.

Nothing here depends on coremltools, so programs from a live ``Program``, an ``.mlpackage`` and hand-written
tests look the same to all code that reads them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import torch

    from harness.interpreter.dtypes import DType

Shape: TypeAlias = tuple["int | None", ...]
"""``None`` is a dimension known only at run time."""


@dataclass(frozen=True, slots=True)
class ValueType:
    """The declared type of a value.

    Parameters
    ----------
    dtype: element type; for a list, that of its elements.
    shape: declared shape, or ``None`` if even the rank is open.
    kind: ``tensor``, ``list``, ``state`` or ``dictionary``: a classifier's probabilities by label.
    """

    dtype: DType
    shape: Shape | None
    kind: str = "tensor"

    def __str__(self) -> str:
        """Spell the type as MIL's text form does: ``fp16[1, ?, 64]``."""
        dims = "..." if self.shape is None else ", ".join("?" if d is None else str(d) for d in self.shape)
        text = f"{self.dtype.name}[{dims}]"
        return text if self.kind == "tensor" else f"{self.kind}<{text}>"


@dataclass(frozen=True, slots=True)
class Value:
    """A named SSA value and its declared type."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Ref:
    """A use of the value of that name."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value known when the program is loaded: a tensor (perhaps memory-mapped), a string or a list."""

    name: str
    value: torch.Tensor | str | list[object]
    type: ValueType


Argument: TypeAlias = "Ref | Constant | tuple[Ref | Constant, ...]"


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """A straight line of ops; ``outputs`` are the values it passes to the op or function that owns it."""

    inputs: tuple[Value, ...]
    ops: tuple[Op, ...]
    outputs: tuple[Ref | Constant, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operation.

    Parameters
    ----------
    op_type: as MIL registers it, for example ``reduce_mean``.
    inputs: argument by parameter name; several values under one parameter are a tuple.
    outputs: the values it defines, in order.
    blocks: nested blocks: the branches of ``cond``, condition and body of ``while_loop``.
    attributes: the package's data beside the inputs (the op's own name, for instance).
    opset: the version its semantics follow, as the iOS number: 15, 16, 17, 18 ...
    """

    op_type: str
    inputs: Mapping[str, Argument]
    outputs: tuple[Value, ...]
    blocks: tuple[Block, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    opset: int = 15

    @property
    def name(self) -> str:
        """The name of the first output (the op's own name if it has none), unique in a function."""
        return self.outputs[0].name if self.outputs else self.attributes.get("name", self.op_type)


@dataclass(frozen=True, slots=True)
class FlexibleShape:
    """The shapes an input accepts: bounds by dimension (``None``: open above), or an enumeration."""

    bounds: tuple[tuple[int, int | None], ...] = ()
    enumerated: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Input:
    """An input of a function, with the additions of its model description to the declared type."""

    value: Value
    flexible: FlexibleShape | None = None
    default: tuple[tuple[int, ...], float] | None = None
    """Shape and fill value of an optional input that is left out."""
    image: str = ""
    """Colour space of an image input: ``RGB``, ``BGR``, ``GRAYSCALE`` or ``GRAYSCALE_FLOAT16``; empty for an array."""


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function: its inputs and states, its body, and the names and types of its results."""

    name: str
    inputs: tuple[Input, ...]
    states: tuple[Value, ...]
    body: Block
    outputs: tuple[Value, ...]
    opset: int


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Every function of a model, the default function, and the model's source."""

    functions: Mapping[str, Function]
    default: str
    source: str


def walk(block: Block) -> Iterator[Op]:
    """Yield every op of a block and of the blocks nested in it, in program order."""
    for op in block.ops:
        yield op
        for nested in op.blocks:
            yield from walk(nested)


def dtypes_of(function: Function) -> set[DType]:
    """Return the element types of a function's inputs, states and results of ops."""
    declared = {item.value.type.dtype for item in function.inputs} | {value.type.dtype for value in function.states}
    return declared | {value.type.dtype for op in walk(function.body) for value in op.outputs}


def references(op: Op) -> Iterator[str]:
    """Yield the names an op reads, those its nested blocks capture from outside included."""
    for argument in op.inputs.values():
        for item in argument if isinstance(argument, tuple) else (argument,):
            if isinstance(item, Ref):
                yield item.name
    for block in op.blocks:
        for nested in block.ops:
            yield from references(nested)
        yield from (item.name for item in block.outputs if isinstance(item, Ref))

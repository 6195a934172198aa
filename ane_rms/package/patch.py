"""Change a finished program by passes on coremltools' own MIL, and write the result as a patch of its protobuf.

This is for passes that need real MIL, mainly a rescale. The program is loaded with its weights mapped from their file,
and each of its ops is recorded with the message that it came from. After the passes, an op that still exists
keeps its message, byte for byte unless a value that it reads or writes has another name. Only ops that passes have made
are serialised anew.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.frontend.milproto.load import load

from ane_rms.coremltools_patches.mapped_loading import mapped_constants
from ane_rms.package.new_names import unused
from ane_rms.package.weights import Weights
from ane_rms.package.writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ane_rms import mil
    from ane_rms.package.files import Opened
    from ane_rms.package.storage import Storage


def patched(spec: Any, opened: Opened, storage: Storage, change: Callable[[Any], None], only: str | None = None) -> Any:
    """Change the ML program of a specification by ``change``, in place; return the changed MIL program.

    Parameters
    ----------
    spec: the specification, of which only the program is changed.
    opened: the package of the specification.
    storage: the storage of new constants.
    change: a function that changes the given MIL program.
    only: the only function to change. Default: all.

    Raises
    ------
    ValueError: if coremltools cannot load the program.
    """
    program = loaded(spec, opened)
    for name in [name for name in program.functions if only not in (None, name)]:
        del program.functions[name]
    blocks = {}
    for name, function in program.functions.items():
        proto = spec.mlProgram.functions[name]
        blocks[name] = _Record(function, proto.block_specializations[proto.opset])
    change(program)
    for name, function in program.functions.items():
        inputs = {one.name for one in spec.mlProgram.functions[name].inputs}
        _Patch(blocks[name], function, inputs, storage).write()
    return program


def loaded(spec: Any, opened: Opened) -> Any:
    """Return the MIL program of a specification, with its constants mapped from the file of weights.

    Raises
    ------
    ValueError: if coremltools cannot load it.
    """
    weights = Weights(opened.folder, opened.source)
    try:
        with mapped_constants(weights.stored):
            return load(
                spec, spec.specificationVersion, "" if opened.folder is None else str(opened.folder / "weights")
            )
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{opened.source}: coremltools cannot load the program: {reason}") from error


class _Record:
    """The message that each op of a function came from, and the original names of its values."""

    def __init__(self, block: mil.Block, proto: Any) -> None:
        self.proto = proto
        self.messages: dict[int, list[Any]] = {}
        self.names: dict[int, str] = {}
        self.types: dict[int, Any] = {}
        self.held: set[int] = set()
        """Constants without a message of their own, which are in the message of their reader."""
        self.kept: list[Any] = []
        """The ops and variables themselves, kept alive so that no later one gets the identity of a removed one."""
        self._enter(block, proto)

    def _enter(self, block: mil.Block, proto: Any) -> None:
        by_name = {out.name: message for message in proto.operations for out in message.outputs}
        declared = {out.name: out.type for message in proto.operations for out in message.outputs}
        writes = deque(message for message in proto.operations if message.type == "write_state")
        given = block.inputs.values() if isinstance(block.inputs, dict) else block.inputs
        for var in given:
            self._name(var, None)
        for op in block.operations:
            found = [writes.popleft()] if op.op_type == "coreml_update_state" else []
            message = by_name.get(op.outputs[0].name) if op.outputs else None
            if message is not None and message.type in (op.op_type, "read_state"):
                found.append(message)
            if not found:
                self.held.update(id(var) for var in op.outputs)
                self.kept.append(op)
                continue
            self.messages[id(op)] = found
            self.kept.append(op)
            for var in op.outputs:
                self._name(var, declared.get(var.name))
            for inner, of in zip(op.blocks, found[-1].blocks, strict=True):
                self._enter(inner, of)

    def _name(self, var: mil.Var, declared: Any) -> None:
        self.names[id(var)] = var.name
        self.kept.append(var)
        if declared is not None:
            self.types[id(var)] = declared


class _Patch:
    """Writes a changed function back into the message of its block."""

    def __init__(self, record: _Record, function: mil.Block, inputs: set[str], storage: Storage) -> None:
        self.record, self.function = record, function
        standing = {id(var) for block in _blocks(function) for op in block.operations for var in op.outputs}
        standing |= {id(var) for block in _blocks(function) for var in _inputs(block)}
        alive = {name for var, name in record.names.items() if var in standing}
        self.writer = Writer(alive | inputs, storage, {})
        self.writer.named |= {var: name for var, name in record.names.items() if var in standing}
        self.writer.declared |= record.types
        self._keep_output_names(function, record.proto)

    def _keep_output_names(self, block: mil.Block, proto: Any) -> None:
        """Give each output its original name; another value with that name gets a new one."""
        named = self.writer.named
        for var, name in zip(block.outputs, proto.outputs, strict=True):
            if named.get(id(var)) == name:
                continue
            holder = next((one for one, held in named.items() if held == name), None)
            if holder is not None:
                named[holder] = unused(f"{name}_before", self.writer.names)
            self.writer.names.add(name)
            named[id(var)] = name
        for op in block.operations:
            messages = self.record.messages.get(id(op))
            for inner, of in zip(op.blocks, messages[-1].blocks if messages else (), strict=True):
                self._keep_output_names(inner, of)

    def write(self) -> None:
        """Replace the messages of the function's block."""
        self._block(self.function, self.record.proto)

    def _block(self, block: mil.Block, proto: Any) -> None:
        made: list[Any] = []
        for op in block.operations:
            messages = self.record.messages.get(id(op))
            if messages is not None:
                for inner, of in zip(op.blocks, messages[-1].blocks, strict=True):
                    self._block(inner, of)
                made += [self._renamed(op, message) for message in messages]
            elif op.op_type == "const":
                made += self._constant(op.outputs[0])
            else:
                made.append(self.writer.op(op))
        del proto.operations[:]
        proto.operations.extend(made)

    def _constant(self, var: mil.Var) -> list[Any]:
        """Return the message of a new constant, or of one from its reader's message that other ops read now."""
        is_held = id(var) in self.record.held
        if is_held and all(id(reader) in self.record.messages for reader in var.child_ops):
            return []
        message = self.writer.constant(var)
        return [] if message is None else [message]

    def _renamed(self, op: mil.Op, message: Any) -> Any:
        """Return a message with the current names of its values; the message itself if no name has changed."""
        state = {"input": "state", "data": "value"} if op.op_type == "coreml_update_state" else {}
        for key, argument in message.inputs.items():
            current = op.inputs.get(state.get(key, key))
            values = current if isinstance(current, (list, tuple)) else [current]
            for binding, var in zip(argument.arguments, values, strict=False):
                name = None if var is None else self.writer.named.get(id(var))
                if name is not None and binding.WhichOneof("binding") is not None and binding.name != name:
                    binding.name = name
        for out, var in zip(message.outputs, op.outputs, strict=False):
            if (name := self.writer.named.get(id(var), out.name)) != out.name:
                out.name = name
        return message


def _blocks(function: mil.Block) -> Iterator[mil.Block]:
    yield function
    for op in function.operations:
        for inner in op.blocks:
            yield from _blocks(inner)


def _inputs(block: mil.Block) -> list[mil.Var]:
    return list(block.inputs.values() if isinstance(block.inputs, dict) else block.inputs)

"""Build the serialised ops of lowered norms by running the project's passes on a small program of these norms only.

The small program's inputs represent the values that the norms read. Its lowered ops are then written as protobuf,
under names that the finished program does not use yet.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Placeholder, Program

from ane_rms.package.storage import key
from ane_rms.package.writer import Writer
from ane_rms.passes.fuse import fused
from ane_rms.passes.lower import lower_ane_rms_norm_to_layer_norm
from ane_rms.report import FusionReport, keep_report, kept_report
from ane_rms.scan import site_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ane_rms import mil
    from ane_rms.grammar import RmsNorm
    from ane_rms.package.graph import VarView
    from ane_rms.package.storage import Key, Storage

OPSETS = {f"CoreML{target.value - 1}": target for target in ct.target if target >= ct.target.iOS15}
"""The target of each opset's name; ``CoreML5`` is that of iOS 15, specification version 6."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """One norm to be built: ``value`` is the value that it replaces, ``norm`` its input and parameters.

    ``permutation`` is applied to the axes of ``norm.x`` first, unless it is None.
    """

    norm: RmsNorm
    value: VarView
    permutation: tuple[int, ...] | None = None
    form: str = ""
    """The lowering that the norm has already; empty if it is not lowered."""


@dataclass(frozen=True, slots=True)
class SmallProgram:
    """A program of norms only, lowered; ``results`` are their values, in the order of ``wanted``."""

    wanted: Sequence[Wanted]
    sources: dict[str, str]
    """The value of the finished program that each input represents."""
    inputs: dict[str, mil.Var]
    results: list[mil.Var]
    report: FusionReport
    """The norms that the lowering did not support (warnings), or at which it failed (missed)."""


@dataclass(slots=True)
class Emitted:
    """Serialised ops, and the names that they read: constants, placed before everything else, and each norm's ops."""

    constants: list[Any] = field(default_factory=list)
    ops: list[list[Any]] = field(default_factory=list)
    reads: list[list[str]] = field(default_factory=list)
    """For each norm, the names of values and constants of the finished program that its ops read."""


def small_program(wanted: Sequence[Wanted], *, lowering: str, opset: str) -> SmallProgram:
    """Return the lowered program of norms of one block.

    Parameters
    ----------
    wanted: the norms, all of one block and in its order.
    lowering: the strategy's name.
    opset: the function's opset, for example ``"CoreML7"``. One that coremltools does not know yet is treated as the
    newest that it knows.
    """
    values: dict[str, VarView] = {}
    for one in wanted:
        for var in (one.norm.x, *(var for var, _ in one.norm.others)):
            values.setdefault(var.name, var)
    by_name = {source: f"given_{at}" for at, source in enumerate(values)}
    placeholders = {
        name: Placeholder(values[source].shape, dtype=values[source].dtype, name=name)
        for source, name in by_name.items()
    }
    program = Program()
    with Function(placeholders, opset_version=OPSETS.get(opset, max(OPSETS.values()))) as function:
        given = {source: function.inputs[name] for source, name in by_name.items()}
        function.set_outputs([_built(one, given) for one in wanted])
    program.add_function("main", function)
    keep_report(program, FusionReport())
    lower = lower_ane_rms_norm_to_layer_norm()
    lower.for_ane, lower.lowering = True, lowering
    lower.apply(program)
    sources = {name: source for source, name in by_name.items()}
    report = kept_report(program) or FusionReport()
    return SmallProgram(wanted, sources, dict(function.inputs), list(function.outputs), report)


def emit(small: SmallProgram, *, names: set[str], storage: Storage) -> Emitted:
    """Return the serialised ops that compute the norms of a small program.

    Parameters
    ----------
    small: the lowered norms.
    names: every name that the function uses; new names are added to it.
    storage: the storage of constants that are not small.
    """
    writer = Writer(names, storage, _gammas(small.wanted))
    for name, source in small.sources.items():
        writer.named[id(small.inputs[name])] = source
    for one, result in zip(small.wanted, small.results, strict=True):
        writer.named[id(result)] = one.value.name
        writer.declared[id(result)] = one.value.declared
    emitted = Emitted()
    for result in small.results:
        ops = _ops_behind(result)
        emitted.constants += [
            made for op in ops if op.op_type == "const" and (made := writer.constant(op.outputs[0])) is not None
        ]
        emitted.ops.append([writer.op(op) for op in ops if op.op_type != "const"])
        read = {writer.named[id(var)] for op in ops for var in op.get_flattened_inputs()}
        emitted.reads.append(sorted(read))
    return emitted


def _built(one: Wanted, given: dict[str, mil.Var]) -> mil.Var:
    x = given[one.norm.x.name]
    if one.permutation is not None:
        x = mb.transpose(x=x, perm=list(one.permutation))
    others = tuple((given[var.name], power) for var, power in one.norm.others)
    norm = replace(one.norm, op=SimpleNamespace(outputs=[one.value]), x=x, others=others)
    return fused(norm, replace(site_of(one.norm), name=one.value.name))


def _ops_behind(result: mil.Var) -> list[mil.Op]:
    """Return the ops that compute a value, each after the ops that it reads."""
    found: dict[int, mil.Op] = {}

    def visit(op: mil.Op | None) -> None:
        if op is None or id(op) in found:
            return
        for var in op.get_flattened_inputs():
            visit(var.op)
        found[id(op)] = op

    visit(result.op)
    return list(found.values())


def _gammas(wanted: Sequence[Wanted]) -> dict[Key, str]:
    """Return the constants that norms were multiplied by, so that they are reused and not stored again.

    Of equal ones the first is taken, which is before every norm that reads it: the norms are in the block's order.
    """
    found: dict[Key, str] = {}
    for one in wanted:
        for op in (one.norm.op, *one.norm.interior):
            for var in op.get_flattened_inputs():
                if var.op is not None and var.op.op_type == "const" and var.val is not None and var.rank:
                    found.setdefault(key(np.asarray(var.val)), var.name)
    return found

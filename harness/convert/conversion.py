"""Convert one exported model in one variant to a Core ML model, and list the ops of its program."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import ane_rms
from ane_rms.coremltools_patches.bfloat16 import reading_bfloat16
from ane_rms.coremltools_patches.lean import leaner
from ane_rms.passes.strategies import DEFAULT_STRATEGY
from harness.convert import multifunction, torch_ops
from harness.errors import ConversionError
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import numpy as np

    from ane_rms.coremltools_patches.lean import Spill
    from harness.export import ExportedModel
    from harness.plan.variants import Variant

    Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Converted:
    """A converted model."""

    model: Any
    """``coremltools.models.MLModel``"""
    parts: Mapping[str, Any] = field(default_factory=dict)
    """The models that a multifunction model was joined from, by function; empty for any other."""
    folder: Any = None
    """The object that keeps the package on disk; None where coremltools keeps it."""
    kept: Mapping[int, Array] = field(default_factory=dict)
    """The weights by their offset, if they were kept in memory instead of being written to the package."""

    @classmethod
    def of(cls, models: Mapping[str, Any]) -> Converted:
        """Return a single model unchanged, and join several as the functions of one package."""
        if len(models) == 1:
            return cls(next(iter(models.values())))
        model, folder = multifunction.join(models)
        return cls(model, models, folder)

    def save(self, path: Path) -> None:
        """Write the package to a path that ends in ``.mlpackage``."""
        self.model.save(str(path))

    @property
    def models(self) -> Mapping[str, Any]:
        """The single-function models that this model consists of, by function."""
        return self.parts or {"main": self.model}

    @cached_property
    def program(self) -> Any:
        """The MIL program: the converted one, or for a joined model the one read back from the package."""
        program = self.model._mil_program  # noqa: SLF001 - the only way to the program of a converted model
        return self._read() if program is None else program

    def _read(self) -> Any:
        from coremltools.converters.mil.frontend.milproto.load import load

        spec = self.model.get_spec()
        return load(spec, specification_version=spec.specificationVersion, file_weights_dir=self.model.weights_dir)

    def op_count(self) -> int:
        """Return the number of ops, including those of inner blocks and excluding constants, compressed or not."""
        return sum(
            not op.op_type.startswith("const")
            for function in self.program.functions.values()
            for op in iterate_ops(function)
        )


@dataclass(frozen=True, slots=True)
class Lean:
    """What a lean conversion shares with others of its model, and what is needed of it."""

    casts: Spill | None = None
    """Keeps the float16 weights for the conversions that follow; None if each makes its own."""
    kept: dict[int, Array] | None = None
    """Takes the weights of a single function, in place of the package's file of weights; None: the file is written."""


def iterate_ops(block: Any) -> Iterator[Any]:
    """Yield every op of a MIL block and of the blocks inside it."""
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from iterate_ops(inner)


def convert(
    exported: ExportedModel,
    variant: Variant,
    *,
    compute_precision: str = "FLOAT16",
    lowering: str = DEFAULT_STRATEGY,
    axes: str = "last",
    at_least: str = "",
    lean: Lean | None = Lean(),
    rescale: Callable[[ExportedModel], Any] | None = None,
) -> Converted:
    """Convert an exported model in a variant.

    Parameters
    ----------
    exported: the traced or exported program with its inputs.
    variant: the compute units, and whether ``ane_rms`` converts.
    compute_precision: ``"FLOAT16"`` or ``"FLOAT32"``.
    lowering, axes: options of ``ane_rms.convert``, for a variant that uses it.
    at_least: name of a ``ct.target``; the deployment target is not earlier than this, nor than the model needs.
    lean: how to convert without copies of the weights; the package is the same
        (see :mod:`ane_rms.coremltools_patches.lean`). None: as plain ``ct.convert`` does.
    rescale: returns, for each function, the argument ``rescale`` of ``ane_rms.convert``; None for no rescale.

    Raises
    ------
    ConversionError: with coremltools' own reason.
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb

    mb.name_count.clear()  # a failed conversion leaves coremltools' numbering of values advanced
    ours = partial(ane_rms.convert, lowering=lowering, axes=axes, for_ane=variant.for_ane)
    through = ct.convert if variant.through == "ct.convert" else ours
    leaning = nullcontext() if lean is None else leaner(lean.casts, kept=lean.kept)
    try:
        with reading_bfloat16(), torch_ops.registered(), leaning:
            # The last function comes first: a calibrated one that decodes sees every token that the others see.
            made = {
                function.name: through(
                    function.program,
                    **_arguments(function, variant, compute_precision, at_least),
                    **({} if rescale is None else {"rescale": rescale(function)}),
                )
                for function in (exported.functions if rescale is None else reversed(exported.functions))
            }
            whole = Converted.of({function.name: made[function.name] for function in exported.functions})
            return whole if lean is None or not lean.kept else replace(whole, kept=lean.kept)
    except Exception as error:  # coremltools raises errors of every kind; the run continues with the next model
        reason = squeezed(error) or type(error).__name__
        raise ConversionError(f"{exported.spec_key}: coremltools: {reason}") from error


def _arguments(exported: ExportedModel, variant: Variant, compute_precision: str, at_least: str) -> dict[str, Any]:
    """Return the arguments of ``ct.convert`` for one function."""
    import coremltools as ct

    return {
        "inputs": exported.ct_inputs(),
        **({"states": exported.ct_states()} if exported.states else {}),
        "convert_to": "mlprogram",
        **({"compute_units": ct.ComputeUnit[variant.compute_units]} if variant.compute_units else {}),
        "compute_precision": ct.precision[compute_precision],
        "minimum_deployment_target": ct.target[max(exported.deployment_target, at_least)],
        "skip_model_load": True,
    }


def difference(a: Converted, b: Converted) -> str:
    """Return "" if two programs have equal ops and weights, else a sentence on the first difference."""
    spec_a, spec_b = a.model.get_spec().mlProgram, b.model.get_spec().mlProgram
    if set(spec_a.functions) != set(spec_b.functions):
        return f"functions {sorted(spec_a.functions)} and {sorted(spec_b.functions)}"
    for name in spec_a.functions:
        function_a, function_b = spec_a.functions[name], spec_b.functions[name]
        if function_a == function_b:
            continue
        ops_a = [op for block in function_a.block_specializations.values() for op in block.operations]
        ops_b = [op for block in function_b.block_specializations.values() for op in block.operations]
        for op_a, op_b in zip(ops_a, ops_b, strict=False):
            if op_a != op_b:
                return f"{name}: {op_a.type} {op_a.outputs[0].name!r} against {op_b.type} {op_b.outputs[0].name!r}"
        return f"{name}: {len(ops_a)} ops against {len(ops_b)}"
    kept = a.kept and b.kept
    same = _same(a.kept, b.kept) if kept else _weights(a) == _weights(b)
    return "" if same else "the weights differ"


def _same(some: Mapping[int, Array], others: Mapping[int, Array]) -> bool:
    """Return whether two programs have the same bytes at the same offsets; conversions of one model share memory."""
    return some.keys() == others.keys() and all(
        one.__array_interface__ == (other := others[offset]).__array_interface__ or one.tobytes() == other.tobytes()
        for offset, one in some.items()
    )


def _weights(converted: Converted) -> bytes:
    from hashlib import sha256
    from pathlib import Path

    digest = sha256()
    folder = Path(converted.model.weights_dir)
    for path in sorted(folder.glob("*.bin")):
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 22):
                digest.update(chunk)
    return digest.digest()

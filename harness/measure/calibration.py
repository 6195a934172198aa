"""Calibration: the magnitudes that a program's values reach, in float32, on given data.

:class:`Calibration` is what ``ane_rms.convert(rescale=...)`` calls with the program between fusing and lowering, where
each norm is one ``ane_rms_norm`` op; the reference executor then runs it. A program of keys and values in states is fed
token by token, as a device would be.

Numbers beyond 1e30 stand for infinities, as in a mask, and are left out; of what a softmax reads, only the positive
numbers count, since a number far below the others is as good as minus infinity.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import ane_rms
from harness.convert import torch_ops
from harness.errors import ConversionError
from harness.interpreter import ReferenceModel
from harness.measure.feed import filled

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from harness.export import ExportedModel

    Array = np.ndarray[Any, Any]
    Batch = Mapping[str, Array]

INFINITE = 1e30
"""From here on a number is taken for an infinity."""


@dataclass
class Calibration:
    """Measures one exported function's values on the runs of its model.

    Parameters
    ----------
    exported: the function; a program of flexible length is run at its longest.
    runs: token ids, int32, each (1, n).

    Attributes
    ----------
    found: what the last call measured, by the value's name.
    """

    exported: ExportedModel
    runs: tuple[Array, ...]
    found: dict[str, ane_rms.Magnitude] = field(default_factory=dict)

    def __call__(self, program: Any) -> dict[str, ane_rms.Magnitude]:
        """Return the magnitudes of the values of a MIL program."""
        model = ReferenceModel(program, "fp32")
        recorder = _Recorder(model)
        with model.listening(recorder.note):
            for tokens in self.runs:
                self._run(model, tokens)
        names = Counter(
            var.name for function in program.functions.values() for op in function.operations for var in op.outputs
        )
        self.found = {name: one for name, one in recorder.magnitudes().items() if names[name] == 1}
        return self.found

    def _run(self, model: ReferenceModel, tokens: Array) -> None:
        queries = next(iter(self.exported.inputs.values())).shape[1]
        if not self.exported.states:
            flexible = self.exported.shape.kind == "flexible"
            model.predict({"input_ids": tokens if flexible else filled(tokens, queries)})
            return
        state = model.make_state()
        for at in range(0, tokens.shape[1] if queries == 1 else 1, queries):
            position = np.array([at], np.int32)
            model.predict({"input_ids": filled(tokens[:, at : at + queries], queries), "position": position}, state)


def combined(calibrations: Iterable[Calibration]) -> dict[str, ane_rms.Magnitude]:
    """Return the largest magnitudes that several functions of a model have seen, by the value's name."""
    found: dict[str, ane_rms.Magnitude] = {}
    for one in calibrations:
        for name, magnitude in one.found.items():
            found[name] = _larger(found[name], magnitude) if name in found else magnitude
    return found


def _larger(a: ane_rms.Magnitude, b: ane_rms.Magnitude) -> ane_rms.Magnitude:
    sums = [one.sum_of_squares for one in (a, b) if one.sum_of_squares is not None]
    typical = [one.typical for one in (a, b) if one.typical is not None]
    return ane_rms.Magnitude(max(a.peak, b.peak), max(sums, default=None), min(typical, default=None))


class _Recorder:
    """A listener that keeps the largest magnitude of every float, and of what norms read the rows' sizes."""

    def __init__(self, model: ReferenceModel) -> None:
        self.peaks: dict[str, float] = {}
        self.sums: dict[str, float] = {}
        self.rows: dict[str, list[torch.Tensor]] = {}
        self._exponents = {
            argument.name
            for op in model.function.body.ops
            if op.op_type == "softmax"
            for argument in op.inputs.values()
            if hasattr(argument, "name")
        }

    def note(self, op: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Keep what one op has read and written."""
        for name, value in outputs.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                size = value if name in self._exponents else value.abs()
                self._keep(self.peaks, name, size)
        if op.op_type == "ane_rms_norm":
            reference = op.inputs["x"]
            if hasattr(reference, "name"):
                self._note_rows(reference.name, inputs)

    def _note_rows(self, name: str, inputs: Mapping[str, Any]) -> None:
        axes = [int(axis) for axis in np.atleast_1d(np.asarray(inputs["axes"]))]
        squares = inputs["x"].double().square()
        sums = squares.sum(dim=axes)
        self._keep(self.sums, name, sums)
        self.rows.setdefault(name, []).append((squares.mean(dim=axes)).sqrt().flatten())

    @staticmethod
    def _keep(kept: dict[str, float], name: str, size: torch.Tensor) -> None:
        largest = float(size.max())
        if not largest < INFINITE:
            if bool(size.isnan().any()):
                raise ConversionError(f"calibration: {name!r} is not a number in float32")
            finite = size[size < INFINITE]
            largest = float(finite.max()) if finite.numel() else 0.0
        kept[name] = max(kept.get(name, 0.0), largest)

    def magnitudes(self) -> dict[str, ane_rms.Magnitude]:
        """Return what was seen, by the value's name."""
        return {
            name: ane_rms.Magnitude(peak, self.sums.get(name), self._typical(name)) for name, peak in self.peaks.items()
        }

    def _typical(self, name: str) -> float | None:
        return float(torch.cat(self.rows[name]).median()) if name in self.rows else None


def peaks(exported: ExportedModel, batches: Iterable[Batch]) -> dict[str, float]:
    """Return the largest magnitude of each site's input over all batches, by the site's name.

    Parameters
    ----------
    exported: the model.
    batches: inputs by name; shapes as the model was exported for.
    """
    import coremltools as ct

    pipeline = ane_rms.pipeline(ct.ComputeUnit.CPU_AND_NE)
    pipeline.remove_passes({"common::lower_ane_rms_norm_to_layer_norm", "common::expand_ane_rms_norm"})
    for name in set(pipeline.get_all_options()) - set(pipeline.passes):
        del pipeline._pass_options[name]  # noqa: SLF001 - there is no public way to take an option back
    with torch_ops.registered():
        program = ct.convert(
            exported.program,
            inputs=exported.ct_inputs(),
            convert_to="milinternal",
            compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target[exported.deployment_target],
            pass_pipeline=pipeline,
        )
    model, found = ReferenceModel(program, "fp32"), dict[str, float]()

    def note(op: Any, inputs: Mapping[str, Any], _outputs: Mapping[str, Any]) -> None:
        if op.op_type == "ane_rms_norm":
            found[op.name] = max(found.get(op.name, 0.0), float(inputs["x"].abs().max()))

    with model.listening(note):
        for batch in batches:
            model.predict(dict(batch))
    return found

"""Measure the magnitudes that a program's values reach, in float32, on given data.

``ane_rms.convert(rescale=...)`` calls :class:`Calibration` with the program between fusing and lowering, where each
norm is one ``ane_rms_norm`` op, and the reference executor runs it. A program that keeps keys and values in states is
fed token by token, as on a device.

Numbers beyond 1e30 represent infinities, as in a mask, and are ignored. For inputs of a softmax only positive numbers
count, because a number far below the others has the same effect as minus infinity.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

import ane_rms
from ane_rms import mil
from ane_rms.rescaling.planning import FLOAT16_MAX, MATRIX_MAX, MATRIX_OPS
from ane_rms.rescaling.weighing import NORM_OPS
from harness.errors import ConversionError
from harness.interpreter import ReferenceModel
from harness.measure.feed import MASKED, filled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.export import ExportedModel

    Array = np.ndarray[Any, Any]


class Calibration:
    """Measures the magnitudes of a model's values, separately for each function of its program.

    Parameters
    ----------
    runs: token ids, int32, each (1, n).
    """

    def __init__(self, runs: Sequence[Array]) -> None:
        self._runs = tuple(runs)
        self._recorders: dict[str, _Recorder] = {}

    def rescaling(self, function: ExportedModel, aim: str = "peaks") -> ane_rms.Rescaling:
        """Return the argument ``rescale`` of ``ane_rms.convert`` for one function of the model."""
        return ane_rms.Rescaling(lambda program: self.measure(function, program), aim)

    def measure(self, function: ExportedModel, program: Any) -> dict[str, ane_rms.Magnitude]:
        """Return the magnitudes of a function's values, or those of equally named values of another function if larger.

        Functions of one model share weights, so the factors that scale the weights must be the same. Magnitudes are
        measured once, because programs of different lowerings are equal up to this point.
        """
        names = Counter(var.name for block in mil.blocks(program) for op in block.operations for var in op.outputs)
        known = self._recorders.get(function.name)
        if known is None or not names.keys() >= known.peaks.keys():
            self._recorders[function.name] = self._recorded(function, program)
        found: dict[str, ane_rms.Magnitude] = {}
        for recorder in self._recorders.values():
            for name, one in recorder.magnitudes().items():
                found[name] = _larger(found[name], one) if name in found else one
        return {name: one for name, one in found.items() if names[name] == 1}

    def watching(self, function: ExportedModel) -> ane_rms.Rescaling:
        """Return a callable that measures one function of the model without rescaling anything."""

        def measure(program: Any) -> dict[str, ane_rms.Magnitude]:
            self.measure(function, program)
            return {}

        return ane_rms.Rescaling(measure)

    def ceiling(self, name: str) -> float:
        """Return the largest magnitude that the op that writes a value can give."""
        products = any(name in recorder.products for recorder in self._recorders.values())
        return MATRIX_MAX if products else FLOAT16_MAX

    def peaks(self) -> dict[str, float]:
        """Return the largest magnitudes of norms' inputs and matrix products' results, by the value's name."""
        found: dict[str, float] = {}
        for recorder in self._recorders.values():
            for name in recorder.shown:
                found[name] = max(found.get(name, 0.0), recorder.peaks.get(name, 0.0))
        return found

    def row_norms(self) -> dict[str, float]:
        """Return the largest norm of a row of norms' inputs, by the value's name."""
        found: dict[str, float] = {}
        for recorder in self._recorders.values():
            for name, total in recorder.sums.items():
                found[name] = max(found.get(name, 0.0), total**0.5)
        return found

    def _recorded(self, function: ExportedModel, program: Any) -> _Recorder:
        model = ReferenceModel(program, "fp32")
        recorder = _Recorder(model)
        with model.listening(recorder.note):
            for tokens in self._runs:
                _run(model, function, tokens)
        return recorder


def _run(model: ReferenceModel, function: ExportedModel, tokens: Array) -> None:
    queries = function.inputs["input_ids"].shape[1]
    if not function.states:
        flexible = function.shape.kind == "flexible"
        model.predict({"input_ids": tokens if flexible else filled(tokens, queries)})
        return
    state = model.make_state()
    for at in range(0, tokens.shape[1] if queries == 1 else 1, queries):
        position = np.array([at], np.int32)
        model.predict({"input_ids": filled(tokens[:, at : at + queries], queries), "position": position}, state)


def _larger(a: ane_rms.Magnitude, b: ane_rms.Magnitude) -> ane_rms.Magnitude:
    sums = [one.sum_of_squares for one in (a, b) if one.sum_of_squares is not None]
    typical = [one.typical for one in (a, b) if one.typical is not None]
    return ane_rms.Magnitude(max(a.peak, b.peak), max(sums, default=None), min(typical, default=None))


class _Recorder:
    """A listener that records the largest magnitude of every float value, and the row sizes of norms' inputs."""

    def __init__(self, model: ReferenceModel) -> None:
        self.peaks: dict[str, float] = {}
        self.sums: dict[str, float] = {}
        self.rows: dict[str, list[torch.Tensor]] = {}
        self.products: dict[str, None] = {}
        self._exponents = {
            argument.name
            for op in model.function.body.ops
            if op.op_type == "softmax"
            for argument in op.inputs.values()
            if hasattr(argument, "name")
        }

    @property
    def shown(self) -> dict[str, None]:
        """The names of norms' inputs and matrix products' results."""
        return dict.fromkeys([*self.sums, *self.products])

    def note(self, op: Any, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Record the magnitudes of one op's inputs and outputs."""
        for name, value in outputs.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                size = value if name in self._exponents else value.abs()
                self._keep(self.peaks, name, size)
        if op.op_type in MATRIX_OPS:
            for name, value in outputs.items():
                self.products[name] = None
                self.rows.setdefault(name, []).append(value.double().square().mean(dim=-1).sqrt().flatten())
        if op.op_type in NORM_OPS and inputs.get("axes") is not None:
            reference = op.inputs["x"]
            if hasattr(reference, "name"):
                self._note_rows(reference.name, inputs, sums=op.op_type == "ane_rms_norm")

    def _note_rows(self, name: str, inputs: Mapping[str, Any], *, sums: bool) -> None:
        axes = [int(axis) for axis in np.atleast_1d(np.asarray(inputs["axes"]))]
        squares = inputs["x"].double().square()
        if sums:
            self._keep(self.sums, name, squares.sum(dim=axes))
        self.rows.setdefault(name, []).append((squares.mean(dim=axes)).sqrt().flatten())

    @staticmethod
    def _keep(kept: dict[str, float], name: str, size: torch.Tensor) -> None:
        largest = float(size.max())
        if not largest < MASKED:
            if bool(size.isnan().any()):
                raise ConversionError(f"calibration: {name!r} is not a number in float32")
            finite = size[size < MASKED]
            largest = float(finite.max()) if finite.numel() else 0.0
        kept[name] = max(kept.get(name, 0.0), largest)

    def magnitudes(self) -> dict[str, ane_rms.Magnitude]:
        """Return the recorded magnitudes, by the value's name."""
        return {
            name: ane_rms.Magnitude(peak, self.sums.get(name), self._typical(name)) for name, peak in self.peaks.items()
        }

    def _typical(self, name: str) -> float | None:
        return float(torch.cat(self.rows[name]).median()) if name in self.rows else None

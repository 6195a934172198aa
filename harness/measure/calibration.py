"""Calibration: the largest input that each norm site sees, in float32, on given data.

A program is stopped between fusing and lowering, so that each site is one ``ane_rms_norm`` op of the report's name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ane_rms
from harness.convert import torch_ops
from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np

    from harness.export import ExportedModel

    Batch = Mapping[str, np.ndarray[Any, Any]]


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

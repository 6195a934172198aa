"""What every example needs to run anywhere: one way to predict, to print a report, to hold a claim.

Import it first: it also keeps the libraries quiet.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from harness.system import log_noise

log_noise.hush()  # some libraries decide at import whether they are talkative, so this comes before theirs

import coremltools as ct  # noqa: E402

from harness.interpreter import ReferenceModel  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    import ane_rms

ON_MAC = sys.platform == "darwin"

EXECUTOR = "Core ML" if ON_MAC else "the reference executor (policy fp16)"

CONVERSION: dict[str, Any] = {
    "convert_to": "mlprogram",
    "minimum_deployment_target": ct.target.iOS17,
    "skip_model_load": not ON_MAC,
}
"""Arguments that every conversion here shares: only macOS can load what was converted."""


def predict(model: ct.models.MLModel, inputs: Mapping[str, np.ndarray], precision: str = "fp16") -> np.ndarray:
    """Return the one output of a model: from Core ML on macOS, from the reference executor elsewhere.

    Parameters
    ----------
    model: a converted model.
    inputs: arrays by input name.
    precision: the reference executor's policy; Core ML has its own.
    """
    runner = model if ON_MAC else ReferenceModel(model, precision=precision)
    (output,) = runner.predict(dict(inputs)).values()
    return output


def show(report: ane_rms.FusionReport) -> None:
    """Print every site of a report: what was fused and how exactly, what was not and why."""
    for site in report.fused:
        bound = f"off by at most {site.deviation_bound:.1e}" if site.deviation_bound else "exact"
        gamma = "with gamma" if site.has_gamma else "no gamma"
        print(f"  fused   {site.spelling}, epsilon {site.epsilon:g}, {gamma}, {bound}")
    for miss in report.missed:
        print(f"  missed  {miss.op_type}: {miss.reason}")


def claim(holds: bool, sentence: str) -> None:  # noqa: FBT001 - reads as a sentence
    """End the example with exit code 1 unless what it says holds.

    Raises
    ------
    SystemExit: with the sentence, which names what did not hold.
    """
    if not holds:
        raise SystemExit(f"does not hold: {sentence}")

"""The MIL op ane_rms_norm, written by hand: lowered for CPU_AND_NE, expanded elsewhere, equal in value.

Run: python examples/mil_ane_rms_norm_example.py
"""

from __future__ import annotations

from running import CONVERSION, EXECUTOR, claim, predict

# isort: split

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from harness.measure.metrics import measure

SHAPE, EPSILON = (1, 128, 512), 1e-6

REL_L2_LIMIT = 2e-3
"""Four roundings of float16 (2**-11 each)."""


def build(gamma: np.ndarray) -> ct.converters.mil.mil.Program:
    """Return a program of one ane_rms_norm, which ``import ane_rms`` has added to the builder."""

    @mb.program(input_specs=[mb.TensorSpec(shape=SHAPE)], opset_version=ct.target.iOS17)
    def program(x):  # noqa: ANN001, ANN202 - the builder passes MIL variables
        return mb.ane_rms_norm(x=x, gamma=gamma, epsilon=EPSILON, axes=[-1], name="y")

    return program


def main() -> dict[str, tuple[list[str], np.ndarray]]:
    """Return, by compute units: the op types of the converted program, and what it computes."""
    rng = np.random.default_rng(0)
    gamma = rng.uniform(0.5, 1.5, SHAPE[-1]).astype(np.float32)
    x = rng.standard_normal(SHAPE).astype(np.float32)
    expected = gamma * x / np.sqrt(np.mean(x.astype(np.float64) ** 2, axis=-1, keepdims=True) + EPSILON)

    results = {}
    print(f"executed by {EXECUTOR}")
    for units in (ct.ComputeUnit.CPU_AND_NE, ct.ComputeUnit.CPU_ONLY):
        model = ane_rms.convert(build(gamma), compute_units=units, **CONVERSION)
        (body,) = model.get_spec().mlProgram.functions["main"].block_specializations.values()
        ops = [op.type for op in body.operations if op.type not in ("const", "cast")]
        values = predict(model, {"x": x})
        rel_l2 = measure(expected, values)["rel_l2"]
        results[units.name] = ops, values
        print(f"{units.name:12}{', '.join(ops)}; relative L2 against the formula {rel_l2:.1e}")
        claim("ane_rms_norm" not in ops, f"{units.name}: only ops that Core ML knows are left")
        claim(rel_l2 < REL_L2_LIMIT, f"{units.name}: the formula's values")

    between = measure(results["CPU_ONLY"][1], results["CPU_AND_NE"][1])["rel_l2"]
    print(f"relative L2 between the two {between:.1e}")
    claim(between < REL_L2_LIMIT, "both compute units agree")
    return results


if __name__ == "__main__":
    main()

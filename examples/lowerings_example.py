"""The lowerings beside each other: ops, and what float16 does to a tame row, a spike, and a row of small numbers.

Run: python examples/lowerings_example.py
"""

from __future__ import annotations

from running import CONVERSION, EXECUTOR, claim, predict

# isort: split

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from tabulate import tabulate

import ane_rms
from harness.measure.metrics import measure

WIDTH, EPSILON = 1024, 1e-6
LOWERINGS = (
    "layer_norm",
    "layer_norm_affine",
    "layer_norm_prescaled",
    "l2_norm",
    "reduce_l2_norm",
    "max_abs",
    "auto",
    "none",
)
GAMMA = np.linspace(0.5, 1.5, WIDTH, dtype=np.float32)

REL_L2_LIMIT = 1.5e-3
"""Three roundings of float16 (2**-11 each): of the input, of gamma, of the output."""


def rows() -> dict[str, np.ndarray]:
    """Return an input of each kind, float16, shape (1, 8, WIDTH)."""
    tame = np.random.default_rng(0).standard_normal((1, 8, WIDTH))
    spike = tame.copy()
    spike[..., 7] = 2500.0
    return {name: x.astype(np.float16) for name, x in (("tame", tame), ("spike", spike), ("small", tame * 1e-3))}


def converted(lowering: str) -> ct.models.MLModel:
    """Return one norm in a lowering."""

    @mb.program(input_specs=[mb.TensorSpec((1, 8, WIDTH))], opset_version=ct.target.iOS17)
    def program(x):  # noqa: ANN001, ANN202 - a MIL program is traced, not called
        return mb.ane_rms_norm(x=x, gamma=GAMMA, epsilon=np.float32(EPSILON), name="y")

    return ane_rms.convert(program, lowering=lowering, compute_units=ct.ComputeUnit.CPU_AND_NE, **CONVERSION)


def main() -> dict[str, dict[str, float]]:
    """Return the relative L2 error by lowering and input."""
    errors: dict[str, dict[str, float]] = {}
    ops = {}
    for lowering in LOWERINGS:
        model = converted(lowering)
        operations = model.get_spec().mlProgram.functions["main"].block_specializations.values()
        ops[lowering] = sum(op.type not in ("const", "cast") for block in operations for op in block.operations)
        errors[lowering] = {}
        for name, x in rows().items():
            wide = x.astype(np.float64)
            expected = GAMMA * wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + EPSILON)
            errors[lowering][name] = measure(expected, predict(model, {"x": x.astype(np.float32)}))["rel_l2"]
    print(f"relative L2 error, executed by {EXECUTOR}")
    table = [[name, ops[name], *(f"{error:.1e}" for error in errors[name].values())] for name in LOWERINGS]
    print(tabulate(table, headers=["lowering", "ops", *rows()], tablefmt="github"))
    for name in LOWERINGS[:-1]:
        claim(max(errors[name].values()) < REL_L2_LIMIT, f"{name}: within float16's rounding on every input")
    claim(errors["none"]["spike"] > 0.9, "none: a spike of 2,500 squared is infinite, and the row is zeros")
    return errors


if __name__ == "__main__":
    main()

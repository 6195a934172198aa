"""From PyTorch to Core ML, end to end: four hand-written RMSNorm classes, each for three compute units.

Run: python examples/pytorch_rms_norm_to_ane_example.py
"""

from __future__ import annotations

from running import CONVERSION, EXECUTOR, claim, predict, show

# isort: split

from dataclasses import dataclass
from typing import TYPE_CHECKING

import coremltools as ct
import numpy as np
import torch
from rms_norms import every_norm

import ane_rms
from ane_rms.grammar import RMS_FLOOR
from harness.measure.metrics import measure

if TYPE_CHECKING:
    from torch import nn

SHAPE = (1, 128, 512)
UNITS = (ct.ComputeUnit.CPU_AND_NE, ct.ComputeUnit.CPU_ONLY, ct.ComputeUnit.CPU_AND_GPU)

REL_L2_LIMIT = 2e-3
"""Four roundings of float16 (2**-11 each): of the input, the normalised value, gamma and the product."""

FLOAT32_ROUNDING = 2e-6
"""A few roundings of float32 (6e-8 each), through a norm of 512 elements."""


@dataclass(frozen=True)
class Result:
    """One class for one compute unit."""

    norm: str
    units: str
    report: ane_rms.FusionReport
    metrics: dict[str, float]


def convert(
    module: nn.Module, units: ct.ComputeUnit, precision: ct.precision = ct.precision.FLOAT16
) -> ct.models.MLModel:
    """Trace a module and convert it: ct.convert takes a traced program, not the module itself."""
    traced = torch.jit.trace(module, torch.zeros(SHAPE))
    return ane_rms.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=SHAPE)],
        compute_units=units,
        compute_precision=precision,
        **CONVERSION,
    )


def deviation(module: nn.Module) -> float:
    """Return the largest relative deviation of the fused form from the class as written, both in float32.

    The rows have the smallest RMS that the stated bound covers, where it is tightest.
    """
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    x *= RMS_FLOOR / x.square().mean(-1, keepdim=True).sqrt()
    model = convert(module, ct.ComputeUnit.CPU_AND_NE, ct.precision.FLOAT32)
    fused, written = predict(model, {"x": x.numpy()}, precision="fp32"), module(x).numpy()
    return float(np.max(np.abs(fused - written) / np.abs(written)))


def main() -> list[Result]:
    """Convert every class for every compute unit, compare the outputs with PyTorch's, print the reports."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    results = []
    print(f"shape {SHAPE}, executed by {EXECUTOR}")
    for name, module in every_norm(SHAPE[-1]).items():
        print(f"\n{name}")
        for units in UNITS:
            model = convert(module, units)
            report = ane_rms.report(model)
            metrics = measure(module(x).numpy(), predict(model, {"x": x.numpy()}))
            results.append(Result(name, units.name, report, metrics))
            print(
                f"  {units.name:12} {len(report.fused)} fused, relative L2 {metrics['rel_l2']:.1e}, "
                f"mean relative {metrics['mean_rel']:.1e}, max abs {metrics['max_abs']:.1e}"
            )
            show(report)
            wanted = 1 if units == ct.ComputeUnit.CPU_AND_NE else 0
            claim(len(report.fused) == wanted, f"{name} for {units.name}: {wanted} fused")
            claim(metrics["rel_l2"] < REL_L2_LIMIT, f"{name} for {units.name}: PyTorch's values")

    outside = every_norm(SHAPE[-1])["EpsilonOutside"]
    bound, found = results[0].report.fused[0].deviation_bound, deviation(outside)
    print(f"\nEpsilonOutside at rows of RMS {RMS_FLOOR:g}: off by {found:.1e}, stated bound {bound:.1e}")
    claim(found <= bound + FLOAT32_ROUNDING, "the stated deviation bound")
    return results


if __name__ == "__main__":
    main()

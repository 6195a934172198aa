"""Which axis is fused: the last, alone. Any other is left as it was, and the report says why.

Run: python examples/axis_validation_example.py
"""

from __future__ import annotations

from running import CONVERSION, EXECUTOR, claim, predict, show

# isort: split

from typing import TYPE_CHECKING

import coremltools as ct
import torch
from torch import nn

import ane_rms
from harness.measure.metrics import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

SHAPE, EPSILON = (2, 128, 512), 1e-6

REL_L2_LIMIT = 2e-3
"""Four roundings of float16 (2**-11 each)."""


class NormOver(nn.Module):
    """``x / sqrt(mean(x * x) + eps)``, the mean over the axes given."""

    def __init__(self, axes: Sequence[int]) -> None:
        super().__init__()
        self.axes = list(axes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape."""
        return x / torch.sqrt(torch.mean(x * x, dim=self.axes, keepdim=True) + EPSILON)


def main() -> dict[tuple[int, ...], ane_rms.FusionReport]:
    """Return the report by axes."""
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))
    results = {}
    print(f"shape {SHAPE}, executed by {EXECUTOR}")
    for axes in ((-1,), (0,), (0, 1)):
        module = NormOver(axes).eval()
        model = ane_rms.convert(
            torch.jit.trace(module, x),
            inputs=[ct.TensorType(name="x", shape=SHAPE)],
            compute_units=ct.ComputeUnit.CPU_AND_NE,
            **CONVERSION,
        )
        results[axes] = report = ane_rms.report(model)
        rel_l2 = measure(module(x).numpy(), predict(model, {"x": x.numpy()}))["rel_l2"]
        print(f"axes {axes}, relative L2 {rel_l2:.1e}")
        show(report)
        expected = (1, 0) if axes == (-1,) else (0, 1)
        claim((len(report.fused), len(report.missed)) == expected, f"axes {axes}: fused only if the last alone")
        claim(rel_l2 < REL_L2_LIMIT, f"axes {axes}: PyTorch's values")
    return results


if __name__ == "__main__":
    main()

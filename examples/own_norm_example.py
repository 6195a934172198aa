"""A norm of your own, almost RMSNorm: why it does not fuse, said by the report, and the mend.

Run: python examples/own_norm_example.py
"""

from __future__ import annotations

from running import CONVERSION, claim, show

# isort: split

import coremltools as ct
import torch
from torch import nn

import ane_rms

SHAPE = (1, 16, 64)


class OverPositions(nn.Module):
    """RMSNorm by mistake over the positions, which are the last axis but one."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape."""
        return x * torch.rsqrt(x.pow(2).mean(dim=1, keepdim=True) + 1e-6)


class Centred(nn.Module):
    """Subtracts the mean first: a layer norm, for which there is nothing to do."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape."""
        centred = x - x.mean(dim=-1, keepdim=True)
        return x * torch.rsqrt(centred.pow(2).mean(dim=-1, keepdim=True) + 1e-6)


class Mended(nn.Module):
    """The mean over the features."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape."""
        return x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6)


def main() -> dict[str, ane_rms.FusionReport]:
    """Return each module's report by name."""
    reports = {}
    for module in (OverPositions(), Centred(), Mended()):
        name = type(module).__name__
        model = ane_rms.convert(
            torch.jit.trace(module, torch.zeros(SHAPE)),
            inputs=[ct.TensorType(name="x", shape=SHAPE)],
            compute_units=ct.ComputeUnit.CPU_AND_NE,
            **CONVERSION,
        )
        reports[name] = report = ane_rms.report(model)
        print(name)
        show(report)
    claim(len(reports["Mended"].fused) == 1, "the mended one fuses")
    claim(not any(reports[name].fused for name in ("OverPositions", "Centred")), "the others do not")
    claim(all(reports[name].missed for name in ("OverPositions", "Centred")), "and each has a reason")
    return reports


if __name__ == "__main__":
    main()

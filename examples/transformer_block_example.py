"""A transformer block around nn.MultiheadAttention: count fused sites by the report, never by op names.

The same block with nn.LayerNorm holds the op layer_norm as well, and no RMSNorm at all.

Run: python examples/transformer_block_example.py
"""

from __future__ import annotations

from running import CONVERSION, EXECUTOR, claim, predict, show

# isort: split

from collections import Counter
from typing import TYPE_CHECKING

import coremltools as ct
import torch
from rms_norms import EpsilonOutside
from torch import nn

import ane_rms
from harness.measure.metrics import measure

if TYPE_CHECKING:
    from collections.abc import Callable

BATCH, LENGTH, WIDTH, HEADS = 1, 128, 512, 8

REL_L2_LIMIT = 2e-3
"""A few roundings of float16 (2**-11 each) through one attention, a linear layer and two norms."""


class TransformerBlock(nn.Module):
    """Attention and a linear layer, each with a norm before and a residual around; x is (B, L, width)."""

    def __init__(self, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.before_attention = norm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
        self.before_linear = norm(WIDTH)
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return a tensor of x's shape."""
        normed = self.before_attention(x)
        x = x + self.attention(normed, normed, normed)[0]
        return x + self.linear(self.before_linear(x))


def convert(block: nn.Module) -> ct.models.MLModel:
    """Trace and convert for the Neural Engine.

    Without gradients nn.MultiheadAttention takes a fused path that coremltools does not know: so the trace is
    made with them, and not checked, since the check runs the block again without.
    """
    example = torch.zeros(BATCH, LENGTH, WIDTH)
    traced = torch.jit.trace(block, example, check_trace=False)
    return ane_rms.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=example.shape)],
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        **CONVERSION,
    )


def main() -> dict[str, tuple[ane_rms.FusionReport, int, float]]:
    """Return, by norm: the report, how often the program holds layer_norm, relative L2 against PyTorch."""
    torch.manual_seed(0)
    x = torch.randn(BATCH, LENGTH, WIDTH)
    results = {}
    print(f"shape {tuple(x.shape)}, executed by {EXECUTOR}")
    for norm, sites in ((EpsilonOutside, 2), (nn.LayerNorm, 0)):
        block = TransformerBlock(norm).eval()
        model = convert(block)
        report = ane_rms.report(model)
        main_function = model.get_spec().mlProgram.functions["main"]
        (body,) = main_function.block_specializations.values()
        layer_norms = Counter(op.type for op in body.operations)["layer_norm"]
        with torch.no_grad():
            expected = block(x).numpy()
        rel_l2 = measure(expected, predict(model, {"x": x.numpy()}))["rel_l2"]
        results[norm.__name__] = report, layer_norms, rel_l2
        print(f"\n{norm.__name__}: {len(report.fused)} sites fused, {layer_norms} ops layer_norm, ", end="")
        print(f"relative L2 {rel_l2:.1e}")
        show(report)
        claim(len(report.fused) == sites, f"{sites} sites of {norm.__name__} fused")
        claim(rel_l2 < REL_L2_LIMIT, f"the block with {norm.__name__} has PyTorch's values")
    return results


if __name__ == "__main__":
    main()

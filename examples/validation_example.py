"""Validate a conversion against PyTorch: three metrics, three shapes, and an input too large to square.

Run: python examples/validation_example.py
"""

from __future__ import annotations

from running import CONVERSION, EXECUTOR, claim, predict

# isort: split

from typing import TYPE_CHECKING, Any

import coremltools as ct
import torch
from rms_norms import MeanAndRoot, every_norm

import ane_rms
from harness.measure.metrics import measure

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

SHAPES = ((1, 128, 512), (2, 64, 256), (4, 32, 128))

SPIKE = 300.0
"""float16 holds it, but not its square: 90,000 is above 65,504, float16's largest number."""

REL_L2_LIMIT = 2e-3
"""Four roundings of float16 (2**-11 each)."""


def validate(module: nn.Module, x: torch.Tensor, convert: Callable[..., Any]) -> dict[str, float]:
    """Convert for the Neural Engine and compare one prediction with PyTorch's.

    Parameters
    ----------
    module: in eval mode.
    x: the input, float32.
    convert: ``ane_rms.convert`` or ``ct.convert``.

    Returns
    -------
    max_abs: the largest absolute difference.
    mean_rel: the mean of |difference| / (|expected| + 1e-8).
    rel_l2: the length of the difference relative to the length of what is expected.
    """
    model = convert(
        torch.jit.trace(module, x),
        inputs=[ct.TensorType(name="x", shape=x.shape)],
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        **CONVERSION,
    )
    metrics = measure(module(x).numpy(), predict(model, {"x": x.numpy()}))
    return {name: metrics[name] for name in ("max_abs", "mean_rel", "rel_l2")}


def line(name: str, shape: tuple[int, ...], metrics: dict[str, float]) -> str:
    """Return one row of the table."""
    return f"{name:22}{shape!s:15}" + "".join(f"{value:<10.1e}" for value in metrics.values())


def main() -> dict[tuple[str, tuple[int, ...]], dict[str, float]]:
    """Return the metrics by class and shape; ``spike, ...`` are those of a row with one large element."""
    generator = torch.Generator().manual_seed(0)
    results = {}
    print(f"executed by {EXECUTOR}")
    print(f"{'':22}{'shape':15}{'max abs':10}{'mean rel':10}{'rel L2':10}")
    for shape in SHAPES:
        x = torch.randn(shape, generator=generator)
        for name, module in every_norm(shape[-1]).items():
            results[name, shape] = metrics = validate(module, x, ane_rms.convert)
            print(line(name, shape, metrics))
            claim(metrics["rel_l2"] < REL_L2_LIMIT, f"{name}, {shape}: PyTorch's values")

    shape = SHAPES[0]
    x = torch.randn(shape, generator=generator)
    x[..., 0] = SPIKE
    for name, convert in (("spike, fused", ane_rms.convert), ("spike, plain", ct.convert)):
        results[name, shape] = metrics = validate(MeanAndRoot(shape[-1]).eval(), x, convert)
        print(line(name, shape, metrics))
    claim(results["spike, fused", shape]["rel_l2"] < REL_L2_LIMIT, "the fused form withstands the spike")
    return results


if __name__ == "__main__":
    main()

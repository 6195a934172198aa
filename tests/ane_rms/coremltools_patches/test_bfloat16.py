"""Modules of bfloat16: every weight is what it was, and the norm is found."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.torch import utils
from coremltools.converters.mil.frontend.torch.converter import TorchConverter

import ane_rms
from ane_rms.coremltools_patches.bfloat16 import patches
from harness.export.frontends import run
from tests.mil_tools import NE, UNITS, inputs, op_counts, options, predict

SHAPE = (2, 8, 64)


class Block(torch.nn.Module):
    """A projection and RMSNorm as transformers writes it: in float32, back to the module's type, times gamma."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        self.up = torch.nn.Linear(64, 64, bias=False)
        self.up.weight.data = torch.randn(64, 64, generator=generator) / 8
        self.gamma = torch.nn.Parameter(torch.rand(64, generator=generator) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x's shape."""
        h = self.up(x)
        wide = h.to(torch.float32)
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.gamma * wide.to(h.dtype)


@pytest.fixture(scope="module")
def block():
    return Block().eval().requires_grad_(requires_grad=False).bfloat16()


def program_of(block, frontend):
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1)).bfloat16()
    return run(frontend, block, (x,))


@pytest.mark.parametrize("frontend", ["trace", "export"])
def test_a_bfloat16_module_converts_and_fuses(block, frontend):
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32)
    given = {"inputs": inputs(SHAPE)} if frontend == "trace" else {}
    model = ane_rms.convert(program_of(block, frontend), **given, **arguments)
    (site,) = ane_rms.report(model).fused
    assert site.has_gamma
    assert op_counts(model)["layer_norm"] == 1
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2))
    expected = Block.forward(block.float(), x).numpy()  # the weights of bfloat16, computed in float32
    block.bfloat16()
    np.testing.assert_allclose(predict(model, x.numpy()), expected, rtol=2e-5, atol=2e-5)  # float32, 64 terms


@pytest.mark.parametrize("units", UNITS, ids=str)
def test_every_compute_unit_takes_it(block, units):
    model = ane_rms.convert(program_of(block, "trace"), inputs=inputs(SHAPE), **options(units))
    assert len(ane_rms.report(model).fused) == (units is NE)


def test_coremltools_is_put_back(block):
    before = TorchConverter._add_const
    ane_rms.convert(program_of(block, "trace"), inputs=inputs(SHAPE), **options(NE))
    assert TorchConverter._add_const is before
    assert 15 not in utils.NUM_TO_TORCH_DTYPE
    assert torch.bfloat16 not in utils.TORCH_DTYPE_TO_NUM
    with pytest.raises(TypeError, match="BFloat16"):
        ct.convert(program_of(block, "trace"), inputs=inputs(SHAPE), **options(NE))


class Scaled(torch.nn.Module):
    """A buffer and a constant made in ``forward``, in the module's type."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("shift", torch.full((64,), 0.25))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x's shape."""
        return x * torch.tensor(64**0.5, dtype=x.dtype) + self.shift


@pytest.mark.parametrize("frontend", ["trace", "export"])
def test_buffers_and_constants_are_widened(frontend):
    example = torch.zeros(SHAPE, dtype=torch.bfloat16)
    given = {"inputs": inputs(SHAPE)} if frontend == "trace" else {}
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17, compute_precision=ct.precision.FLOAT32)
    model = ane_rms.convert(run(frontend, Scaled().bfloat16().eval(), (example,)), **given, **arguments)
    x = np.ones(SHAPE, np.float32)
    np.testing.assert_array_equal(predict(model, x), np.full(SHAPE, 8.25, np.float32))


def test_a_bfloat16_buffer_of_a_float32_module():
    module = Scaled()
    module.shift = module.shift.bfloat16()
    model = ane_rms.convert(torch.jit.trace(module, torch.zeros(SHAPE)), inputs=inputs(SHAPE), **options(NE))
    assert predict(model, np.ones(SHAPE, np.float32)).flat[0] == 8.25


@pytest.mark.parametrize("patch", patches(), ids=lambda patch: patch.name)
def test_coremltools_holds_what_a_patch_was_written_against(patch):
    assert patch.fits

"""``torch.nn.RMSNorm``: the epsilon the user wrote, ``eps=None`` included, and modules of half precision."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

import ane_rms
from tests.mil_tools import NE, inputs, op_types, options, predict, regimes, rms_norm64, torch_program

SHAPE = (2, 8, 64)
FLOAT32 = {"minimum_deployment_target": ct.target.iOS17, "compute_precision": ct.precision.FLOAT32}


def module(shape=(64,), eps=1e-6, *, affine=True):
    norm = torch.nn.RMSNorm(shape, eps=eps, elementwise_affine=affine)
    if affine:
        norm.weight.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(2))
    return norm.requires_grad_(False)


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("eps", [1e-6, 1e-5, None])
def test_epsilon_is_the_users_and_values_are_torchs(eps, affine, frontend):
    norm = module(eps=eps, affine=affine)
    model = ane_rms.convert(torch_program(norm, SHAPE, frontend), inputs=inputs(SHAPE), **options(NE, **FLOAT32))
    (site,) = ane_rms.report(model).fused
    assert site.epsilon == pytest.approx(np.finfo(np.float32).eps if eps is None else eps, rel=1e-6)
    x = regimes(SHAPE)
    np.testing.assert_allclose(predict(model, x), norm(torch.from_numpy(x)).numpy(), rtol=2e-6, atol=2e-6)


def test_a_float16_module_converts():
    norm = module().half()
    example = torch.zeros(SHAPE, dtype=torch.float16)
    program = torch.jit.trace(norm, example)
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    model = ane_rms.convert(program, inputs=inputs(SHAPE, np.float16), **arguments)
    assert len(ane_rms.report(model).fused) == 1
    x = regimes(SHAPE).astype(np.float16)
    expected = rms_norm64(x, norm.weight.numpy(), 1e-6)
    np.testing.assert_allclose(predict(model, x, "fp16"), expected, rtol=2e-3, atol=2e-3)  # roundings of float16


def test_several_axes_are_read_for_any_axes_alone():
    norm = module((8, 64))
    program = torch_program(norm, SHAPE)
    assert ane_rms.report(ane_rms.convert(program, inputs=inputs(SHAPE), **options(NE, **FLOAT32))).fused == ()
    model = ane_rms.convert(program, inputs=inputs(SHAPE), axes="any", **options(NE, **FLOAT32))
    (site,) = ane_rms.report(model).fused
    assert site.axes == (-2, -1)
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    np.testing.assert_allclose(predict(model, x), norm(torch.from_numpy(x)).numpy(), rtol=2e-6, atol=2e-6)


def test_a_pass_pipeline_alone_fuses_what_coremltools_wrote():
    model = ct.convert(
        torch_program(module(), SHAPE),
        inputs=inputs(SHAPE),
        pass_pipeline=ane_rms.pipeline(NE),
        **options(NE, **FLOAT32),
    )
    (site,) = ane_rms.report(model).fused
    assert (site.spelling, site.epsilon) == ("max_abs_mean_sqrt_div", 1e-6)


@pytest.mark.parametrize("shape", [(8, 64), (64,)])
def test_a_norm_that_is_not_fused_is_what_torch_computes(shape):
    """Over two axes, or over one whose size is not known until run time: in float16, small, large and zero rows."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = module(shape)

        def forward(self, x):
            return self.norm(x if len(shape) == 2 else x.reshape(x.shape[0], x.shape[1], -1))

    given = (2, 8, 64) if len(shape) == 2 else (2, 8, 4, 16)
    size = given if len(shape) == 2 else (2, ct.RangeDim(1, 9, default=8), 4, 16)
    x = regimes((2, 8, 64)).reshape(given)
    net = Net().eval()
    arguments = {"minimum_deployment_target": ct.target.iOS17, "compute_precision": ct.precision.FLOAT32}
    model = ane_rms.convert(torch_program(net, given), inputs=[ct.TensorType("x", size)], **options(NE, **arguments))
    assert ane_rms.report(model).fused == ()
    np.testing.assert_allclose(predict(model, x), net(torch.from_numpy(x)).numpy(), rtol=2e-6, atol=2e-6)


def test_a_translation_of_the_users_own_is_left_in_place(monkeypatch, caplog):
    seen = []
    theirs = _TORCH_OPS_REGISTRY.name_to_func_mapping["rms_norm"]

    def own(context, node):
        seen.append(node.name)
        theirs(context, node)

    monkeypatch.setitem(_TORCH_OPS_REGISTRY.name_to_func_mapping, "rms_norm", own)
    with caplog.at_level("WARNING", logger="coremltools"):
        model = ane_rms.convert(torch_program(module(), SHAPE), inputs=inputs(SHAPE), **options(NE, **FLOAT32))
    assert seen
    assert len(ane_rms.report(model).fused) == 1
    assert "rms_norm is not the translation known" in caplog.text


def test_the_registry_is_put_back_also_after_an_exception():
    before = _TORCH_OPS_REGISTRY.name_to_func_mapping["rms_norm"]
    ane_rms.convert(torch_program(module(), SHAPE), inputs=inputs(SHAPE), **options(NE, **FLOAT32))
    assert _TORCH_OPS_REGISTRY.name_to_func_mapping["rms_norm"] is before
    with pytest.raises(ValueError, match="inputs"):
        ane_rms.convert(torch_program(module(), SHAPE), **options(NE))
    assert _TORCH_OPS_REGISTRY.name_to_func_mapping["rms_norm"] is before


def test_other_compute_units_keep_coremltools_reading():
    model = ane_rms.convert(
        torch_program(module(), SHAPE), inputs=inputs(SHAPE), **options(ct.ComputeUnit.CPU_ONLY, **FLOAT32)
    )
    assert "reduce_max" in op_types(model)

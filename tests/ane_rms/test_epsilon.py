"""Epsilon after the float16 cast: each lowered norm keeps its own, and no other layer norm is touched."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from tests.mil_tools import NE, options

WIDTH = 64
TARGETS = [ct.target.iOS16, ct.target.iOS17, ct.target.iOS18]


def program(epsilon: float, target: object):
    """Return an RMSNorm, and a LayerNorm that is called what the lowering would call the RMSNorm's own."""
    shape = (2, WIDTH)

    @mb.program(input_specs=[mb.TensorSpec(shape=shape), mb.TensorSpec(shape=shape)], opset_version=target)
    def made(x, z):
        other = mb.layer_norm(x=z, axes=[-1], epsilon=np.float32(1e-1), name="y_layer_norm")
        mean = mb.reduce_mean(x=mb.square(x=x), axes=[-1], keep_dims=True)
        inverse = mb.rsqrt(x=mb.add(x=mean, y=np.float32(epsilon)), epsilon=np.float32(1e-30))
        return mb.add(x=mb.mul(x=x, y=inverse, name="y"), y=other)

    return made


def epsilons(model):
    """Return the epsilon of each layer norm, rounded to four digits, ascending."""
    found = model._mil_program.functions["main"].find_ops(op_type="layer_norm")
    return sorted(float(f"{float(op.epsilon.val):.4g}") for op in found)


@pytest.mark.parametrize("lean", [False, True], ids=["plain", "lean"])
@pytest.mark.parametrize("lowering", ["layer_norm", "layer_norm_affine"])
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_lowered_norm_keeps_its_epsilon_and_the_users_layer_norm_its_own(target, lowering, lean):
    made = ane_rms.convert(
        program(1e-6, target), lowering=lowering, lean=lean, **options(NE, minimum_deployment_target=target)
    )
    rounded = 1.013e-06  # float16(1e-6): before iOS 17 the type of epsilon is that of x
    assert epsilons(made) == [1e-6 if target >= ct.target.iOS17 else rounded, 0.09998]


def test_a_pipeline_used_twice_carries_nothing_over():
    chosen = ane_rms.pipeline(NE)
    kept = options(NE, minimum_deployment_target=ct.target.iOS17)
    first, second = (
        ct.convert(program(epsilon, ct.target.iOS17), pass_pipeline=chosen, **kept) for epsilon in (1e-6, 1e-3)
    )
    assert epsilons(first) == [1e-6, 0.09998]
    assert epsilons(second) == [1e-3, 0.09998]

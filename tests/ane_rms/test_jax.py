"""Programs of JAX, through stablehlo-coreml where it is installed (``pip install -e '.[jax]'``)."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest

import ane_rms
from tests.ane_rms.finished import rel_l2
from tests.mil_tools import NE, options, predict

pytestmark = pytest.mark.slow

D = 64
SHAPE = (1, 8, D)
EPSILON = 1e-6


def of_jax(function):
    """Return a function of JAX as a MIL program."""
    pytest.importorskip("stablehlo_coreml", reason="stablehlo-coreml converts JAX's programs, and is not installed")
    import jax
    from jax._src.interpreters import mlir
    from jax._src.lib.mlir import ir
    from stablehlo_coreml.converter import convert

    exported = jax.export.export(jax.jit(function))(jax.ShapeDtypeStruct(SHAPE, np.float32))
    context = mlir.make_ir_context()
    with context:
        module = ir.Module.parse(exported.mlir_module(), context=context)
    return convert(module, minimum_deployment_target=ct.target.iOS18)


def converted(function):
    arguments = options(NE, minimum_deployment_target=ct.target.iOS18, compute_precision=ct.precision.FLOAT32)
    return ane_rms.convert(of_jax(function), **arguments)


def gamma(np_):
    return np_.linspace(0.5, 1.5, D)


def mean(np_, x, **more):
    return np_.mean(x * x, -1, **{"keepdims": True, **more}) + EPSILON


def layer_normed(np_, row):
    centred = row - np_.mean(row, -1, keepdims=True)
    return centred / np_.sqrt(np_.mean(centred * centred, -1, keepdims=True) + EPSILON)


def twice(np_, x):
    def norm(x):
        return x / np_.sqrt(mean(np_, x)) * gamma(np_)

    return norm(np_.tanh(norm(x)))


def by_hand(np_, x):
    return np_.split(layer_normed(np_, np_.concatenate([-x, x], -1)), 2, -1)[1] * gamma(np_)


def by_signs(np_, x):
    row = (x[..., None, :] * np_.array([[1.0], [-1.0]], np.float32)).reshape(1, 8, 2 * D)
    return layer_normed(np_, row)[..., :D] * gamma(np_)


FORMS = {
    "two norms": (twice, 2, 0),
    "the axis put back": (lambda np_, x: x / np_.sqrt(mean(np_, x, keepdims=False))[..., None], 1, 0),
    "the mean broadcast": (lambda np_, x: x / np_.sqrt(np_.broadcast_to(mean(np_, x), SHAPE)), 1, 0),
    "a power": (lambda np_, x: x * np_.power(mean(np_, x), -0.5), 1, 0),
    "exp of a logarithm": (lambda np_, x: x * np_.exp(-0.5 * np_.log(mean(np_, x))), 1, 0),
    "an L2 norm": (lambda np_, x: x / np_.maximum(np_.linalg.norm(x, axis=-1, keepdims=True), 1e-12), 1, 0),
    "einsum": (lambda np_, x: x / np_.sqrt(np_.einsum("bsd,bsd->bs", x, x)[..., None] / D + EPSILON), 1, 0),
    "lowered by hand": (by_hand, 0, 1),
    "lowered by signs": (by_signs, 0, 1),
    "a LayerNorm": (lambda np_, x: layer_normed(np_, x) * gamma(np_), 0, 0),
}
"""Functions of numpy or jax.numpy, the norms that fuse, and those that stand lowered."""


@pytest.mark.parametrize("name", FORMS)
def test_a_function_of_jax_converts_with_the_counts_expected(name):
    function, fused, lowered = FORMS[name]
    pytest.importorskip("jax")
    import jax.numpy as jnp

    model = converted(lambda x: function(jnp, x))
    report = ane_rms.report(model)
    assert (len(report.fused), len(report.lowered), report.missed) == (fused, lowered, ())
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    assert rel_l2(predict(model, x), function(np, x.astype(np.float64))) < 1e-5

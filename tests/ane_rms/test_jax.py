"""Programs of JAX, through stablehlo-coreml where it is installed (``pip install stablehlo-coreml jax``)."""

from __future__ import annotations

import coremltools as ct
import pytest

import ane_rms
from tests.mil_tools import NE, options

pytestmark = pytest.mark.slow


def test_a_network_of_jax_has_its_norms_fused():
    pytest.importorskip("stablehlo_coreml", reason="stablehlo-coreml converts JAX's programs, and is not installed")
    import jax
    import jax.numpy as jnp
    from jax._src.interpreters import mlir
    from jax._src.lib.mlir import ir
    from stablehlo_coreml.converter import convert

    gamma = jnp.linspace(0.5, 1.5, 64)

    def norm(x):
        return x * jax.lax.rsqrt(jnp.mean(x * x, -1, keepdims=True) + 1e-6) * gamma

    exported = jax.export.export(jax.jit(lambda x: norm(jnp.tanh(norm(x)))))(
        jax.ShapeDtypeStruct((1, 8, 64), jnp.float32)
    )
    context = mlir.make_ir_context()
    with context:
        module = ir.Module.parse(exported.mlir_module(), context=context)
    program = convert(module, minimum_deployment_target=ct.target.iOS18)
    report = ane_rms.report(ane_rms.convert(program, **options(NE, minimum_deployment_target=ct.target.iOS18)))
    assert [site.epsilon for site in report.fused] == pytest.approx([1e-6, 1e-6])
    assert [site.has_gamma for site in report.fused] == [True, True]
    assert report.missed == ()

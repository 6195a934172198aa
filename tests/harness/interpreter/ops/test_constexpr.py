"""Compressed weights against coremltools' own decompression, and through whole compressed models."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil.ops.defs.iOS16.constexpr_ops import (
    constexpr_affine_dequantize,
    constexpr_lut_to_dense,
    constexpr_sparse_to_dense,
)
from coremltools.converters.mil.mil.ops.defs.iOS18 import compression

from harness.interpreter import ReferenceModel

ULP = 2.0**-10  # one rounding here, one a step in coremltools


@pytest.mark.parametrize("zero_point", [np.int8(3), np.array([1, -2, 3], np.int8)])
@pytest.mark.parametrize("axis", [0, -2])
def test_affine_dequantize(run_op: Any, rng: np.random.Generator, zero_point: Any, axis: int) -> None:
    data = rng.integers(-128, 128, size=(3, 3, 4)).astype(np.int8)
    scale = np.array([0.5, 1.0, 0.25], np.float16)
    expected = constexpr_affine_dequantize.decompress(data, np.asarray(zero_point), scale, axis)
    given = {"quantized_data": data, "zero_point": zero_point, "scale": scale, "axis": axis}
    result = run_op("constexpr_affine_dequantize", opset=16, out="fp16", precision="fp16", **given)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 6, 8])
def test_packed_look_up(run_op: Any, rng: np.random.Generator, bits: int) -> None:
    shape = (3, 7)
    indices = rng.integers(0, 2**bits, size=shape)
    packed = np.packbits(
        np.unpackbits(indices.astype(np.uint8)[..., None], axis=-1, bitorder="little")[..., :bits].reshape(-1),
        bitorder="little",
    )
    lut = rng.normal(size=2**bits).astype(np.float16)
    expected = constexpr_lut_to_dense.decompress(lut, packed, np.array(shape))
    given = {"indices": packed, "lut": lut, "shape": np.array(shape, np.int32)}
    result = run_op("constexpr_lut_to_dense", opset=16, out="fp16", precision="fp16", **given)
    np.testing.assert_array_equal(result, expected)
    np.testing.assert_array_equal(result, lut[indices])


def test_packed_sparse(run_op: Any) -> None:
    mask, values = np.array([0b1100, 0b1], np.uint8), np.array([1.0, 2.0, 3.0], np.float16)
    expected = constexpr_sparse_to_dense.decompress(values, mask, np.array([2, 8]))
    given = {"nonzero_data": values, "mask": mask, "shape": np.array([2, 8], np.int32)}
    result = run_op("constexpr_sparse_to_dense", opset=16, out="fp16", precision="fp16", **given)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("blocks", [(1, 1), (4, 1), (2, 3), (4, 6)])
@pytest.mark.parametrize("with_offset", [False, True])
def test_blockwise_shift_scale(
    run_op: Any, rng: np.random.Generator, blocks: Any, with_offset: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.interpreter.ops.constexpr.SLAB", 12)  # several slabs of rows
    data = rng.integers(-8, 8, size=(8, 6)).astype(np.int8)
    scale = rng.uniform(0.1, 1, size=blocks).astype(np.float16)
    offset = rng.integers(-8, 8, size=blocks).astype(np.int8) if with_offset else None
    expected = compression.constexpr_blockwise_shift_scale.decompress(data, scale, offset)
    given = {"data": data, "scale": scale, **({"offset": offset} if with_offset else {})}
    result = run_op("constexpr_blockwise_shift_scale", out="fp16", precision="fp16", **given)
    np.testing.assert_allclose(result, expected, rtol=2 * ULP)


@pytest.mark.parametrize(
    ("groups", "length", "axis"), [((1, 1), 1, None), ((2, 3), 1, None), ((2, 1), 3, 0), ((1, 2), 2, 1)]
)
def test_look_up_by_blocks_and_vectors(
    run_op: Any, rng: np.random.Generator, groups: Any, length: int, axis: Any
) -> None:
    indices = rng.integers(0, 4, size=(4, 6)).astype(np.uint8)
    lut = rng.normal(size=(*groups, 4, length)).astype(np.float16)
    expected = compression.constexpr_lut_to_dense.decompress(indices, lut, axis)
    given = {"indices": indices, "lut": lut, **({} if axis is None else {"vector_axis": axis})}
    result = run_op("constexpr_lut_to_dense", out="fp16", precision="fp16", **given)
    np.testing.assert_array_equal(result, expected)


def test_sparse_combinations(run_op: Any, rng: np.random.Generator) -> None:
    mask = rng.integers(0, 2, size=(4, 6)).astype(np.uint8)
    count = int(mask.sum())
    indices = rng.integers(0, 4, size=count).astype(np.uint8)
    lut = rng.normal(size=(2, 1, 4, 1)).astype(np.float16)
    expected = compression.constexpr_lut_to_sparse.decompress(mask, indices, lut, None)
    given = {"indices_mask": mask, "indices_nonzero_data": indices, "lut": lut}
    result = run_op("constexpr_lut_to_sparse", out=("uint1", "fp16"), precision="fp16", **given)
    np.testing.assert_array_equal(result[0], expected[0])
    np.testing.assert_array_equal(result[1], expected[1])
    data, scale = rng.integers(-8, 8, size=count).astype(np.int8), np.array([[0.5], [2.0]], np.float16)
    expected = compression.constexpr_sparse_blockwise_shift_scale.decompress(mask, data, scale, None)
    given = {"data_mask": mask, "nonzero_data": data, "scale": scale}
    result = run_op("constexpr_sparse_blockwise_shift_scale", out=("uint1", "fp16"), precision="fp16", **given)
    np.testing.assert_array_equal(result[1], expected[1])
    dense = run_op("constexpr_sparse_to_dense", nonzero_data=result[1], mask=mask, out="fp16", precision="fp16")
    np.testing.assert_array_equal(dense[mask == 1], result[1])


@pytest.fixture(scope="module")
def perceptron() -> Any:
    """Return a two-layer module, its input, and a function converting it for a target."""
    generator = torch.Generator().manual_seed(5)
    module = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 32)).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    x = torch.randn(2, 64, generator=generator)

    def convert(target: Any) -> Any:
        return ct.convert(
            torch.jit.trace(module, x),
            inputs=[ct.TensorType("x", tuple(x.shape))],
            minimum_deployment_target=target,
            skip_model_load=True,
        )

    return module, x, convert


def quantize(mode: str, dtype: str, granularity: str) -> Any:
    config = cto.OpLinearQuantizerConfig(
        mode=mode, dtype=dtype, granularity=granularity, block_size=32, weight_threshold=0
    )
    return lambda model: cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=config))


def palettize(bits: int, **kwargs: Any) -> Any:
    config = cto.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=0, **kwargs)
    return lambda model: cto.palettize_weights(model, cto.OptimizationConfig(global_config=config))


def prune() -> Any:
    config = cto.OpMagnitudePrunerConfig(target_sparsity=0.3, weight_threshold=0)
    return lambda model: cto.prune_weights(model, cto.OptimizationConfig(global_config=config))


COMPRESSIONS = {
    "int8 iOS16": (ct.target.iOS16, quantize("linear_symmetric", "int8", "per_channel"), 0.02),
    "uint8 iOS17": (ct.target.iOS17, quantize("linear", "uint8", "per_tensor"), 0.03),
    "int4 blocks iOS18": (ct.target.iOS18, quantize("linear_symmetric", "int4", "per_block"), 0.2),
    "6 bits iOS16": (ct.target.iOS16, palettize(6), 0.1),
    "4 bits by group iOS18": (ct.target.iOS18, palettize(4, granularity="per_grouped_channel", group_size=16), 0.3),
    "pruned iOS16": (ct.target.iOS16, prune(), 0.4),
    "pruned iOS18": (ct.target.iOS18, prune(), 0.4),
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_compressed_models_stay_near_the_module(perceptron: Any, name: str) -> None:
    module, x, convert = perceptron
    target, compress, tolerance = COMPRESSIONS[name]
    model = compress(convert(target))
    (result,) = ReferenceModel(model, "fp16").predict({"x": x.numpy()}).values()
    expected = module(x).detach().numpy()
    deviation = np.linalg.norm(result.astype(np.float64) - expected) / np.linalg.norm(expected)
    assert 0 < deviation < tolerance  # what the compression itself costs


def test_pruned_and_quantised_together(perceptron: Any) -> None:
    module, x, convert = perceptron
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=0))
    model = cto.linear_quantize_weights(prune()(convert(ct.target.iOS18)), config, joint_compression=True)
    (result,) = ReferenceModel(model, "fp16").predict({"x": x.numpy()}).values()
    expected = module(x).detach().numpy()
    assert np.linalg.norm(result - expected) / np.linalg.norm(expected) < 0.4

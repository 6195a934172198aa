"""Zoo programs whose weights coremltools.optimize has quantised, palettised or pruned run, and mean what it means.

Expected are the results of the same program with its weights spelled out again by coremltools' own decompression: they
are the same numbers, so the two runs differ in nothing.
"""

from __future__ import annotations

import functools

import coremltools.optimize.coreml as cto
import msgspec
import numpy as np
import pytest

from harness.convert.conversion import convert
from harness.export import export
from harness.interpreter import ReferenceModel
from harness.plan.variants import VARIANTS
from harness.zoo.catalog import load_zoo

ZOO = {key: msgspec.structs.replace(spec, activations="tame") for key, spec in load_zoo().items()}
"""Without massive channels: what is compared here is arithmetic, which these magnify."""


def quantised(model, **options):
    options = {"mode": "linear_symmetric", "weight_threshold": 512, **options}
    return cto.linear_quantize_weights(model, config(cto.OpLinearQuantizerConfig(**options)))


def palettised(model, **options):
    options = {"mode": "uniform", "nbits": 6, "weight_threshold": 512, **options}
    return cto.palettize_weights(model, config(cto.OpPalettizerConfig(**options)))


def pruned(model):
    # By threshold: by magnitude, coremltools 9.0 takes a percentile in float16, which ends at 65,504 weights.
    options = {"threshold": 0.006, "minimum_sparsity_percentile": 0.1, "weight_threshold": 512}
    return cto.prune_weights(model, config(cto.OpThresholdPrunerConfig(**options)))


def config(of_ops):
    return cto.OptimizationConfig(global_config=of_ops)


def asymmetric(model):
    return quantised(model, mode="linear")


def per_tensor_unsigned(model):
    return quantised(model, mode="linear", dtype="uint8", granularity="per_tensor")


def two_of_four_by_magnitude(model):
    return cto.prune_weights(model, config(cto.OpMagnitudePrunerConfig(n_m_ratio=(2, 4), weight_threshold=512)))


def blocks_of_int4(model):
    return quantised(model, dtype="int4", granularity="per_block", block_size=16)


def unsigned_blocks_of_int4(model):
    return quantised(model, mode="linear", dtype="uint4", granularity="per_block", block_size=16)


def grouped_channels(model):
    return palettised(model, nbits=4, granularity="per_grouped_channel", group_size=8)


def grouped_channels_with_scales(model):
    return palettised(model, nbits=3, granularity="per_grouped_channel", group_size=8, enable_per_channel_scale=True)


def a_quantised_table(model):
    of_tensors = {"granularity": "per_tensor", "weight_threshold": 512}
    chosen = config(cto.OpLinearQuantizerConfig(mode="linear_symmetric", **of_tensors))
    return cto.linear_quantize_weights(palettised(model, nbits=4), chosen, joint_compression=True)


def pruned_then_quantised(model):
    chosen = config(cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=512))
    return cto.linear_quantize_weights(two_of_four_by_magnitude(model), chosen, joint_compression=True)


def pruned_then_palettised(model):
    chosen = config(cto.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=512))
    return cto.palettize_weights(two_of_four_by_magnitude(model), chosen, joint_compression=True)


PLAIN = {
    quantised: {"constexpr_affine_dequantize"},
    palettised: {"constexpr_lut_to_dense"},
    pruned: {"constexpr_sparse_to_dense"},
}
"""Compressions run on every model, and the ops that they leave in a program."""

OTHERS = {
    asymmetric: ("", {"constexpr_affine_dequantize"}),
    per_tensor_unsigned: ("", {"constexpr_affine_dequantize"}),
    two_of_four_by_magnitude: ("", {"constexpr_sparse_to_dense"}),
    blocks_of_int4: ("iOS18", {"constexpr_blockwise_shift_scale"}),
    unsigned_blocks_of_int4: ("iOS18", {"constexpr_blockwise_shift_scale"}),
    grouped_channels: ("iOS18", {"constexpr_lut_to_dense"}),
    grouped_channels_with_scales: ("iOS18", {"constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"}),
    a_quantised_table: ("iOS18", {"constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"}),
    pruned_then_quantised: ("iOS18", {"constexpr_sparse_to_dense", "constexpr_sparse_blockwise_shift_scale"}),
    pruned_then_palettised: ("iOS18", {"constexpr_sparse_to_dense", "constexpr_lut_to_sparse"}),
}
"""The rest, run on a few models: the target they need, and the ops they leave."""

QUICK = ("llama", "gemma3_text")
FEW = ("llama", "mamba", "t5_encoder", "lfm2", "mixtral")


def cases(keys, quick, compressions):
    return [
        pytest.param(key, compress, id=f"{key}-{compress.__name__}", marks=[] if key in quick else [pytest.mark.slow])
        for key in keys
        for compress in compressions
    ]


@pytest.mark.parametrize(("key", "compress"), cases([key for key in ZOO if not ZOO[key].unconvertible], QUICK, PLAIN))
def test_a_compressed_model_runs(key, compress):
    check(key, compress, "", PLAIN[compress])


@pytest.mark.parametrize(("key", "compress"), cases([key for key in FEW if key in ZOO], QUICK[:1], OTHERS))
def test_every_form_of_compressed_weights_runs(key, compress):
    check(key, compress, *OTHERS[compress])


def check(key, compress, target, expected_ops):
    inputs, model = converted(key, target)
    smaller = compress(model)
    compressed = ReferenceModel(smaller, "fp16")
    assert expected_ops <= {op.op_type for op in compressed.function.body.ops}
    (actual,) = compressed.predict(inputs).values()
    (spelled_out,) = ReferenceModel(cto.decompress_weights(smaller), "fp16").predict(inputs).values()
    np.testing.assert_array_equal(actual, spelled_out)
    assert np.isfinite(actual).all()


@functools.lru_cache(maxsize=2)
def converted(key, target):
    exported = export(ZOO[key])
    return exported.inputs, convert(exported, VARIANTS["on"], at_least=target).model

"""Zoo programs whose weights coremltools.optimize has quantised, palettised or pruned run, near the plain ones."""

from __future__ import annotations

import coremltools as ct
import coremltools.optimize.coreml as cto
import numpy as np
import pytest

from harness.convert import convert
from harness.export import export
from harness.interpreter import ReferenceModel
from harness.variants import VARIANTS
from harness.zoo import load_zoo

ZOO = load_zoo()


def quantised(model):
    config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=512)
    return cto.linear_quantize_weights(model, cto.OptimizationConfig(global_config=config))


def palettised(model):
    config = cto.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=512)
    return cto.palettize_weights(model, cto.OptimizationConfig(global_config=config))


def pruned(model):
    # By threshold: by magnitude, coremltools 9.0 takes a percentile in float16, which ends at 65,504 weights.
    config = cto.OpThresholdPrunerConfig(threshold=0.006, minimum_sparsity_percentile=0.1, weight_threshold=512)
    return cto.prune_weights(model, cto.OptimizationConfig(global_config=config))


LIMITS = {quantised: 0.05, palettised: 0.2, pruned: 0.6}
"""Relative L2 that the loss of weight precision may cost the logits of a model of random weights."""

QUICK = ("llama", "gemma3_text")
CASES = [
    pytest.param(key, compress, id=f"{key}-{compress.__name__}", marks=[] if key in QUICK else [pytest.mark.slow])
    for key in ZOO
    if not ZOO[key].unconvertible
    for compress in LIMITS
]


@pytest.mark.parametrize(("key", "compress"), CASES)
def test_a_compressed_model_runs(key, compress):
    exported = export(ZOO[key])
    model = convert(exported, VARIANTS["on"]).model
    (plain,) = ReferenceModel(model, "fp16").predict(exported.inputs).values()
    smaller = compress(model)
    kinds = {op.op_type for op in ReferenceModel(smaller).function.body.ops}
    (actual,) = ReferenceModel(smaller, "fp16").predict(exported.inputs).values()
    assert any(kind.startswith("constexpr_") for kind in kinds) or _smaller(smaller, model)
    assert np.linalg.norm(actual - plain) / np.linalg.norm(plain) < LIMITS[compress]


def _smaller(one: ct.models.MLModel, other: ct.models.MLModel) -> bool:
    from pathlib import Path

    sizes = [Path(model.weights_dir, "weight.bin").stat().st_size for model in (one, other)]
    return sizes[0] < 0.9 * sizes[1]

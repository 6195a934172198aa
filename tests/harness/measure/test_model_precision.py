"""The float32 PyTorch model's logits: those of the run that listed the norms, where that was the same call."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.export import export
from harness.measure.model_precision import Trial
from harness.plan.shapes import Shape
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()


def runs(exported):
    """Return the trial, and how often the PyTorch model ran for it."""
    calls = []
    handle = exported.module.register_forward_hook(lambda *_: calls.append(None))
    trial = Trial.of(exported)
    handle.remove()
    return trial, len(calls)


@pytest.mark.quick
@pytest.mark.parametrize("key", ["llama", "t5_encoder", "t5_decoder"])
def test_a_model_of_fixed_length_runs_once_for_its_norms_and_its_logits(key):
    exported = export(ZOO[key])
    trial, times = runs(exported)
    assert times == 0
    with torch.inference_mode():
        again = exported.module(torch.from_numpy(exported.tokens)).numpy()[0]
    np.testing.assert_array_equal(trial.expected[0], again)


def test_other_runs_and_other_modules_are_run():
    llama = export(ZOO["llama"])
    prompts = (llama.tokens[:, :5], llama.tokens[:, 5:])
    assert runs(replace(llama, prompts=prompts))[1] == 2
    assert runs(export(ZOO["llama"], shape=Shape("decode", 32)))[1] == 1
    assert export(ZOO["phi3_longrope"]).logits is None  # listed with rotary tables

"""Every shape of a model gives the logits of one plain forward pass, and the same norms."""

from __future__ import annotations

import functools
from pathlib import Path

import coremltools as ct
import msgspec
import numpy as np
import pytest
import torch

import ane_rms
from harness.convert.conversion import convert
from harness.convert.norm_counts import lowered_sites
from harness.errors import UnsuitedShapeError
from harness.export import build, export, masks
from harness.export.rotary import RotaryTable, tabled
from harness.measure.feed import feed
from harness.plan.shapes import parse
from harness.plan.variants import VARIANTS
from harness.runtime.reference import ReferenceExecutor
from harness.zoo.catalog import load_zoo, select

ZOO = {key: msgspec.structs.replace(spec, activations="tame") for key, spec in load_zoo().items()}
"""Without massive channels: what is compared here is arithmetic, which these magnify."""
LENGTH = 32
REL_L2 = 1e-5  # float32 throughout: only the order of sums differs; 1e-6 is the most seen
FLOAT16_REL_L2 = 2e-2  # as for the fixed shape

NAMED = ["llama", "qwen3", "gemma3_text", "phi3"]
OTHERS = [spec.key for spec in select(ZOO, tier="quick") if spec.key not in NAMED]
CASES = [
    *(pytest.param(key, "decode") for key in NAMED),
    pytest.param("llama", "flexible"),
    pytest.param("gemma3_text", "both"),
    *(
        pytest.param(key, kind, marks=pytest.mark.slow)
        for key in NAMED
        for kind in ("flexible", "both")
        if (key, kind) not in {("llama", "flexible"), ("gemma3_text", "both")}
    ),
    *(pytest.param(key, kind, marks=pytest.mark.slow) for key in OTHERS for kind in ("decode", "flexible", "both")),
]


@functools.cache
def expected(key):
    """Return the plain network's logits under its own default masks, and the tokens."""
    tokens = export(ZOO[key], sequence_length=LENGTH).tokens
    with torch.no_grad():
        return build(ZOO[key])(input_ids=torch.from_numpy(tokens).long()).logits[0].numpy(), tokens


@functools.cache
def made(key, text):
    """Return a model in a shape, exported and converted at float32, every norm fused."""
    exported = export(ZOO[key], shape=parse(text))
    return exported, convert(exported, VARIANTS["on"], compute_precision="FLOAT32")


def relative(actual, wanted):
    return np.linalg.norm(actual - wanted) / np.linalg.norm(wanted)


def run(exported, converted, policy):
    executors = {one.name: ReferenceExecutor(converted, policy, one.name) for one in exported.functions}
    return feed(executors, exported.shape, exported.tokens)


@pytest.mark.parametrize(("key", "kind"), CASES)
def test_logits_are_those_of_one_forward_pass_and_every_norm_is_fused(key, kind):
    wanted, tokens = expected(key)
    exported, converted = made(key, f"{kind}:{LENGTH}")
    assert (exported.tokens == tokens).all()
    positions, logits = run(exported, converted, "fp32")
    assert set(positions) == set(range(LENGTH))
    assert relative(logits, wanted[positions]) < REL_L2
    norms = ZOO[key].expected_norms() * len(exported.functions)
    assert sum(call.kind == "rms_norm" for one in exported.functions for call in one.norms) == norms
    assert len(ane_rms.report(converted.model).fused) == lowered_sites(converted.program) == norms
    assert ane_rms.find(converted.program).fused == ()


@pytest.mark.parametrize("key", ["gemma3_text", "phi3"])
def test_the_window_matters_while_decoding(key, monkeypatch):
    assert ZOO[key].config().sliding_window < LENGTH
    monkeypatch.setattr(masks, "sliding", lambda queries, keys, _window: masks.causal(queries, keys))
    exported = export(ZOO[key], shape=parse(f"decode:{LENGTH}"))
    _, logits = run(exported, convert(exported, VARIANTS["on"], compute_precision="FLOAT32"), "fp32")
    assert relative(logits, expected(key)[0]) > 100 * REL_L2


@pytest.mark.parametrize(("key", "kind", "state"), [("llama", "decode", (2, 32)), ("gemma3_text", "both", (1, 32))])
def test_states_are_float16_and_updated_in_place(key, kind, state):
    _, converted = made(key, f"{kind}:{LENGTH}")
    spec = converted.model.get_spec()
    assert spec.specificationVersion >= ct.target.iOS18
    functions = spec.description.functions or [spec.description]
    assert len(functions) == (2 if kind == "both" else 1)
    heads, width = state
    for function in functions:
        states = {one.name: one.type.stateType.arrayType for one in function.state}
        assert set(states) == {f"{side}_{layer}" for side in ("keys", "values") for layer in (0, 1)}
        assert {tuple(array.shape) for array in states.values()} == {(1, heads, LENGTH, width)}
        assert {array.dataType for array in states.values()} == {ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16}
    for function in converted.program.functions.values():
        kinds = [op.op_type for op in function.operations]
        assert kinds.count("slice_update") == kinds.count("coreml_update_state") == 4


def test_two_functions_share_the_weights():
    one, two = (made("gemma3_text", f"{kind}:{LENGTH}")[1].model for kind in ("prefill", "both"))
    sizes = [Path(model.weights_dir, "weight.bin").stat().st_size for model in (one, two)]
    assert sizes[1] < 1.02 * sizes[0]


@pytest.mark.slow
def test_float16_is_as_near_in_every_shape():
    wanted, _ = expected("llama")
    for kind in ("decode", "both"):
        exported = export(ZOO["llama"], shape=parse(f"{kind}:{LENGTH}"))
        positions, logits = run(exported, convert(exported, VARIANTS["on"]), "fp16")
        assert relative(logits, wanted[positions]) < FLOAT16_REL_L2


def test_decoding_goes_on_from_a_state_that_a_shorter_prefill_left():
    """A prefill filled up with padding must leave nothing behind that decoding sees."""
    exported, converted = made("gemma3_text", f"both:{LENGTH}")
    executors = {one.name: ReferenceExecutor(converted, "fp32", one.name) for one in exported.functions}
    state = executors["decode"].make_state()
    head = np.pad(exported.tokens[:, :4], ((0, 0), (0, LENGTH // 2 - 4)), constant_values=7)
    executors["prefill"].predict({"input_ids": head, "position": np.array([0], np.int32)}, state)
    one = {"input_ids": exported.tokens[:, 4:5], "position": np.array([4], np.int32)}
    (logits,) = executors["decode"].predict(one, state).values()
    assert relative(logits[0, 0], expected("gemma3_text")[0][4]) < REL_L2


@pytest.mark.parametrize(
    "kind", ["decode", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("both", "flexible"))]
)
def test_torch_export_gives_the_same(kind):
    wanted, _ = expected("gemma3_text")
    exported = export(ZOO["gemma3_text"], frontend="export", shape=parse(f"{kind}:{LENGTH}"))
    converted = convert(exported, VARIANTS["on"], compute_precision="FLOAT32")
    positions, logits = run(exported, converted, "fp32")
    assert relative(logits, wanted[positions]) < REL_L2
    norms = ZOO["gemma3_text"].expected_norms() * len(exported.functions)
    assert len(ane_rms.report(converted.model).fused) == norms


@pytest.mark.parametrize(
    ("key", "kind", "reason"),
    [
        ("mamba", "decode", "linear_attention layers keep another state than keys and values"),
        ("lfm2", "both", "conv layers keep another state than keys and values"),
        ("t5_decoder", "decode", "only decoder-only models have this shape"),
        ("t5_encoder", "flexible", "only decoder-only models have this shape"),
        ("gemma3n_text", "decode", "layers that share keys and values"),
        ("mamba2", "flexible", "linear_attention layers are unrolled for one length"),
    ],
)
def test_a_shape_that_a_model_does_not_have(key, kind, reason):
    with pytest.raises(UnsuitedShapeError, match=f"^{key}: {kind}: .*{reason}"):
        export(ZOO[key], shape=parse(f"{kind}:8"))


@pytest.mark.parametrize("key", ["llama", "gemma3_text"])
def test_rotary_tables_are_what_the_module_computes_and_are_taken_out_again(key):
    network = build(ZOO[key])
    original, x = network.model.rotary_emb, torch.zeros(1, 1, 1)
    layer_types = ["sliding_attention", "full_attention"] if key == "gemma3_text" else []
    positions = torch.tensor([[5, 0, 11]])
    with tabled(network, 12):
        table = network.model.rotary_emb
        assert isinstance(table, RotaryTable)
        for rest in [[kind] for kind in layer_types] or [[]]:
            for made, wanted in zip(table(x, positions, *rest), original(x, positions, *rest), strict=True):
                assert torch.equal(made, wanted)
    assert network.model.rotary_emb is original

"""From a zoo entry to a program: the same model, its norms counted, ready to convert by both frontends."""

from __future__ import annotations

import functools
import warnings
from typing import TYPE_CHECKING

import coremltools as ct
import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from harness import export
from harness.convert import torch_ops
from harness.errors import ExportError, UnknownNameError
from harness.export import masks
from harness.export.wrappers import WRAPPERS, CausalModel
from harness.interpreter import ReferenceModel
from harness.zoo import catalog

if TYPE_CHECKING:
    from harness.export import ExportedModel

ZOO = {key: msgspec.structs.replace(spec, activations="tame") for key, spec in catalog.load_zoo().items()}
"""Without massive channels: what is compared here is arithmetic, which these magnify."""
CONVERTIBLE = [spec.key for spec in ZOO.values() if not spec.unconvertible]
QUICK = [spec.key for spec in catalog.select(ZOO, tier="quick")]
NIGHTLY = [spec.key for spec in catalog.select(ZOO, tier="nightly") if not spec.unconvertible]
EXPORTED = {"llama", "gemma3_text", "exaone4", "cohere"}  # one of each kind of mask and of norm
PROGRAMS = [
    pytest.param(key, frontend, marks=() if frontend == "trace" or key in EXPORTED else pytest.mark.slow)
    for key in QUICK
    for frontend in export.FRONTENDS
]
SLIDING = ["mistral", "gemma2", "gemma3_text", "phi3", "exaone4"]

# An MLModel holds its package in a temporary folder that goes when it goes.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

WRONG_EPSILON = 1e-2  # coremltools 9.0 adds the epsilon of torch.nn.RMSNorm after a rescale by the row's maximum
SAME_ARITHMETIC = 1e-5  # relative L2 between two runs of the same float32 model in another order of operations


LENGTH = 32

PLAIN = {
    "causal": lambda module, tokens: module.network(input_ids=tokens).logits,
    "encoder": lambda module, tokens: module.network(input_ids=tokens).last_hidden_state,
    "decoder": lambda module, tokens: (
        module.network(encoder_outputs=(module.encoded,), decoder_input_ids=tokens).logits
    ),
}


@functools.cache
def exported(key: str, frontend: str = "trace") -> ExportedModel:
    return export.export(ZOO[key], frontend=frontend)


@functools.cache
def wrapped(key: str) -> torch.nn.Module:
    """Return the eager module without tracing it."""
    return WRAPPERS[ZOO[key].wrapper](export.build(ZOO[key]), LENGTH)


def tokens_for(key: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, ZOO[key].config().vocab_size, (1, LENGTH), generator=generator, dtype=torch.int32)


def relative(actual: torch.Tensor, expected: torch.Tensor) -> float:
    return float((actual - expected).norm() / expected.norm())


def other_tokens(model: ExportedModel) -> torch.Tensor:
    """Tokens the frontend has not seen: what it froze by mistake shows."""
    return torch.from_numpy(model.inputs["input_ids"]).flip(1)


def run(model: ExportedModel, tokens: torch.Tensor) -> torch.Tensor:
    program = model.program.module() if model.frontend == "export" else model.program
    with torch.no_grad():
        logits: torch.Tensor = program(tokens)
    return logits


@pytest.mark.quick
@pytest.mark.parametrize("key", CONVERTIBLE)
def test_norms_executed_are_the_formula(key: str) -> None:
    spec = ZOO[key]
    calls = export.norms_executed(wrapped(key), {"input_ids": tokens_for(key).numpy()})
    found = [call for call in calls if call.kind == "rms_norm"]
    assert len(found) + spec.written_out_norms() == spec.expected_norms(spec.config()) == spec.expected_norms("quick")


@pytest.mark.parametrize("key", [key for key in QUICK if ZOO[key].control])
def test_controls_execute_layer_norms(key: str) -> None:
    assert {call.kind for call in exported(key).norms} == {"layer_norm"}


def test_norm_calls_say_where_and_what() -> None:
    first = exported("llama").norms[0]
    assert first.path == "model.layers.0.input_layernorm"
    assert first.class_name == "LlamaRMSNorm"
    assert first.shape == (1, 32, 128)
    assert first.has_gamma
    assert first.epsilon == pytest.approx(1e-5)


@pytest.mark.parametrize("key", CONVERTIBLE)
def test_wrapper_is_the_plain_model_under_its_default_mask(key: str) -> None:
    module, tokens = wrapped(key), tokens_for(key)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        expected = PLAIN[ZOO[key].wrapper](module, tokens.long())
        actual = module(tokens)
    assert relative(actual, expected) < SAME_ARITHMETIC


@pytest.mark.parametrize("key", SLIDING)
def test_sliding_window_matters_at_the_quick_size(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    windowed, tokens = wrapped(key), tokens_for(key)
    monkeypatch.setattr(masks, "sliding", lambda queries, keys, _window: masks.causal(queries, keys))
    unlimited = CausalModel(windowed.network, LENGTH)
    assert relative(unlimited(tokens), windowed(tokens)) > 100 * SAME_ARITHMETIC


@pytest.mark.parametrize(("key", "frontend"), PROGRAMS)
def test_program_is_the_eager_model(key: str, frontend: str) -> None:
    model = exported(key, frontend)
    tokens = other_tokens(model)
    assert relative(run(model, tokens), model.module(tokens)) < SAME_ARITHMETIC


@pytest.mark.quick
@pytest.mark.parametrize(
    ("key", "frontend"),
    [
        # What is traced is converted by the main job, whose tests have every key.
        pytest.param(key, frontend, marks=() if frontend == "export" and key in EXPORTED else pytest.mark.slow)
        for key in QUICK
        for frontend in export.FRONTENDS
    ],
)
def test_converts(key: str, frontend: str) -> None:
    model = exported(key, frontend)
    converted = convert(model, ct.target.iOS17)
    assert [item.name for item in converted.get_spec().description.input] == ["input_ids"]


@pytest.mark.slow
@pytest.mark.parametrize("frontend", export.FRONTENDS)
@pytest.mark.parametrize("key", NIGHTLY)
def test_nightly_converts_into_the_same_model(key: str, frontend: str) -> None:
    """Counts, tracing and coremltools' translation together, against the eager model on unseen tokens."""
    model = exported(key, frontend)
    tokens = other_tokens(model)
    program = ReferenceModel(convert(model, ct.target.iOS17, ct.precision.FLOAT32))
    (output,) = program.predict({"input_ids": tokens.numpy()}).values()
    tolerance = WRONG_EPSILON if key == "diffllama" else SAME_ARITHMETIC
    assert relative(torch.from_numpy(output), model.module(tokens)) < tolerance


@pytest.mark.slow
def test_unconvertible_models_still_cannot() -> None:
    """An entry that has come to convert is to lose its reason."""
    for spec in ZOO.values():
        if spec.unconvertible:
            with pytest.raises(Exception):  # noqa: B017, PT011  (whatever stops it)
                convert(export.export(spec), ct.target.iOS17)


def test_experts_are_those_of_the_plain_implementation() -> None:
    module, tokens = wrapped("mixtral"), tokens_for("mixtral")
    expected = module(tokens)
    module.network.set_experts_implementation("eager")
    try:
        actual = module(tokens)
    finally:
        module.network.set_experts_implementation("batched_mm")
    assert relative(actual, expected) < SAME_ARITHMETIC


@pytest.mark.parametrize("target", [ct.target.iOS15, ct.target.iOS16, ct.target.iOS18])
@pytest.mark.parametrize("frontend", export.FRONTENDS)
def test_converts_for_every_target(frontend: str, target: ct.target) -> None:
    convert(exported("qwen3", frontend), target)


def convert(
    model: ExportedModel, target: ct.target, precision: ct.precision = ct.precision.FLOAT16
) -> ct.models.MLModel:
    with torch_ops.registered(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # coremltools renames outputs such as '364'
        return ct.convert(
            model.program,
            inputs=model.ct_inputs(),
            convert_to="mlprogram",
            compute_units=ct.ComputeUnit.CPU_AND_NE,
            compute_precision=precision,
            skip_model_load=True,
            minimum_deployment_target=target,
        )


def test_another_sequence_length() -> None:
    model = export.export(ZOO["mistral"], sequence_length=12)
    tokens = other_tokens(model)
    assert tokens.shape == (1, 12)
    expected = model.module.network(input_ids=tokens.long()).logits
    assert relative(run(model, tokens), expected) < SAME_ARITHMETIC


def test_inputs() -> None:
    model = exported("llama")
    tokens = model.inputs["input_ids"]
    assert tokens.dtype == np.int32
    assert tokens.shape == (1, 32)
    assert tokens.min() >= 0
    assert tokens.max() < 512
    (declared,) = model.ct_inputs()
    assert (declared.name, tuple(declared.shape.shape)) == ("input_ids", (1, 32))


def test_unknown_frontend() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown frontend 'traced'\. Did you mean trace"):
        export.export(ZOO["llama"], frontend="traced")


def test_unknown_architecture() -> None:
    spec = msgspec.structs.replace(ZOO["llama"], architecture="LamaForCausalLM")
    with pytest.raises(ExportError, match="architecture: transformers has no 'LamaForCausalLM'"):
        export.build(spec)


def test_build_is_the_same_every_time_and_leaves_torch_alone() -> None:
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first = export.build(ZOO["qwen3"]).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(8)
    second = export.build(ZOO["qwen3"]).state_dict()
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_another_seed_gives_other_weights() -> None:
    spec = msgspec.structs.replace(ZOO["qwen3"], gamma_seed=99)
    first, second = export.build(ZOO["qwen3"]).state_dict(), export.build(spec).state_dict()
    name = "model.layers.0.mlp.up_proj.weight"
    assert not torch.equal(first[name], second[name])
    assert not torch.equal(first["model.norm.weight"], second["model.norm.weight"])


def test_build_is_float32_eval_and_without_gradients() -> None:
    network = export.build(ZOO["llama"])
    assert not network.training
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in network.parameters())


@pytest.mark.parametrize("key", CONVERTIBLE)
def test_gamma_is_off_its_neutral_value(key: str) -> None:
    """A gamma of exactly 1 (or 0, as 1 + w) is dropped by every converter, and the fixture would lie."""
    weights = {
        name: parameter
        for name, parameter in wrapped(key).network.named_parameters()
        if "norm" in name and name.endswith("weight")
    }
    assert weights or key in {"olmo", "nanochat"}  # whose norms have none
    for name, weight in weights.items():
        neutral = weight.mean().round()
        assert neutral in (0, 1), name
        assert (weight - neutral).abs().max() <= 0.5, name
        assert weight.std() > 0.2, name  # uniform over a unit interval: 0.289


def test_norms_of_different_layers_differ() -> None:
    layers = wrapped("llama").network.model.layers
    assert not torch.equal(layers[0].input_layernorm.weight, layers[1].input_layernorm.weight)


def test_failure_of_the_model_is_an_export_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nn.Linear, "forward", lambda _self, _x: torch.ones(3) @ torch.ones(4))
    with pytest.raises(ExportError, match="llama: trace: RuntimeError"):
        export.export(ZOO["llama"])

"""Small checkpoints, each broken in one way: no row of one may be called ok."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from harness.plan.run_plan import Options
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import inspect_checkpoint, spec_of
from tests.harness.zoo.checkpoints import change

UP, GAMMA, HEAD = "model.layers.0.mlp.up_proj.weight", "model.norm.weight", "lm_head.weight"
EMBEDDING, BIAS = "model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.bias"
TOKENS = 8
"""Number of tokens of a run."""


def save(folder, **more):
    """Save a checkpoint of two layers, with biases and a head of its own, and return its folder."""
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=96,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        attention_bias=True,
        max_position_embeddings=64,
        **more,
    )
    LlamaForCausalLM(config).eval().save_pretrained(folder)
    return folder


def spoil(folder, name, place, value):
    """Set a part of one tensor."""
    change(folder, lambda found: found[name].__setitem__(place, value))


def plan(folder, variants=("on",), **more):
    """Return the spec and the options of a run of a checkpoint."""
    checkpoint = inspect_checkpoint(str(folder))
    options = Options(variants, size="full", checkpoint=checkpoint, sequence_length=TOKENS, **more)
    return spec_of(checkpoint, load_zoo()), options


def _tokens(folder):
    from harness.export import export

    spec, options = plan(folder)
    return export(spec, size="full", checkpoint=options.checkpoint, sequence_length=TOKENS).runs[0]


def nan_weight(folder):
    spoil(save(folder), UP, (0, 0), math.nan)


def infinite_embedding_of_an_unused_token(folder):
    spoil(save(folder), EMBEDDING, 95, math.inf)


def nan_bias(folder):
    spoil(save(folder), BIAS, 0, math.nan)


def nan_in_tied_heads(folder):
    spoil(save(folder, tie_word_embeddings=True), EMBEDDING, (3, 0), math.nan)


def infinite_float16_weight(folder):
    save(folder)
    change(folder, lambda found: found.update({name: value.half() for name, value in found.items()}))
    spoil(folder, UP, (0, 0), math.inf)


def products_beyond_float32(folder):
    spoil(save(folder), "model.layers.0.mlp.gate_proj.weight", slice(None), 1e25)
    spoil(folder, UP, slice(None), 1e25)


def epsilon_zero_with_a_row_of_zeros(folder):
    save(folder, rms_norm_eps=0.0)
    spoil(folder, EMBEDDING, int(_tokens(folder)[0, 0]), 0.0)


def zero_head(folder):
    spoil(save(folder), HEAD, slice(None), 0.0)


def zero_gamma(folder):
    spoil(save(folder), GAMMA, slice(None), 0.0)


def zero_row_of_the_first_token(folder):
    save(folder)
    spoil(folder, EMBEDDING, int(_tokens(folder)[0, 0]), 0.0)


def equal_logits(folder):
    change(save(folder), lambda found: found[HEAD].copy_(found[HEAD][:1].clone()))


def logits_that_ignore_the_tokens(folder):
    change(save(folder), lambda found: found[EMBEDDING].copy_(found[EMBEDDING][:1].clone()))


def logits_of_the_last_token_beyond_float16(folder):
    """Give one row of the head a product of 1e5 with the last token's hidden state, and of 0 with the others'."""
    network = LlamaForCausalLM.from_pretrained(save(folder)).eval()
    with torch.inference_mode():
        hidden = network.model(torch.from_numpy(_tokens(folder)).long()).last_hidden_state[0].double()
    wanted = torch.zeros(TOKENS, dtype=torch.float64)
    wanted[-1] = 1e5
    spoil(folder, HEAD, 0, (torch.linalg.pinv(hidden) @ wanted).float())


def first_quick(values, count):
    """Return test parameters, named as functions are, of which all but the first few are slow."""
    listed = [value if isinstance(value, tuple) else (value,) for value in values]
    return [
        pytest.param(*value, id=value[0].__name__, marks=[pytest.mark.slow] if number >= count else [])
        for number, value in enumerate(listed)
    ]


NOT_FINITE_WEIGHTS = (
    nan_weight,
    infinite_embedding_of_an_unused_token,
    nan_bias,
    nan_in_tied_heads,
    infinite_float16_weight,
)
"""Weights that are not finite: every row fails, and nothing is executed."""

BROKEN_IN_FLOAT32 = {
    products_beyond_float32: "are NaN or infinite",
    equal_logits: "are equal over the whole vocabulary",
    zero_head: "every logit of the float32 PyTorch model is zero",
    epsilon_zero_with_a_row_of_zeros: "are NaN or infinite",
    zero_gamma: "every logit of the float32 PyTorch model is zero",
    zero_row_of_the_first_token: "are zero at 1 of 8 tokens",
    logits_that_ignore_the_tokens: "are the same at every token",
}
"""Models whose logits are broken in float32 already, with words of the reason: every row is wrong."""

BROKEN_IN_FLOAT16 = {logits_of_the_last_token_beyond_float16: "not finite"}
"""Models that float16 breaks, with the outcome of the variant on."""

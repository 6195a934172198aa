"""The names and shapes that are known without torch are those of transformers' networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint.expected_shapes import HEAD, LAYER_NORMS, shape_problem
from harness.zoo.checkpoint.headers import Tensor

ZOO = load_zoo()


def network(key, size):
    spec = ZOO[key]
    with torch.device("meta"):
        return getattr(transformers, spec.architecture)(spec.config(size))


def tensors(state):
    return {name: Tensor("F32", tuple(value.shape), Path("x"), 0, 0) for name, value in state.items()}


@pytest.mark.parametrize("size", ["quick", "full"])
@pytest.mark.parametrize("key", sorted(LAYER_NORMS))
def test_every_weight_of_transformers_network_has_the_shape_expected(key, size):
    made = network(key, size)
    config, found = made.config.to_dict(), tensors(made.state_dict())
    assert shape_problem(config, found) == ""
    matrices = [name for name, one in found.items() if len(one.shape) == 2]
    for name in matrices if size == "quick" else matrices[:9]:
        rows, columns = found[name].shape
        changed = found | {name: Tensor("F32", (rows + 1, columns), Path("x"), 0, 0)}
        wanted = f"{name} has the shape [{rows + 1}, {columns}] in the file, [{rows}, {columns}] in the model"
        assert wanted in shape_problem(config, changed)
        if name not in (HEAD, "model.embed_tokens.weight"):
            rest = {other: one for other, one in found.items() if other != name}
            assert shape_problem(config, rest) == f"lacks 1 weight of the model, among them {name}"


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "t5"},
        {"hidden_size": None},
        {"hidden_size": "128"},
        {"hidden_size": True, "vocab_size": -1},
        {"num_hidden_layers": None, "intermediate_size": 1.5},
        {"num_attention_heads": 0, "head_dim": 2**70},
    ],
    ids=str,
)
def test_what_the_configuration_does_not_say_is_not_judged(change):
    made = network("llama", "quick")
    assert shape_problem(made.config.to_dict() | change, tensors(made.state_dict())) == ""


def test_names_of_a_network_without_its_head_are_left_to_transformers():
    """It reads the weights of a bare model, which have no prefix, into the model with a head."""
    made = network("llama", "quick")
    bare = {name.removeprefix("model."): value for name, value in made.state_dict().items()}
    assert shape_problem(made.config.to_dict() | {"num_hidden_layers": 9}, tensors(bare)) == ""


def test_a_number_of_layers_beyond_any_takes_no_time():
    made = network("llama", "quick")
    said = shape_problem(made.config.to_dict() | {"num_hidden_layers": 10**15}, tensors(made.state_dict()))
    assert said.startswith("lacks 8,982 weights of the model")

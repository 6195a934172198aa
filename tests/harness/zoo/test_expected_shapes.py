"""The names and shapes that are known without torch are those of transformers' networks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers

from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint.expected_shapes import BIASES, HEAD, LAYER_NORMS, WRAPPERS, shape_problem
from harness.zoo.checkpoint.headers import Tensor

ZOO = load_zoo()


def network(key, size, **changes):
    spec = ZOO[key]
    config = spec.config(size)
    for name, value in changes.items():
        setattr(config, name, value)
    with torch.device("meta"):
        return getattr(transformers, spec.architecture)(config)


def layers(made):
    return range(made.config.num_hidden_layers)


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
        {"hidden_size": None, "vocab_size": -1},
        {"num_hidden_layers": None, "intermediate_size": [256, 512]},
        {"num_attention_heads": 0, "head_dim": 2**70},
    ],
    ids=str,
)
def test_what_the_configuration_does_not_say_is_not_judged(change):
    made = network("llama", "quick")
    assert shape_problem(made.config.to_dict() | change, tensors(made.state_dict())) == ""


@pytest.mark.parametrize("value", ["128", True, 128.0])
def test_a_size_of_another_type_is_refused_as_transformers_does(value):
    made = network("llama", "quick")
    said = shape_problem(made.config.to_dict() | {"hidden_size": value}, tensors(made.state_dict()))
    assert said == f"config.json: hidden_size: expected an integer, got {value!r}"
    if not isinstance(value, bool):  # a bool is an int of Python's
        with pytest.raises(Exception, match="hidden_size"):
            type(made.config)(hidden_size=value)


@pytest.mark.parametrize(("key", "field"), [(key, field) for field in BIASES for key in sorted(BIASES[field][0])])
def test_a_bias_that_the_configuration_denies_is_one_that_transformers_network_has_not(key, field):
    names = BIASES[field][1]
    denied, granted = (network(key, "quick", **{field: value}) for value in (False, True))
    added = granted.state_dict().keys() - denied.state_dict().keys()
    assert added == {f"model.layers.{number}.{name}" for number in layers(denied) for name in names}
    assert shape_problem(granted.config.to_dict(), tensors(granted.state_dict())) == ""
    said = shape_problem(denied.config.to_dict(), tensors(granted.state_dict()))
    assert said == (
        f"{min(added)} is in the file, but not in the model that config.json describes, so that nothing would read it "
        f"(and {len(added) - 1} more)"
    )


def test_a_layer_too_many_is_named_and_what_every_version_ignores_is_not():
    made = network("llama", "quick")
    config, found = made.config.to_dict(), tensors(made.state_dict())
    last = f"model.layers.{len(layers(made))}"
    one = next(iter(found.values()))
    assert shape_problem(config, found | {f"{last}.self_attn.rotary_emb.inv_freq": one}) == ""
    assert shape_problem(config, found | {f"{last}.mlp.down_proj.weight": one}).startswith(f"{last}.mlp.down_proj.")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_names_of_a_wrapped_network_are_told(wrapper):
    made = network("llama", "quick")
    wrapped = {f"{wrapper}{name}": value for name, value in made.state_dict().items()}
    said = shape_problem(made.config.to_dict(), tensors(wrapped))
    assert said.endswith(f"; {wrapper}model.embed_tokens.weight is in it instead")


def test_names_of_a_network_without_its_head_are_left_to_transformers():
    """It reads the weights of a bare model, which have no prefix, into the model with a head."""
    made = network("llama", "quick")
    bare = {name.removeprefix("model."): value for name, value in made.state_dict().items()}
    assert shape_problem(made.config.to_dict() | {"num_hidden_layers": 9}, tensors(bare)) == ""


def test_a_number_of_layers_beyond_any_takes_no_time():
    made = network("llama", "quick")
    said = shape_problem(made.config.to_dict() | {"num_hidden_layers": 10**15}, tensors(made.state_dict()))
    assert said.startswith("lacks 8,982 weights of the model")

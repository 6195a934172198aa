"""Check a checkpoint's names and shapes against its configuration for the most frequent architectures, without torch.

The check of `harness.export.pretrained` builds the network and covers every architecture, but importing torch and
transformers takes seconds. This one knows the weights of a few architectures; it judges no weight that depends on a
field that the configuration leaves to the default of a class.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from harness.zoo.checkpoint import misfits

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.zoo.checkpoint.headers import Tensor

    Shape = tuple[int, ...]

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
LAYER_NORMS = {
    **dict.fromkeys(
        ("gemma", "granite", "llama", "mistral", "phi3", "qwen2", "qwen3", "smollm3"),
        ("input_layernorm", "post_attention_layernorm"),
    ),
    **dict.fromkeys(
        ("gemma2", "gemma3_text"),
        (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ),
    ),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
}
"""Norms of a layer over the hidden size, by the ``model_type`` of the architectures that are known here."""
JOINED = frozenset({"phi3"})
"""Architectures that keep query, key and value in one weight, and gate and up in another."""
OWN_HEAD_WIDTH = frozenset({"gemma", "gemma2", "gemma3_text", "qwen3"})
"""Architectures whose heads have a width of the class's own if the configuration gives none."""
SIZES = (
    *("hidden_size", "intermediate_size", "vocab_size", "num_hidden_layers"),
    *("num_attention_heads", "num_key_value_heads", "head_dim"),
)
"""Fields of the configuration that are integers in each architecture known here."""
BIASES = {
    "attention_bias": (
        frozenset({"gemma", "gemma2", "gemma3_text", "granite", "llama", "olmo2", "qwen3", "smollm3"}),
        frozenset({"self_attn.q_proj.bias", "self_attn.k_proj.bias", "self_attn.v_proj.bias", "self_attn.o_proj.bias"}),
    ),
    "mlp_bias": (
        frozenset({"granite", "llama", "smollm3"}),
        frozenset({"mlp.gate_proj.bias", "mlp.up_proj.bias", "mlp.down_proj.bias"}),
    ),
}
"""The architectures in which a field says whether a layer has some biases, and the names of these."""
WRAPPERS = ("base_model.model.", "_orig_mod.", "module.")
"""Prefixes of all names of a network saved inside peft's, ``torch.compile``'s or ``DataParallel``'s module."""
IGNORED = ".rotary_emb.inv_freq"
"""What old versions of transformers saved, and every later one ignores."""
OF_LAYER = re.compile(r"model\.layers\.([0-9]{1,9})\.(.+)")


def shape_problem(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return a sentence on a size that is no integer, or on weights of another shape, missing ones, or ones too many.

    "" if there are none, or it is not known.

    Parameters
    ----------
    config: the content of ``config.json``.
    tensors: those of the files, by name.
    """
    if config.get("model_type") not in LAYER_NORMS:
        return ""
    for name in SIZES:
        if isinstance(value := config.get(name), (bool, float, str)):
            return f"config.json: {name}: expected an integer, got {value!r}"
    expected = dict(_expected(config))
    needed = sorted(expected.keys() - {HEAD})  # the head may be the embedding
    if EMBEDDING not in tensors:
        wrapped = next((prefix + EMBEDDING for prefix in WRAPPERS if prefix + EMBEDDING in tensors), "")
        return misfits.lacking(needed, wrapped) if wrapped and needed else ""
    mismatched = sorted(name for name in expected.keys() & tensors.keys() if tensors[name].shape != expected[name])
    if mismatched:
        name = mismatched[0]
        return misfits.other_shape(name, tensors[name].shape, expected[name], len(mismatched))
    if missing := [name for name in needed if name not in tensors]:
        return misfits.lacking(missing)
    unread = sorted(name for name in tensors if _is_unread(config, name))
    return misfits.unread(unread) if unread else ""


def _is_unread(config: Mapping[str, Any], name: str) -> bool:
    """Return whether a weight is one of a layer that the model has not, or a bias that the configuration denies."""
    found = OF_LAYER.fullmatch(name)
    if found is None or name.endswith(IGNORED):
        return False
    layers = _size(config, "num_hidden_layers")
    if layers is not None and int(found[1]) >= layers:
        return True
    return any(
        config.get(field) is False and config["model_type"] in kinds and found[2] in biases
        for field, (kinds, biases) in BIASES.items()
    )


def _expected(config: Mapping[str, Any]) -> Iterator[tuple[str, Shape]]:
    """Yield the names and shapes of the weights of which all sizes are known."""
    kind, width, layers = config["model_type"], _size(config, "hidden_size"), _size(config, "num_hidden_layers")
    if width is None:
        return
    if (words := _size(config, "vocab_size")) is not None:
        yield EMBEDDING, (words, width)
        yield HEAD, (words, width)
    yield "model.norm.weight", (width,)
    for number in range(min(layers or 0, MOST_LAYERS)):
        place = f"model.layers.{number}"
        for norm in LAYER_NORMS[kind]:
            yield f"{place}.{norm}.weight", (width,)
        for part, shape in (*_attention(config, kind, width), *_mlp(config, kind, width)):
            yield f"{place}.{part}.weight", shape


MOST_LAYERS = 1_000
"""Largest number of layers that is checked; a damaged configuration may name any."""


def _attention(config: Mapping[str, Any], kind: str, width: int) -> Iterator[tuple[str, Shape]]:
    heads, groups = _size(config, "num_attention_heads"), _size(config, "num_key_value_heads")
    head = _size(config, "head_dim")
    if head is None and heads and config.get("head_dim") is None and kind not in OWN_HEAD_WIDTH:
        head = width // heads
    if heads is None or groups is None or head is None:
        return
    if kind in JOINED:
        yield "self_attn.qkv_proj", ((heads + 2 * groups) * head, width)
    else:
        yield "self_attn.q_proj", (heads * head, width)
        yield "self_attn.k_proj", (groups * head, width)
        yield "self_attn.v_proj", (groups * head, width)
    yield "self_attn.o_proj", (width, heads * head)


def _mlp(config: Mapping[str, Any], kind: str, width: int) -> Iterator[tuple[str, Shape]]:
    inner = _size(config, "intermediate_size")
    if inner is None:
        return
    if kind in JOINED:
        yield "mlp.gate_up_proj", (2 * inner, width)
    else:
        yield "mlp.gate_proj", (inner, width)
        yield "mlp.up_proj", (inner, width)
    yield "mlp.down_proj", (width, inner)


def _size(config: Mapping[str, Any], name: str) -> int | None:
    """Return a size that the configuration gives; None if it gives none, or no positive integer."""
    value = config.get(name)
    return value if type(value) is int and value > 0 else None

"""Small checkpoints for tests: a model of the zoo saved in several layouts, and what refuses a damaged one."""

from __future__ import annotations

import json

import torch
from safetensors.torch import load_file, save_file

from harness.export import build, pretrained
from harness.export.configuration import configuration
from harness.zoo.checkpoint import inspect_checkpoint
from harness.zoo.prompts import DEFAULT

INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"


def exact_network(spec):
    """Return a model of which every weight is a number of float16 and of bfloat16 alike."""
    network = build(spec)
    for weight in filter(torch.is_floating_point, network.state_dict(keep_vars=True).values()):
        rounded = weight.data.bfloat16().float()
        weight.data = torch.where(rounded.abs() < 2.0**-14, 0.0, rounded)  # below, float16 has fewer bits
    return network


def single(network, folder):
    network.save_pretrained(folder)


def sharded(network, folder):
    network.save_pretrained(folder, max_shard_size="100KB")
    assert len(list(folder.glob("*.safetensors"))) > 1


def without_index(network, folder):
    sharded(network, folder)
    (folder / INDEX).unlink()


def bfloat16(network, folder):
    network.bfloat16().save_pretrained(folder)
    network.float()


def float16_with_float32_norms(network, folder):
    network.save_pretrained(folder)
    change(folder, lambda found: found.update({n: t.half() for n, t in found.items() if "norm" not in n}))


def add_tokenizer(folder):
    """Write a tokenizer of one token a character."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<unk>", *map(chr, range(32, 127))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)  # noqa: S106 - as above


LAYOUTS = (single, sharded, without_index, bfloat16, float16_with_float32_norms)


def change(folder, how):
    """Change the tensors of a folder's one weights file."""
    found = load_file(folder / WEIGHTS)
    how(found)
    save_file({name: tensor.contiguous() for name, tensor in found.items()}, folder / WEIGHTS, {"format": "pt"})


def edit(path, **changes):
    """Change an object's keys in a JSON file; None takes a key out."""
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (content | changes).items() if value is not None}))


def inspected(folder, **flags):
    """Inspect a checkpoint as ``run`` does, the check of names and shapes in this process."""

    def check(found):
        pretrained.check_fit(found)
        if found.has_tokenizer:
            pretrained.tokenize(found, DEFAULT, configuration(found).vocab_size)

    return inspect_checkpoint(str(folder), check=check, **flags)

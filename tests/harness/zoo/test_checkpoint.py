"""A checkpoint that save_pretrained wrote runs by path, with its own weights and its own tokenizer's prompts."""

from __future__ import annotations

import msgspec
import pytest
import torch

from harness.export import build, export, pretrained
from harness.plan.shapes import Shape
from harness.records.run_files import read_records
from harness.zoo import checkpoint, prompts
from harness.zoo.catalog import load_zoo
from tests.harness.command_line import harness

pytestmark = pytest.mark.usefixtures("_kept_children")

ZOO = load_zoo()
TEXTS = ("the tide had gone out", "a mean of squares", "x")


def test_it_runs_by_path_with_prompts(saved_checkpoint, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n\n".join(TEXTS) + "\n")
    where = ("--out", tmp_path / "out", "--variant", "on", "--shape", "prefill:16")
    done = harness("run", "--checkpoint", saved_checkpoint, "--prompts", file, *where)
    assert done.returncode == 0, done.stderr
    (path,) = (tmp_path / "out" / "runs").glob("*.jsonl")
    (record,) = read_records(path)
    assert (record.model, record.checkpoint, record.size, record.status) == (
        "llama",
        str(saved_checkpoint),
        "full",
        "ok",
    )
    assert record.norms_expected == record.norms_executed == record.fused == 5
    assert record.marks == ("weights: bfloat16", "2 of 3 prompts cut to 16 tokens")
    assert record.metrics["runs"] == len(TEXTS)
    assert 0 < record.metrics["rel_l2_mean"] <= record.metrics["rel_l2"] < 2e-2


def test_every_weight_is_the_bfloat16_one(saved_checkpoint):
    network = pretrained.load(checkpoint.inspect_checkpoint(str(saved_checkpoint)))
    original = build(msgspec.structs.replace(ZOO["llama"], activations="tame")).to(torch.bfloat16).state_dict()
    found = network.state_dict()
    assert found.keys() == original.keys()
    for name, weight in found.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, original[name].float())


def test_prompts_are_those_of_its_tokenizer(saved_checkpoint):
    looked = checkpoint.inspect_checkpoint(str(saved_checkpoint))
    spec = checkpoint.spec_of(looked, ZOO)
    exported = export(spec, shape=Shape("prefill", 12), checkpoint=looked, prompts=TEXTS)
    wanted = [[ord(letter) - 31 for letter in text[:12]] for text in TEXTS]
    assert [ids[0].tolist() for ids in exported.prompts] == wanted
    assert exported.norms_expected == 5
    own = export(spec, shape=Shape("prefill", 12), checkpoint=looked)
    assert [ids.shape for ids in own.prompts] == [(1, 12)] * len(prompts.DEFAULT)


def test_without_a_tokenizer_the_tokens_are_random_and_it_is_said(copied_checkpoint):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copied_checkpoint / name).unlink()
    looked = checkpoint.inspect_checkpoint(str(copied_checkpoint))
    exported = export(checkpoint.spec_of(looked, ZOO), shape=Shape("prefill", 8), checkpoint=looked)
    assert exported.runs == (exported.tokens,)
    assert "no tokenizer: random tokens" in exported.marks
    (copied_checkpoint / "p.txt").write_text("a prompt")
    done = harness("run", "--checkpoint", copied_checkpoint, "--prompts", copied_checkpoint / "p.txt")
    assert (done.returncode, "has no tokenizer" in done.stderr) == (2, True)


def test_an_architecture_that_the_zoo_does_not_have(tmp_path):
    from transformers import CwmConfig, CwmForCausalLM

    fields = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "vocab_size": 128, "head_dim": 16}
    config = CwmConfig(**fields, num_attention_heads=4, num_key_value_heads=2, pad_token_id=None, eos_token_id=1)
    CwmForCausalLM(config).save_pretrained(tmp_path / "cwm")
    looked = checkpoint.inspect_checkpoint(str(tmp_path / "cwm"))
    spec = checkpoint.spec_of(looked, ZOO)
    assert (spec.key, spec.norms) == ("cwm", "")
    exported = export(spec, shape=Shape("prefill", 8), checkpoint=looked)
    assert exported.norms_expected == 2 * 2 + 1
    assert any("cwm is not in the zoo" in mark for mark in exported.marks)

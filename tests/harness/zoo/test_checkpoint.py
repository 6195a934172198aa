"""Checkpoints: one that save_pretrained wrote runs by path; what must not be read is refused in a line."""

from __future__ import annotations

import json
import shutil

import msgspec
import pytest
import torch

from harness.errors import ArgumentError, CheckpointError, ExportError
from harness.export import build, export, pretrained
from harness.plan.shapes import Shape
from harness.records.run_files import read_records
from harness.zoo import checkpoint, prompts
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES

pytestmark = pytest.mark.usefixtures("_kept_children")

ZOO = load_zoo()
INDEX = "model.safetensors.index.json"
TEXTS = ("the tide had gone out", "a mean of squares", "x")


def add_tokenizer(folder):
    """Write a tokenizer of one token a character."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {word: number for number, word in enumerate(["<unk>", *map(chr, range(32, 127))])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))  # noqa: S106 - no password
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(folder)  # noqa: S106 - as above


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a small Llama: bfloat16, in three shards, with a tokenizer."""
    folder = tmp_path_factory.mktemp("saved") / "llama"
    build(msgspec.structs.replace(ZOO["llama"], activations="tame")).to(torch.bfloat16).save_pretrained(
        folder, max_shard_size="300KB"
    )
    assert len(list(folder.glob("*.safetensors"))) > 1
    add_tokenizer(folder)
    return folder


@pytest.fixture
def copy(saved, tmp_path):
    """Return a copy that a test may damage."""
    return shutil.copytree(saved, tmp_path / "copy")


def edit(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in (content | changes).items() if value is not None}))


def run(*arguments):
    import io
    import warnings
    from contextlib import redirect_stderr, redirect_stdout

    from harness.cli.main import main

    err = io.StringIO()
    with (
        warnings.catch_warnings(),
        redirect_stdout(io.StringIO()),
        redirect_stderr(err),
        pytest.raises(SystemExit) as exit_,
    ):
        main([str(argument) for argument in arguments])
    return int(exit_.value.code or 0), err.getvalue()


def test_it_runs_by_path_with_prompts(saved, tmp_path):
    file = tmp_path / "prompts.txt"
    file.write_text("\n\n".join(TEXTS) + "\n")
    where = ("--out", tmp_path / "out", "--variant", "on", "--shape", "prefill:16")
    code, err = run("run", "--checkpoint", saved, "--prompts", file, *where)
    assert code == 0, err
    (path,) = (tmp_path / "out" / "runs").glob("*.jsonl")
    (record,) = read_records(path)
    assert (record.model, record.checkpoint, record.size, record.status) == ("llama", str(saved), "full", "ok")
    assert record.norms_expected == record.norms_executed == record.fused == 5
    assert record.marks == ("weights: bfloat16", "2 of 3 prompts cut to 16 tokens")
    assert record.metrics["runs"] == len(TEXTS)
    assert 0 < record.metrics["rel_l2_mean"] <= record.metrics["rel_l2"] < 2e-2


def test_every_weight_is_the_bfloat16_one(saved):
    network = pretrained.load(checkpoint.inspect_checkpoint(str(saved)))
    original = build(msgspec.structs.replace(ZOO["llama"], activations="tame")).to(torch.bfloat16).state_dict()
    found = network.state_dict()
    assert found.keys() == original.keys()
    for name, weight in found.items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, original[name].float())


def test_prompts_are_those_of_its_tokenizer(saved):
    looked = checkpoint.inspect_checkpoint(str(saved))
    spec = checkpoint.spec_of(looked, ZOO)
    exported = export(spec, shape=Shape("prefill", 12), checkpoint=looked, prompts=TEXTS)
    wanted = [[ord(letter) - 31 for letter in text[:12]] for text in TEXTS]
    assert [ids[0].tolist() for ids in exported.prompts] == wanted
    assert exported.norms_expected == 5
    own = export(spec, shape=Shape("prefill", 12), checkpoint=looked)
    assert [ids.shape for ids in own.prompts] == [(1, 12)] * len(prompts.DEFAULT)


def test_without_a_tokenizer_the_tokens_are_random_and_it_is_said(copy):
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (copy / name).unlink()
    looked = checkpoint.inspect_checkpoint(str(copy))
    exported = export(checkpoint.spec_of(looked, ZOO), shape=Shape("prefill", 8), checkpoint=looked)
    assert exported.runs == (exported.tokens,)
    assert "no tokenizer: random tokens" in exported.marks
    (copy / "p.txt").write_text("a prompt")
    code, err = run("run", "--checkpoint", copy, "--prompts", copy / "p.txt")
    assert (code, "has no tokenizer" in err) == (2, True)


def test_a_tokenizer_of_another_model(copy):
    edit(copy / "config.json", vocab_size=40)
    looked = checkpoint.inspect_checkpoint(str(copy))
    with pytest.raises(ExportError, match="but the model's vocabulary has 40: it is another model's"):
        pretrained.tokenize(looked, ["zebra"], 40)


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


def test_pickle_files_are_read_only_when_allowed(copy):
    state = pretrained.load(checkpoint.inspect_checkpoint(str(copy))).state_dict()
    for path in copy.glob("model*.safetensors*"):
        path.unlink()
    torch.save(state, copy / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds pickle files alone \(pytorch_model.bin\).*--allow-pickle"):
        checkpoint.inspect_checkpoint(str(copy))
    network = pretrained.load(checkpoint.inspect_checkpoint(str(copy), allow_pickle=True))
    assert all(torch.equal(weight, state[name]) for name, weight in network.state_dict().items())


def test_code_of_its_own_is_run_only_when_allowed(copy):
    mine = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    edit(copy / "config.json", model_type="own", architectures=["OwnModel"], auto_map=mine)
    (copy / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(CheckpointError, match="code of its own, which runs only with --trust-remote-code"):
        checkpoint.inspect_checkpoint(str(copy))
    network = pretrained.load(checkpoint.inspect_checkpoint(str(copy), trust_remote_code=True))
    assert type(network).__name__ == "OwnModel"


def without_config(folder):
    (folder / "config.json").unlink()


def truncated(folder):
    path = min(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-100])


def without_a_shard(folder):
    max(folder.glob("*.safetensors")).unlink()


def escaping(folder):
    weights = json.loads((folder / INDEX).read_text())["weight_map"]
    edit(folder / INDEX, weight_map=dict.fromkeys(weights, "../llama/model-00001-of-00003.safetensors"))


def another_index(folder):
    edit(folder / INDEX, weight_map={"no.such.weight": min(folder.glob("*.safetensors")).name})


def empty_index(folder):
    (folder / INDEX).write_text("[]")


def huge_config(folder):
    (folder / "config.json").write_text('{"model_type": "' + "x" * CONFIG_LIMIT_BYTES + '"}')


def nested_config(folder):
    (folder / "config.json").write_text("[" * 100_000)


def unknown_architecture(folder):
    edit(folder / "config.json", model_type="lama")


def no_causal_model(folder):
    edit(folder / "config.json", model_type="t5", architectures=["T5ForConditionalGeneration"])


def masked_model(folder):
    edit(folder / "config.json", model_type="bert", architectures=["BertForMaskedLM"])


def no_weights(folder):
    for path in folder.glob("model*.safetensors*"):
        path.unlink()


def quantised(folder):
    edit(folder / "config.json", quantization_config={"quant_method": "gptq"})


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (without_config, "no config.json"),
        (truncated, "model-00001-of-00003.safetensors: truncated or damaged"),
        (without_a_shard, "model-00003-of-00003.safetensors is missing"),
        (escaping, "expected a .safetensors file of the same folder, got '../llama"),
        (another_index, "lacks 'no.such.weight'"),
        (empty_index, "expected an object, got list"),
        (huge_config, "larger than 4,000,000 bytes"),
        (nested_config, "config.json: not JSON"),
        (unknown_architecture, "model_type 'lama'.*has no such architecture"),
        (no_causal_model, "T5ForConditionalGeneration is no causal language model"),
        (masked_model, "BertForMaskedLM is no causal language model"),
        (no_weights, "no model.safetensors"),
        (quantised, "quantised already"),
    ],
)
def test_what_cannot_be_used_is_said_in_a_line(copy, damage, said):
    damage(copy)
    with pytest.raises(CheckpointError, match=said) as error:
        checkpoint.inspect_checkpoint(str(copy))
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


@pytest.mark.parametrize("source", ["./nowhere", "no/such/thing", "", "../x", "a b"])
def test_no_folder_and_no_hub_id(source):
    with pytest.raises(CheckpointError, match=r"no such folder, and no hub id either|has no name"):
        checkpoint.inspect_checkpoint(source)


def test_a_hub_out_of_reach(monkeypatch, tmp_path):
    import subprocess
    import sys

    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    unheard = "HF_HUB_OFFLINE is set, so the hub was not contacted"
    for offline, said in (("0", "the hub is out of reach"), ("1", unheard)):
        monkeypatch.setenv("HF_HUB_OFFLINE", offline)
        command = [sys.executable, "-m", "harness", "run", "--checkpoint", "someone/something", "--out", str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 2
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_a_missing_weight_is_not_made_up(copy):
    from safetensors.torch import load_file, save_file

    path = max(copy.glob("*.safetensors"))
    tensors = load_file(path)
    gone = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, path, {"format": "pt"})
    weights = json.loads((copy / INDEX).read_text())["weight_map"]
    edit(copy / INDEX, weight_map={name: file for name, file in weights.items() if name != gone})
    with pytest.raises(ExportError, match=f"lacks 1 weight of the model, among them {gone}"):
        pretrained.load(checkpoint.inspect_checkpoint(str(copy)))


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xff\xfe\x00", b"a\n" * 1001, b"a" * 4_000_001])
def test_prompts_that_cannot_be_used(content, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"prompts\.txt: ") as error:
        prompts.read(path)
    assert "\n" not in str(error.value)


def test_options_that_need_a_checkpoint(tmp_path):
    for option in (("--revision", "main"), ("--prompts", tmp_path), ("--allow-pickle",), ("--trust-remote-code",)):
        code, err = run("run", "llama", *option)
        assert code == 2
        assert f"{option[0]}: only with --checkpoint" in err
    code, err = run("run", "llama", "--checkpoint", tmp_path)
    assert (code, "not both" in err) == (2, True)
    code, err = run("run", "--checkpoint", tmp_path, "--prompts", tmp_path / "none.txt")
    assert (code, "no such file" in err) == (2, True)

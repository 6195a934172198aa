"""What of a checkpoint must not be read, or cannot be used, is refused in a line: files, flags, ids, options."""

from __future__ import annotations

import json
import os

import pytest
import torch

from harness.errors import ArgumentError, CheckpointError, ExportError
from harness.export import pretrained
from harness.zoo import checkpoint, prompts
from harness.zoo.checkpoint.reading import CONFIG_LIMIT_BYTES
from tests.harness.command_line import harness
from tests.harness.zoo.checkpoints import INDEX, edit


def test_a_tokenizer_of_another_model(copied_checkpoint):
    looked = checkpoint.inspect_checkpoint(str(copied_checkpoint))
    with pytest.raises(ExportError, match="but the model's vocabulary has 40: it is another model's"):
        pretrained.tokenize(looked, ["zebra"], 40)


def test_pickle_files_are_read_only_when_allowed(copied_checkpoint):
    state = pretrained.load(checkpoint.inspect_checkpoint(str(copied_checkpoint))).state_dict()
    for path in copied_checkpoint.glob("model*.safetensors*"):
        path.unlink()
    torch.save(state, copied_checkpoint / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"holds pickle files alone \(pytorch_model.bin\).*--allow-pickle"):
        checkpoint.inspect_checkpoint(str(copied_checkpoint))
    network = pretrained.load(checkpoint.inspect_checkpoint(str(copied_checkpoint), allow_pickle=True))
    assert all(torch.equal(weight, state[name]) for name, weight in network.state_dict().items())


def test_code_of_its_own_is_run_only_when_allowed(copied_checkpoint):
    mine = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    edit(copied_checkpoint / "config.json", model_type="own", architectures=["OwnModel"], auto_map=mine)
    (copied_checkpoint / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(CheckpointError, match="code of its own, which runs only with --trust-remote-code"):
        checkpoint.inspect_checkpoint(str(copied_checkpoint))
    network = pretrained.load(checkpoint.inspect_checkpoint(str(copied_checkpoint), trust_remote_code=True))
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
def test_what_cannot_be_used_is_said_in_a_line(copied_checkpoint, damage, said):
    damage(copied_checkpoint)
    with pytest.raises(CheckpointError, match=said) as error:
        checkpoint.inspect_checkpoint(str(copied_checkpoint))
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


def test_a_missing_weight_is_not_made_up(copied_checkpoint):
    from safetensors.torch import load_file, save_file

    path = max(copied_checkpoint.glob("*.safetensors"))
    tensors = load_file(path)
    gone = min(tensors)
    save_file({name: tensor for name, tensor in tensors.items() if name != gone}, path, {"format": "pt"})
    weights = json.loads((copied_checkpoint / INDEX).read_text())["weight_map"]
    edit(copied_checkpoint / INDEX, weight_map={name: file for name, file in weights.items() if name != gone})
    with pytest.raises(CheckpointError, match=f"lacks 1 weight of the model, among them {gone}"):
        checkpoint.inspect_checkpoint(str(copied_checkpoint))


@pytest.mark.parametrize("content", [b"", b"\n \n\t\n", b"\xff\xfe\x00", b"a\n" * 1001, b"a" * 4_000_001])
def test_prompts_that_cannot_be_used(content, tmp_path):
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(ArgumentError, match=r"prompts\.txt: ") as error:
        prompts.read(path)
    assert "\n" not in str(error.value)


def test_a_mark_of_the_byte_order_belongs_to_no_prompt(tmp_path):
    (tmp_path / "prompts.txt").write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert prompts.read(tmp_path / "prompts.txt") == ("one", "two")


def test_a_path_that_no_record_can_name(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    done = harness("run", "--checkpoint", folder)
    assert (done.returncode, "caf\\udce9: its path is not UTF-8" in done.stderr) == (2, True)


def test_options_that_need_a_checkpoint(tmp_path):
    for option in (("--revision", "main"), ("--prompts", tmp_path), ("--allow-pickle",), ("--trust-remote-code",)):
        done = harness("run", "llama", *option)
        assert done.returncode == 2
        assert f"{option[0]}: only with --checkpoint" in done.stderr
    done = harness("run", "llama", "--checkpoint", tmp_path)
    assert (done.returncode, "not both" in done.stderr) == (2, True)
    done = harness("run", "--checkpoint", tmp_path, "--prompts", tmp_path / "none.txt")
    assert (done.returncode, "no such file" in done.stderr) == (2, True)

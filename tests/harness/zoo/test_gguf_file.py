"""GGUF files: a small one is loaded as it was written; a truncated, damaged or unknown one is refused in a line."""

from __future__ import annotations

import importlib.util
import sys

import numpy as np
import pytest
import torch
from transformers import AutoConfig

from harness.errors import CheckpointError, ExportError
from harness.export import pretrained
from harness.export.dequantised import gguf_configuration
from harness.export.gguf_fit import check_gguf_fit
from harness.export.weight_range import weight_problem
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import gguf_file, inspect_checkpoint, spec_of
from tests.harness.command_line import harness

WIDTH, INNER, HEADS, WORDS, LAYERS = 32, 64, 4, 48, 2


def write(path, architecture="llama", layers=LAYERS, spoilt=None, lacking=(), tokens=0, more=(), **shaped):
    """Write a Llama of seeded weights as GGUF, and return its tensors; some may be left out or have another shape."""
    import gguf

    rng = np.random.default_rng(0)
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(64)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    shapes = {"token_embd": (WORDS, WIDTH), "output_norm": (WIDTH,), "output": (WORDS, WIDTH)}
    for layer in range(LAYERS):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            shapes[f"blk.{layer}.{name}"] = (WIDTH, WIDTH)
        shapes |= {f"blk.{layer}.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
        shapes |= {f"blk.{layer}.{name}": (INNER, WIDTH) for name in ("ffn_gate", "ffn_up")}
        shapes[f"blk.{layer}.ffn_down"] = (WIDTH, INNER)
    shapes = {name: shape for name, shape in (shapes | shaped).items() if name not in lacking}
    if tokens:
        writer.add_token_list([f"word{number}" for number in range(tokens)])
    tensors = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for name in more:
        writer.add_tensor(name, np.ones(WIDTH, np.float32))
    if spoilt:
        tensors[spoilt].flat[0] = np.nan
    for name, value in tensors.items():
        writer.add_tensor(f"{name}.weight", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Return the path of a small GGUF file and its tensors."""
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    return path, write(path)


def test_a_file_is_described_by_its_header(small):
    path, _ = small
    found = inspect_checkpoint(str(path))
    assert (found.model_type, found.architecture, found.gguf_file) == ("llama", "LlamaForCausalLM", "small.gguf")
    assert found.dtype.startswith("GGUF F32, small.gguf, SHA-256 ")
    assert not found.has_tokenizer
    spec = spec_of(found, load_zoo())
    assert spec.norms == "2*L + 1"
    assert (spec.full["hidden_size"], spec.full["num_hidden_layers"], spec.full["vocab_size"]) == (WIDTH, LAYERS, WORDS)


def test_its_weights_are_float32_and_no_longer_called_quantised(small, tmp_path):
    path, tensors = small
    network = pretrained.load(inspect_checkpoint(str(path)))
    state = network.float().state_dict()
    for ours, theirs in (
        ("ffn_down", "mlp.down_proj"),
        ("attn_v", "self_attn.v_proj"),
        ("attn_norm", "input_layernorm"),
    ):
        written = torch.from_numpy(tensors[f"blk.1.{ours}"])
        assert torch.equal(state[f"model.layers.1.{theirs}.weight"], written)
    assert torch.equal(state["lm_head.weight"], torch.from_numpy(tensors["output"]))
    network.save_pretrained(tmp_path)
    assert not hasattr(network.config, "quantization_config")


def test_a_weight_that_is_not_finite_is_named(tmp_path):
    write(tmp_path / "spoilt.gguf", spoilt="blk.1.ffn_up")
    network = pretrained.load(inspect_checkpoint(str(tmp_path / "spoilt.gguf")))
    assert "model.layers.1.mlp.up_proj.weight (1 of 2,048)" in weight_problem(network)


def test_tensors_that_transformers_skips_are_marked_or_refused(small, tmp_path):
    assert pretrained.load_with_marks(inspect_checkpoint(str(small[0])))[1] == ()
    write(tmp_path / "rotary.gguf", more=["rope_freqs.weight"])
    _, marks = pretrained.load_with_marks(inspect_checkpoint(str(tmp_path / "rotary.gguf")))
    assert marks == ("1 weight that the model does not read, among them rope_freqs.weight",)
    write(tmp_path / "bias.gguf", more=["blk.0.attn_q.bias", "blk.1.attn_q.bias"])
    with pytest.raises(ExportError, match=r"blk\.0\.attn_q\.bias is in the file, but .* read it \(and 1 more\)"):
        pretrained.load(inspect_checkpoint(str(tmp_path / "bias.gguf")))
    with pytest.raises(ExportError, match="nothing would read it"):
        check_gguf_fit(inspect_checkpoint(str(tmp_path / "bias.gguf")))


def test_every_truncation_is_refused_in_a_line(small, tmp_path):
    whole = small[0].read_bytes()
    path = tmp_path / "cut.gguf"
    for length in (0, 3, 4, 20, 60, 200, 900, 1500, 2500, len(whole) // 2, len(whole) - 64):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError) as error:
            inspect_checkpoint(str(path))
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_a_damaged_header_is_refused_or_says_the_same(small, tmp_path):
    whole = bytearray(small[0].read_bytes())
    rng = np.random.default_rng(1)
    path = tmp_path / "damaged.gguf"
    refused = 0
    for _ in range(150):
        spoilt = bytearray(whole)
        for at in rng.integers(0, 2_000, 8):
            spoilt[at] = rng.integers(0, 256)
        path.write_bytes(spoilt)
        try:
            inspect_checkpoint(str(path))
        except CheckpointError:
            refused += 1
    assert refused > 100


def test_a_magic_or_a_length_that_is_garbled_is_refused(small, tmp_path):
    whole = small[0].read_bytes()
    path = tmp_path / "garbled.gguf"
    spoilt = [b"GGML" + whole[4:]]
    spoilt += [whole[:at] + b"\xff" * 8 + whole[at + 8 :] for at in (8, 16, 24)]  # tensors, keys, the first key
    for content in spoilt:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"garbled\.gguf: not a (whole )?GGUF file: "):
            inspect_checkpoint(str(path))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"lacking": ("blk.1.ffn_up", "blk.1.attn_q")}, "lacks 2 tensors of the model, among them blk.1."),
        ({"lacking": ("output_norm",)}, "lacks 1 tensor of the model, among them output_norm.weight"),
        ({"blk.0.ffn_down": (WIDTH, INNER // 2)}, "blk.0.ffn_down.weight has 1,024 elements, its keys say 2,048"),
    ],
)
def test_a_tensor_that_is_missing_or_of_another_size_is_named(tmp_path, changes, said):
    write(tmp_path / "less.gguf", **changes)
    checkpoint = inspect_checkpoint(str(tmp_path / "less.gguf"))
    with pytest.raises(ExportError, match=rf"less\.gguf: not a whole GGUF file: {said}"):
        check_gguf_fit(checkpoint)


def test_a_whole_file_with_or_without_a_head_of_its_own_fits(small, tmp_path):
    check_gguf_fit(inspect_checkpoint(str(small[0])))
    write(tmp_path / "tied.gguf", lacking=("output",))
    check_gguf_fit(inspect_checkpoint(str(tmp_path / "tied.gguf")))


def test_a_short_copy_describes_the_same_configuration(small):
    checkpoint = inspect_checkpoint(str(small[0]))
    whole = AutoConfig.from_pretrained(small[0].parent, gguf_file=small[0].name)
    short = gguf_configuration(checkpoint)
    for name in ("hidden_size", "num_hidden_layers", "rms_norm_eps", "rope_parameters", "tie_word_embeddings"):
        assert getattr(short, name) == getattr(whole, name)


def test_a_tokenizer_of_another_model_is_refused(tmp_path):
    write(tmp_path / "other.gguf", tokens=WORDS + 1)
    with pytest.raises(CheckpointError, match="its tokenizer has 49 tokens, its embedding 48 rows"):
        inspect_checkpoint(str(tmp_path / "other.gguf"))


@pytest.mark.parametrize("command", [("run", "--checkpoint"), ("bench", "--checkpoint"), ("engine", "--checkpoint")])
def test_a_command_refuses_it_before_a_run_begins(command, small, tmp_path):
    path = tmp_path / "cut.gguf"
    path.write_bytes(small[0].read_bytes()[:-64])
    results = () if command[0] == "engine" else ("--results", tmp_path / "results")
    done = harness(*command, path, *results)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"{path}: truncated: tensor " in done.stderr
    assert not (tmp_path / "results").exists()


def test_an_architecture_that_transformers_does_not_read_is_refused(tmp_path):
    write(tmp_path / "clip.gguf", architecture="clip")
    with pytest.raises(CheckpointError, match=r"architecture 'clip': transformers .* reads no such language model"):
        inspect_checkpoint(str(tmp_path / "clip.gguf"))


def test_keys_that_contradict_the_tensors_are_refused(tmp_path):
    write(tmp_path / "more.gguf", layers=7)
    with pytest.raises(CheckpointError, match=r"llama\.block_count is 7, its tensors say 2"):
        inspect_checkpoint(str(tmp_path / "more.gguf"))


def test_a_missing_package_is_named_with_the_extra(small, monkeypatch):
    monkeypatch.setattr(gguf_file, "find_spec", lambda name: None if name == "gguf" else importlib.util.find_spec(name))
    with pytest.raises(CheckpointError, match=r"needs gguf: .*pip install '.\[gguf\]'"):
        inspect_checkpoint(str(small[0]))


def test_a_package_that_an_import_hook_refuses_is_missing(small, monkeypatch):
    class Hook:
        @staticmethod
        def find_spec(name, *_):
            """Refuse one package."""
            if name == "gguf":
                raise ModuleNotFoundError(name)

    monkeypatch.delitem(sys.modules, "gguf", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Hook, *sys.meta_path])
    with pytest.raises(CheckpointError, match="needs gguf: "):
        inspect_checkpoint(str(small[0]))


@pytest.mark.parametrize(
    ("source", "said"),
    [("nowhere.gguf", "no such file"), ("owner/name:file.gguf", "HF_HUB_OFFLINE is set, so the hub was not contacted")],
)
def test_a_file_that_is_not_there_is_refused(source, said, monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match=said):
        inspect_checkpoint(source)

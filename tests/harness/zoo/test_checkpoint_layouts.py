"""However a checkpoint's weights are laid out in files, they load to the same network."""

from __future__ import annotations

import shutil

import msgspec
import pytest
import torch

from harness.export import pretrained
from harness.zoo.catalog import load_zoo
from tests.harness.zoo.checkpoints import (
    INDEX,
    LAYOUTS,
    WEIGHTS,
    change,
    edit,
    exact_network,
    inspected,
    sharded,
    single,
    without_index,
)

ZOO = load_zoo()
USUAL = ("llama", "gemma3_text", "mixtral")
OTHERS = (
    *("qwen3", "phi3", "olmo2", "mamba", "lfm2", "gpt_oss", "granite", "glm4"),
    *("falcon_h1", "deepseek_v2", "apertus", "bitnet"),
)


@pytest.mark.parametrize("key", [*USUAL, *(pytest.param(key, marks=pytest.mark.slow) for key in OTHERS)])
def test_every_layout_loads_to_the_same_logits(key, tmp_path):
    network = exact_network(ZOO[key])
    wanted = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    tokens = torch.arange(8)[None]
    with torch.inference_mode():
        made = network(input_ids=tokens, use_cache=False).logits
    digests, logits = {}, None
    for layout in LAYOUTS:
        folder = tmp_path / layout.__name__
        layout(network, folder)
        found = inspected(folder)
        digests[layout.__name__] = found.digest
        loaded = pretrained.load(found)
        assert loaded.state_dict().keys() == wanted.keys()
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in loaded.state_dict().items()), layout
        with torch.inference_mode():
            found = loaded(input_ids=tokens).logits
        logits = found if logits is None else logits
        assert torch.equal(found, logits), layout
        torch.testing.assert_close(found, made)
    assert digests["single"] == digests["sharded"] == digests["without_index"]
    assert len(set(digests.values())) == 3  # another element type is another checkpoint


@pytest.fixture(scope="module")
def llama():
    return exact_network(ZOO["llama"])


def test_a_moved_folder_is_the_same_checkpoint_and_a_changed_weight_another(llama, tmp_path):
    single(llama, tmp_path / "here")
    first = inspected(tmp_path / "here")
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert inspected(tmp_path / "there").digest == first.digest
    (tmp_path / "link").symlink_to("there")
    assert inspected(tmp_path / "link").digest == first.digest
    change(tmp_path / "there", lambda found: found["model.norm.weight"].mul_(2))
    assert inspected(tmp_path / "there").digest != first.digest


def test_what_is_not_read_is_not_digested(llama, tmp_path):
    single(llama, tmp_path)
    first = inspected(tmp_path)
    for name in ("consolidated.safetensors", "model.fp16.safetensors", "pytorch_model.bin", "README.md", INDEX):
        (tmp_path / name).write_bytes(b"anything")
    assert inspected(tmp_path).digest == first.digest
    assert pretrained.load(inspected(tmp_path))


def test_an_index_without_metadata_is_read(llama, tmp_path):
    sharded(llama, tmp_path)
    edit(tmp_path / INDEX, metadata=None)
    loaded = pretrained.load(inspected(tmp_path))
    assert all(torch.equal(tensor, llama.state_dict()[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("layout", [single, sharded])
def test_the_files_that_the_configuration_names_are_read(llama, tmp_path, layout):
    """Another index or file than the usual one, beside a usual one with other weights."""
    layout(llama, tmp_path / "own")
    first = inspected(tmp_path / "own")
    single(exact_network(msgspec.structs.replace(ZOO["llama"], gamma_seed=99)), tmp_path / "both")
    for path in (tmp_path / "own").glob("model*"):
        name = path.name if layout is sharded and path.name != INDEX else path.name.replace("model", "other")
        shutil.copy(path, tmp_path / "both" / name)
    name = "other.safetensors" if layout is single else INDEX.replace("model", "other")
    edit(tmp_path / "both" / "config.json", transformers_weights=name)
    found = inspected(tmp_path / "both")
    loaded = pretrained.load(found).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in llama.state_dict().items())
    assert found.digest != first.digest  # the configuration differs


def test_files_of_macos_beside_shards_without_an_index(llama, tmp_path):
    without_index(llama, tmp_path)
    first = inspected(tmp_path)
    for path in list(tmp_path.glob("*.safetensors")):
        path.with_name(f"._{path.name}").write_bytes(b"\0\5\26\7")
    assert inspected(tmp_path).digest == first.digest


def test_float64_is_read(llama, tmp_path):
    single(llama, tmp_path)
    change(tmp_path, lambda found: found.update({name: tensor.double() for name, tensor in found.items()}))
    found = inspected(tmp_path)
    assert found.dtype == "float64"
    assert all(torch.equal(one, llama.state_dict()[name]) for name, one in pretrained.load(found).state_dict().items())


def test_links_of_a_hub_cache_are_followed(llama, tmp_path):
    single(llama, tmp_path / "blobs")
    snapshot = tmp_path / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    for path in (tmp_path / "blobs").iterdir():
        (snapshot / path.name).symlink_to(f"../../blobs/{path.name}")
    assert inspected(snapshot).digest == inspected(tmp_path / "blobs").digest


@pytest.mark.parametrize("length", [0x3C3C, 0x3C20, 0x7B7B, 0x8B1F, 0x10280, 0x10480], ids=hex)
def test_a_header_whose_length_looks_like_another_kind_of_file(llama, tmp_path, length):
    """The first bytes are the header's length: those of a page, JSON, gzip or pickle may be a length too."""
    single(llama, tmp_path)
    first = inspected(tmp_path)
    raw = (tmp_path / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(raw[:8], "little")
    (tmp_path / WEIGHTS).write_bytes(length.to_bytes(8, "little") + raw[8:end].ljust(length) + raw[end:])
    assert inspected(tmp_path).digest == first.digest


@pytest.mark.parametrize(
    "settings",
    [
        {"quantization_config": None},
        {"quantization_config": {}},
        {"_attn_implementation": "flash_attention_2"},
        {"attn_implementation": "flash_attention_3"},
        {"attn_implementation": "paged|sdpa", "use_cache": True},
        {"torch_dtype": "float8_e4m3fn"},
        {"dtype": "bfloat16", "torch_dtype": "float16"},
        {"return_dict": False},
        {"output_attentions": True, "output_hidden_states": True},
        {"experts_implementation": "grouped_mm"},
        {"torchscript": True},
    ],
    ids=str,
)
def test_how_it_is_run_is_never_taken_from_the_file(llama, tmp_path, settings):
    import json

    single(llama, tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
    loaded = pretrained.load(inspected(tmp_path))
    tokens = torch.arange(8)[None]
    with torch.inference_mode():
        got, wanted = (one(input_ids=tokens, use_cache=False) for one in (loaded, llama))
    assert torch.equal(got.logits, wanted.logits)
    assert got.past_key_values is None
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}
    assert loaded.config._attn_implementation == "eager"

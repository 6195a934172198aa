"""A checkpoint that is damaged, half there or of another kind is refused in one line, before anything is converted."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.export import build, pretrained
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import check_unchanged
from tests.harness.command_line import harness
from tests.harness.zoo.checkpoints import INDEX, WEIGHTS, change, edit, inspected
from tests.harness.zoo.test_checkpoint import add_tokenizer

LAYER = "model.layers.0.self_attn.q_proj.weight"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folder of a small Llama in two shards, with a tokenizer."""
    folder = tmp_path_factory.mktemp("saved") / "llama"
    build(load_zoo()["llama"]).save_pretrained(folder, max_shard_size="600KB")
    add_tokenizer(folder)
    return folder


@pytest.fixture
def sharded(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.fixture
def folder(sharded):
    """Return a copy with all weights in one file."""
    found = {}
    for path in sharded.glob("*.safetensors"):
        found |= load_file(path)
        path.unlink()
    (sharded / INDEX).unlink()
    save_file(found, sharded / WEIGHTS, {"format": "pt"})
    return sharded


def header(path, how):
    """Change the header of a safetensors file, the bytes behind it left as they are."""
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    entries = json.loads(raw[8 : 8 + length])
    text = how(entries)
    text = (json.dumps(entries) if text is None else text).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


def entry(how):
    return lambda folder: header(folder / WEIGHTS, lambda entries: how(entries[LAYER]))


def weights(content):
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


def zipped(folder):
    with zipfile.ZipFile(folder / WEIGHTS, "w") as archive:
        archive.writestr("archive/data.pkl", b"x" * 1000)


def twice_named(entries):
    return json.dumps(entries)[:-1] + f', "{LAYER}": {json.dumps(entries[LAYER])}}}'


def codes(dtype, suffix="", scale=None):
    """Make of every projection codes of a type, renamed, beside scales of a name."""

    def how(found):
        for name in [name for name in found if name.endswith("proj.weight")]:
            tensor = found.pop(name)
            stem = name.removesuffix("weight")
            found[stem + suffix if suffix else name] = torch.zeros(tensor.shape, dtype=dtype)
            if scale:
                found[stem + scale] = torch.ones(tensor.shape[0], 1)

    return lambda folder: change(folder, how)


def renamed(folder):
    (folder / WEIGHTS).rename(folder / "model.fp16.safetensors")


def config(**changes):
    return lambda folder: edit(folder / "config.json", **changes)


def vision(folder):
    text = json.loads((folder / "config.json").read_text())
    edit(
        folder / "config.json",
        model_type="llava",
        architectures=["LlavaForConditionalGeneration"],
        text_config=text,
        vision_config={"model_type": "clip_vision_model"},
    )


def set_tensor(name, tensor):
    return lambda folder: change(folder, lambda found: found.__setitem__(name, tensor))


def dangling(folder):
    (folder / WEIGHTS).unlink()
    (folder / WEIGHTS).symlink_to("../../blobs/0123")


BY_CONTENT = {
    "LFS pointer": (weights(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"), "Git LFS pointer"),
    "HTML page": (weights(b"<!DOCTYPE html>\n<html>Not found</html>"), "HTML or XML page"),
    "XML error": (weights(b'\n <?xml version="1.0"?><Error/>'), "HTML or XML page"),
    "JSON error": (weights(b'{"error": "Repository not found"}'), "JSON text, not weights"),
    "zip archive": (zipped, "a zip archive"),
    "pickle": (weights(b"\x80\x02}q\x00."), "a pickle"),
    "gzip": (weights(b"\x1f\x8b\x08\x00" + bytes(100)), "a gzip archive"),
    "GGUF": (weights(b"GGUF\x03\0\0\0" + bytes(100)), "a GGUF file"),
    "empty": (weights(b""), "empty"),
    "zeros": (weights(bytes(10_000)), "only zeros"),
    "garbage": (weights(bytes(range(1, 256)) * 10), "truncated or damaged"),
    "cut": (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-1]), "truncated"),
    "cut header": (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:100]), "truncated"),
    "longer": (
        lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"x"),
        "its header says",
    ),
    "shape": (entry(lambda one: one.update(shape=[3, 3])), "of shape [3, 3] takes"),
    "negative": (entry(lambda one: one.update(shape=[-1, 4])), "has the shape [-1, 4]"),
    "type": (entry(lambda one: one.update(dtype="F7")), "unknown element type 'F7'"),
    "offsets": (entry(lambda one: one.update(data_offsets=[0, 4 * 128 * 128])), "truncated or damaged"),
    "no offsets": (entry(lambda one: one.clear()), "truncated or damaged"),
    "twice": (
        lambda folder: header(folder / WEIGHTS, twice_named),
        "names 'model.layers.0.self_attn.q_proj.weight' twice",
    ),
    "nested": (lambda folder: header(folder / WEIGHTS, lambda _: "[" * 100_000), "truncated or damaged"),
    "no tensor": (lambda folder: save_file({}, folder / WEIGHTS), "holds no tensor"),
    "a folder": (lambda folder: ((folder / WEIGHTS).unlink(), (folder / WEIGHTS).mkdir()), "no model.safetensors"),
    "dangling link": (dangling, "a link whose target is missing"),
    "variant alone": (renamed, "model.fp16.safetensors is not read: rename it"),
    "unfinished": (lambda folder: (folder / WEIGHTS).rename(folder / f"{WEIGHTS}.part"), "an unfinished download"),
    "aria2": (lambda folder: (folder / f"{WEIGHTS}.aria2").write_bytes(b"\0"), "download was interrupted"),
    "GPTQ": (codes(torch.int32, "qweight", "g_idx"), "GPTQ"),
    "AWQ": (codes(torch.int32, "qweight", "scales"), "GPTQ or AWQ"),
    "bitsandbytes 8": (codes(torch.int8, scale="SCB"), "quantised already"),
    "bitsandbytes 4": (codes(torch.uint8, scale="weight.absmax"), "quantised already"),
    "float8": (codes(torch.float8_e4m3fn, scale="weight_scale_inv"), "float8"),
    "float8 without scales": (codes(torch.float8_e4m3fn), "float8 without scales"),
    "MLX": (codes(torch.uint32, scale="scales"), "MLX"),
    "compressed": (codes(torch.int32, "weight_packed", "weight_scale"), "quantised already"),
    "MXFP4": (codes(torch.uint8, "weight_blocks", "weight_scales"), "MXFP4"),
    "said so": (config(quantization_config={"quant_method": "fbgemm_fp8"}), "quantised already: fbgemm_fp8"),
    "MLX said so": (config(quantization={"bits": 4}), "quantised already: MLX"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "an adapter"),
    "vision": (vision, "reads images too, and is no causal language model of text alone; its text model is llama"),
    "config LFS": (lambda folder: (folder / "config.json").write_text("version https://git-lfs\n"), "Git LFS pointer"),
    "config HTML": (lambda folder: (folder / "config.json").write_text("<html>"), "HTML or XML page"),
    "config cut": (lambda folder: (folder / "config.json").write_text('{"model_type": "lla'), "not JSON"),
    "weights elsewhere": (
        config(transformers_weights="../x.safetensors"),
        "transformers_weights: expected a file here",
    ),
    "weights missing": (config(transformers_weights="x.safetensors"), "x.safetensors is missing"),
}
BY_SHAPE = {
    "another width": (config(hidden_size=64), "in the file, "),
    "a wider tensor": (set_tensor(LAYER, torch.zeros(130, 128)), f"{LAYER} has the shape [130, 128] in the file"),
    "a bias too many": (
        set_tensor("model.layers.0.self_attn.q_proj.bias", torch.ones(128)),
        "q_proj.bias is in the file",
    ),
    "a layer too many": (config(num_hidden_layers=1), "model.layers.1."),
    "a layer missing": (config(num_hidden_layers=3), "lacks 9 weights of the model, among them model.layers.2."),
    "a weight missing": (
        lambda folder: change(folder, lambda found: found.pop("model.norm.weight")),
        "lacks 1 weights",
    ),
    "no number": (config(hidden_size="128"), "config.json"),
    "another tokenizer": (config(vocab_size=20), "in the file, "),
    "tokenizer cut": (lambda folder: (folder / "tokenizer.json").write_text('{"version'), "tokenizer"),
}


@pytest.mark.parametrize("damage", BY_CONTENT)
def test_content_tells(folder, damage):
    how, said = BY_CONTENT[damage]
    how(folder)
    done = harness("run", "--checkpoint", folder, "--out", folder.parent / "out")
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert said in done.stderr
    assert str(folder) in done.stderr
    assert not (folder.parent / "out").exists()


@pytest.mark.parametrize("damage", BY_SHAPE)
def test_names_and_shapes_tell(folder, damage):
    how, said = BY_SHAPE[damage]
    how(folder)
    with pytest.raises(HarnessError, match=r".") as error:
        inspected(folder)
    assert said in str(error.value)
    assert str(folder) in str(error.value)
    assert error.value.exit_code == 2
    assert len(str(error.value)) < 700


def test_the_command_line_says_a_shape_in_one_line(folder):
    change(folder, lambda found: found.__setitem__(LAYER, torch.zeros(130, 128)))
    done = harness("run", "--checkpoint", folder, "--out", folder.parent / "out")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"{LAYER} has the shape [130, 128] in the file, [128, 128] in the model" in done.stderr
    assert not (folder.parent / "out").exists()


def test_shards_that_are_not_all_there(sharded):
    (sharded / INDEX).unlink()
    first, *rest = sorted(sharded.glob("*.safetensors"))
    assert inspected(sharded).own_index
    rest[-1].unlink()
    with pytest.raises(HarnessError, match=rf"{len(rest)} of {len(rest) + 1} shards \({first.name}\).*interrupted"):
        inspected(sharded)


def test_a_tensor_in_two_shards(sharded):
    first, second, *_ = sorted(sharded.glob("*.safetensors"))
    found = load_file(second)
    save_file(found | dict([next(iter(load_file(first).items()))]), second, {"format": "pt"})
    with pytest.raises(HarnessError, match="which another shard holds too"):
        inspected(sharded)


def test_weights_of_another_purpose_are_marked(folder):
    change(folder, lambda found: found.__setitem__("value_head.weight", torch.ones(4)))
    _, marks = pretrained.load_with_marks(inspected(folder))
    assert marks == ("1 weights that the model does not read, among them value_head.weight",)


def test_a_run_is_not_continued_with_other_weights(folder):
    found = inspected(folder)
    check_unchanged(found)
    change(folder, lambda tensors: tensors[LAYER].mul_(2))
    with pytest.raises(HarnessError, match="its files changed since the run began"):
        check_unchanged(found)
    shutil.rmtree(folder)
    with pytest.raises(HarnessError, match="is gone"):
        check_unchanged(found)


@pytest.mark.parametrize("damage", ["cut", "LFS pointer", "MLX", "vision", "variant alone"])
def test_torch_is_not_imported_for_what_content_tells(folder, damage):
    BY_CONTENT[damage][0](folder)
    code = (
        "import sys; from harness.zoo.checkpoint import inspect_checkpoint\n"
        "try: inspect_checkpoint(sys.argv[1])\nexcept Exception as error: print(type(error).__name__)\n"
        "print([name for name in ('torch', 'transformers', 'coremltools') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["CheckpointError", "[]"]


def test_sparse_gigabytes_are_refused_by_their_headers_alone(folder, monkeypatch):
    """Ten gigabytes of shards, the last of them quantised: no byte behind a header is read."""
    from harness.zoo.checkpoint import saved_folder

    (folder / WEIGHTS).unlink()
    for number in range(1, 6):
        entries = {f"t{number}.weight": {"dtype": "I8" if number == 5 else "BF16", "shape": [2**15, 2**15]}}
        size = 2**30 * (1 if number == 5 else 2)
        entries[f"t{number}.weight"]["data_offsets"] = [0, size]
        text = json.dumps(entries).encode()
        path = folder / f"model-{number:05}-of-00005.safetensors"
        with path.open("wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            stream.truncate(8 + len(text) + size)
    monkeypatch.setattr(saved_folder, "with_digest", lambda *_: pytest.fail("read every byte"))
    with pytest.raises(HarnessError, match=r"I8 codes \(t5.weight, I8 \[32768, 32768\]\)"):
        inspected(folder)

"""Damages to a folder of a small Llama, and the words that refuse each: of its content, and of its shapes."""

from __future__ import annotations

import json
import struct
import zipfile

import torch
from safetensors.torch import save_file

from tests.harness.zoo.checkpoints import WEIGHTS, change, edit

LAYER = "model.layers.0.self_attn.q_proj.weight"


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


def dangling(name):
    return lambda folder: ((folder / name).unlink(), (folder / name).symlink_to("../../blobs/0123"))


def int8_bias(folder):
    edit(folder / "config.json", attention_bias=True)

    def add(found):
        for name in [name for name in found if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight"))]:
            found[name.replace("weight", "bias")] = torch.zeros(found[name].shape[0], dtype=torch.int8)
        for name in [name for name in found if name.endswith("o_proj.weight")]:
            found[name.replace("weight", "bias")] = torch.zeros(found[name].shape[0])

    change(folder, add)


def wrapped(folder):
    change(folder, lambda found: [found.__setitem__(f"base_model.model.{name}", found.pop(name)) for name in [*found]])


def text_inside(folder):
    text = json.loads((folder / "config.json").read_text())
    edit(folder / "config.json", model_type="llava", architectures=[], text_config=text)


BY_CONTENT = {
    "LFS pointer": (weights(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n"), "Git LFS pointer"),
    "HTML page": (weights(b"<!DOCTYPE html>\n<html>Not found</html>"), "HTML or XML page"),
    "XML error": (weights(b'\n <?xml version="1.0"?><Error/>'), "HTML or XML page"),
    "JSON error": (weights(b'{"error": "Repository not found"}'), "JSON text, not weights"),
    "zip archive": (zipped, "a zip archive"),
    "pickle": (weights(b"\x80\x02}q\x00."), "a pickle"),
    "gzip": (weights(b"\x1f\x8b\x08\x00" + bytes(100)), "a gzip archive"),
    "GGUF": (weights(b"GGUF\x03\0\0\0" + bytes(100)), "a GGUF file"),
    "tar": (weights(b"a".ljust(257, b"\0") + b"ustar" + bytes(300)), "a tar archive"),
    "xz": (weights(b"\xfd7zXZ\0" + bytes(50)), "an xz archive"),
    "new pickle": (weights(b"\x80\x05\x95" + bytes(50)), "a pickle"),
    "NumPy": (weights(b"\x93NUMPY\1\0" + bytes(50)), "a NumPy file"),
    "plain error": (weights(b"Too Many Requests\n"), "text, not weights"),
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
    "truth": (entry(lambda one: one.update(shape=[True, 128 * 128])), "has the shape [True, 16384]"),
    "no text": (
        lambda folder: header(folder / WEIGHTS, lambda entries: json.dumps(entries).replace("q_proj", r"q\ud800")),
        "is no text",
    ),
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
    "dangling link": (dangling(WEIGHTS), "a link whose target is missing"),
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
    "nf4": (set_tensor(f"{LAYER}.quant_state.bitsandbytes__nf4", torch.zeros(90, dtype=torch.uint8)), "4-bit"),
    "int8 norm": (set_tensor("model.norm.weight", torch.zeros(128, dtype=torch.int8)), "I8 codes"),
    "an int8 bias": (int8_bias, "I8 codes (model.layers.0.self_attn.k_proj.bias, I8 [64])"),
    "adapter weights": (lambda folder: (folder / WEIGHTS).rename(folder / "adapter_model.safetensors"), "an adapter"),
    "TensorFlow": (lambda folder: (folder / WEIGHTS).rename(folder / "tf_model.h5"), "weights of TensorFlow"),
    "inner folder": (
        lambda folder: ((folder / "x").mkdir(), (folder / WEIGHTS).rename(folder / "x" / WEIGHTS)),
        "but x/model.safetensors: move it beside config.json",
    ),
    "a trainer's": (
        lambda folder: ((folder / "step-5").mkdir(), (folder / "config.json").rename(folder / "step-5/config.json")),
        "step-5: give that folder",
    ),
    "diffusers": (
        lambda folder: (folder / "config.json").rename(folder / "model_index.json"),
        "a diffusers pipeline",
    ),
    "tokenizer LFS": (
        lambda folder: (folder / "tokenizer.json").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "tokenizer.json: a Git LFS pointer",
    ),
    "tokenizer cut": (lambda folder: (folder / "tokenizer.json").write_text('{"version'), "tokenizer.json: not JSON"),
    "tokenizer's link": (dangling("tokenizer.json"), "tokenizer.json is a link whose target is missing"),
    "compressed": (codes(torch.int32, "weight_packed", "weight_scale"), "quantised already"),
    "MXFP4": (codes(torch.uint8, "weight_blocks", "weight_scales"), "MXFP4"),
    "said so": (config(quantization_config={"quant_method": "fbgemm_fp8"}), "quantised already: fbgemm_fp8"),
    "MLX said so": (config(quantization={"bits": 4}), "quantised already: MLX"),
    "adapter": (lambda folder: (folder / "adapter_config.json").write_text("{}"), "an adapter"),
    "vision": (vision, "reads images too, and is no causal language model of text alone; its text model is llama"),
    "text model inside": (text_inside, "llava is no causal language model of text alone; its text model is llama"),
    "config no text": (config(note="\ud800"), "a text in it is no text"),
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
    "a wrapper's names": (wrapped, "; base_model.model.model.embed_tokens.weight is in it instead"),
    "a weight missing": (
        lambda folder: change(folder, lambda found: found.pop("model.norm.weight")),
        "lacks 1 weight",
    ),
    "no number": (config(hidden_size="128"), "config.json: hidden_size: expected an integer, got '128'"),
    "another tokenizer": (config(vocab_size=20), "in the file, "),
}

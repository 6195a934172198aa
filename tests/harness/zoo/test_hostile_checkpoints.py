"""Checkpoint folders of any content: inspected, or refused in one line; nothing in them is changed."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.export import build
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import inspect_checkpoint
from tests.fuzz import fuzz

FILES = ("config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json", "adapter_config.json")
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
fields = st.sampled_from(
    [
        *("model_type", "architectures", "quantization_config", "auto_map", "text_config", "vision_config", "dtype"),
        *("transformers_weights", "quantization", "metadata", "weight_map"),
    ]
)
damages = st.lists(
    st.one_of(
        st.tuples(st.just("bytes"), st.sampled_from(FILES), st.integers(0, 2_000), st.binary(min_size=1, max_size=4)),
        st.tuples(st.just("cut"), st.sampled_from(FILES), st.integers(0, 5_000), st.just(b"")),
        st.tuples(st.just("write"), st.sampled_from(FILES), st.just(0), st.binary(max_size=64)),
        st.tuples(st.just("field"), fields, st.just(0), values),
        st.tuples(st.sampled_from(["folder", "dangling", "pipe"]), st.sampled_from(FILES), st.just(0), st.just(b"")),
    ),
    min_size=1,
    max_size=2,
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "llama"
    build(load_zoo()["llama"]).save_pretrained(folder)
    return folder


def damage(folder, kind, name, at, content):
    if kind == "field":
        path = folder / "config.json"
        if path.is_file() and not path.is_symlink():
            try:
                fields = json.loads(path.read_bytes())
            except ValueError:
                return
            path.write_text(json.dumps(fields | {name: content} if isinstance(fields, dict) else content))
        return
    path = folder / name
    before = path.read_bytes() if path.is_file() else b""
    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    match kind:
        case "folder":
            path.mkdir()
        case "dangling":
            path.symlink_to("elsewhere")
        case "pipe":
            os.mkfifo(path)
        case "bytes":
            path.write_bytes(before[:at] + content + before[at + len(content) :])
        case "cut":
            path.write_bytes(before[:at])
        case _:
            path.write_bytes(content)


def refusal(folder):
    """Return why a folder is refused; "" if it is not."""
    try:
        found = inspect_checkpoint(str(folder))
    except HarnessError as error:
        return str(error)
    return "" if found.digest else "no digest"


@pytest.mark.timeout(3600)
@fuzz(40, deadline=None)
@given(found=damages)
def test_it_is_inspected_or_refused_in_one_line(found, saved, tmp_path):
    shutil.rmtree(tmp_path / "copy", ignore_errors=True)
    folder = shutil.copytree(saved, tmp_path / "copy")
    for one in found:
        damage(folder, *one)
    before = {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()}
    said = refusal(folder)
    assert said == "" or (str(folder) in said and "\n" not in said)
    assert {path.name: path.lstat().st_mtime_ns for path in folder.iterdir()} == before

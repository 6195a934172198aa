"""A checkpoint that is damaged, half there or of another kind is refused in one line, before anything is converted."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from harness.errors import HarnessError
from harness.export import build, pretrained
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import check_unchanged
from tests.harness.command_line import harness
from tests.harness.zoo.checkpoints import INDEX, WEIGHTS, add_tokenizer, change, inspected
from tests.harness.zoo.damages import BY_CONTENT, BY_SHAPE, LAYER


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
    assert marks == ("1 weight that the model does not read, among them value_head.weight",)


def test_a_run_is_not_continued_with_other_weights(folder):
    found = inspected(folder)
    check_unchanged(found)
    change(folder, lambda tensors: tensors[LAYER].mul_(2))
    with pytest.raises(HarnessError, match="its files changed since the run began"):
        check_unchanged(found)
    shutil.rmtree(folder)
    with pytest.raises(HarnessError, match="is gone"):
        check_unchanged(found)


@pytest.mark.parametrize("damage", ["cut", "LFS pointer", "MLX", "vision", "variant alone", "tokenizer cut", *BY_SHAPE])
def test_torch_is_not_imported_for_what_content_tells(folder, damage):
    (BY_CONTENT | BY_SHAPE)[damage][0](folder)
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

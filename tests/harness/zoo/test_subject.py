"""Names on the command line: a zoo key, a checkpoint, or neither."""

from __future__ import annotations

import pytest

from harness.errors import CheckpointError, UnknownNameError
from harness.zoo.subject import is_checkpoint, subject_of
from tests.harness.zoo.test_gguf_file import write


def test_a_key_is_the_zoos_entry_with_seeded_weights():
    spec, checkpoint = subject_of("llama")
    assert (spec.key, checkpoint) == ("llama", None)


def test_a_file_is_a_checkpoint_of_its_architecture(tmp_path):
    path = tmp_path / "small.gguf"
    write(path)
    spec, checkpoint = subject_of(str(path))
    assert spec.architecture == "LlamaForCausalLM"
    assert checkpoint is not None
    assert checkpoint.gguf_file == "small.gguf"


@pytest.mark.parametrize(
    ("name", "expected"), [("llama", False), ("some.mlpackage", False), ("owner/name:file.gguf", True)]
)
def test_checkpoints_are_told_from_packages_and_keys(name, expected):
    assert is_checkpoint(name) is expected


def test_what_is_neither_is_refused_in_a_line(tmp_path):
    with pytest.raises(UnknownNameError, match="Did you mean llama"):
        subject_of("lama")
    with pytest.raises(CheckpointError):
        subject_of(str(tmp_path / "nothing.gguf"))


def test_a_gguf_file_that_does_not_exist_is_no_model_of_the_zoo():
    with pytest.raises(CheckpointError, match=r"none\.gguf: no such file"):
        subject_of("none.gguf")

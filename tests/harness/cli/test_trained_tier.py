"""The tier trained: models whose weights were fetched are run and timed with them, never with seeded ones."""

from __future__ import annotations

import hashlib
import json

import pytest

from harness.cli.trained_tier import with_weights
from harness.errors import CheckpointError
from harness.zoo import catalog
from harness.zoo.trained_weights import TrainedWeights
from harness.zoo.weights_folder import fetched, place_of
from tests.harness.command_line import harness
from tests.harness.zoo.test_gguf_file import LAYERS, WIDTH, write

TABLE = """
[trained]
packages = ["small-weights==1.0"]
files = ["small/small.gguf"]
name = "small.gguf"
sha256 = "{digest}"
licence = "Apache-2.0"
"""


@pytest.fixture
def small(own_zoo, tmp_path, monkeypatch):
    """Return the trained weights of a zoo's Llama, a small GGUF file that is fetched."""
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "small.gguf")
    content = (tmp_path / "small.gguf").read_bytes()
    entry = own_zoo / "llama.toml"
    own = entry.read_text().partition("[trained]")[0]
    entry.write_text(own + TABLE.format(digest=hashlib.sha256(content).hexdigest()))
    trained = catalog.load_zoo()["llama"].trained
    assert isinstance(trained, TrainedWeights)
    place_of(trained).parent.mkdir(parents=True)
    place_of(trained).write_bytes(content)
    return trained


def test_a_model_has_its_weights_and_their_configuration(small):
    specs, checkpoints = with_weights(catalog.select(catalog.load_zoo(), tier="trained"))
    assert [spec.key for spec in specs] == ["llama"]
    assert (specs[0].full["num_hidden_layers"], specs[0].full["hidden_size"]) == (LAYERS, WIDTH)
    assert checkpoints["llama"].digest == small.sha256[:16]


def test_weights_of_another_digest_are_refused(small):
    path = fetched(small)
    spoilt = bytearray(path.read_bytes())
    spoilt[-1] ^= 1
    path.write_bytes(spoilt)
    with pytest.raises(CheckpointError, match="damaged: fetch it anew with: ane-harness weights get llama"):
        with_weights(catalog.select(catalog.load_zoo(), tier="trained"))


@pytest.mark.parametrize("command", ["run", "bench"])
def test_without_weights_the_command_that_fetches_them_is_named(command, small, tmp_path):
    fetched(small).unlink()
    done = harness(command, "--tier", "trained", "--results", tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith("no trained weights are fetched: ane-harness weights get llama\n")
    assert not list(tmp_path.glob("runs/*"))


@pytest.mark.slow
@pytest.mark.parametrize("command", [["run", "--variant", "on"], ["bench", "--variant", "on", "--samples", "2"]])
def test_rows_are_of_the_trained_weights(command, small, tmp_path):
    done = harness(*command, "--tier", "trained", "--results", tmp_path, "--format", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    assert (row["model"], row["checkpoint"], row["size"], row["status"]) == ("llama", "small.gguf", "full", "ok")
    assert row["fused"] == 2 * LAYERS + 1
    assert any(mark.startswith("weights: GGUF F32, small.gguf") for mark in row["marks"])
    assert small.sha256[:16] in row["marks"][0]

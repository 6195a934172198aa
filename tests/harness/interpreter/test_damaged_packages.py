"""Whatever stands in a package's files, and whatever is given to ``predict``: a result, or one line of our own."""

from __future__ import annotations

import shutil
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

from harness.errors import HarnessError, InputError, PackageError
from harness.interpreter import ReferenceModel

DATA = {"x": np.ones((2, 16), np.float32)}


@mb.program(input_specs=[mb.TensorSpec(shape=(2, 16))], opset_version=ct.target.iOS17)
def small(x):
    weight = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    y = mb.layer_norm(x=mb.linear(x=x, weight=weight), axes=[-1])
    y = mb.concat(values=[y, mb.relu(x=y)], axis=1)
    flag = mb.greater(x=mb.reduce_max(x=x, keep_dims=False), y=np.float32(0))
    return mb.cond(pred=flag, _true_fn=lambda: mb.tanh(x=y), _false_fn=lambda: mb.identity(x=y))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "small.mlpackage"
    model = ct.convert(small, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    model.save(str(path))
    return path


@pytest.fixture
def package(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "damaged.mlpackage"))


def damage(content, rng):
    """Return the bytes with a few of them flipped, replaced, left out or put in."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, how = int(rng.integers(len(damaged))), rng.integers(4)
        if how == 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            damaged[at] = int(rng.integers(256))
        elif how == 2:
            del damaged[at : at + int(rng.integers(1, 8))]
        else:
            damaged[at:at] = rng.bytes(int(rng.integers(1, 4)))
    return bytes(damaged)


@pytest.mark.parametrize("file", ["model.mlmodel", "weight.bin"])
def test_damaged_bytes_run_or_are_refused_in_one_line(package, file):
    (path,) = package.rglob(file)
    content, rng, refused = path.read_bytes(), np.random.default_rng(17), []
    for _ in range(150):
        path.write_bytes(damage(content, rng))
        try:
            ReferenceModel(package).predict(DATA)
        except HarnessError as error:
            refused.append(str(error))
    assert refused
    assert all(line.isprintable() for line in refused)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b'{"itemInfoEntries": [], "rootModelIdentifier": 3}',
        b'{"itemInfoEntries": {"a": {"path": 5}}, "rootModelIdentifier": "a"}',
        b'{"itemInfoEntries": {"a": {"path": ""}}, "rootModelIdentifier": "a"}',
        b'{"itemInfoEntries": {"a": {"path": "a\\nb"}}, "rootModelIdentifier": "a"}',
        b"[" * 100_000,
    ],
    ids=["empty", "null", "no text", "list", "number", "no path", "line break", "deep"],
)
def test_a_manifest_of_any_kind(package, content):
    (package / "Manifest.json").write_bytes(content)
    with pytest.raises(PackageError) as caught:
        ReferenceModel(package)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["", "/dev/null", "a\0b", "x" * 5000, "."])
def test_a_path_of_any_kind(path):
    with pytest.raises(PackageError):
        ReferenceModel(path)


@pytest.mark.parametrize("kind", ["folder", "device", "dangling link"])
def test_weights_that_are_no_file(package, kind):
    (weights,) = package.rglob("weight.bin")
    weights.unlink()
    if kind == "folder":
        weights.mkdir()
    else:
        weights.symlink_to("/dev/null" if kind == "device" else "nowhere")
    with pytest.raises(PackageError, match="weight"):
        ReferenceModel(package)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [1],
        {},
        {3: DATA["x"]},
        {"x": None},
        {"x": [[1], [1, 2]]},
        {"x": b"abc"},
        {"x": DATA["x"].astype(complex)},
        {"x": np.full((2, 16), None)},
        {"x": np.full((2, 16), "2026-01-01", "datetime64[s]")},
        {"x": np.ones((0, 16))},
        {"x": 3.0},
    ],
    ids=lambda data: type(data).__name__,
)
def test_inputs_of_any_kind(sound, data):
    with pytest.raises(InputError) as caught:
        ReferenceModel(sound).predict(data)
    assert str(caught.value).isprintable()

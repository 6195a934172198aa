"""A rewrite that cannot be done, or ends half-way: one line, nothing half-written, and the original as it was."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys

import coremltools as ct
import numpy as np
import pytest

import ane_rms
from ane_rms.package.files import open_package
from tests.ane_rms.finished import described, digests


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    path = tmp_path_factory.mktemp("plain") / "plain.mlpackage"
    described().save(str(path))
    return path


def test_what_cannot_be_rewritten_is_refused_in_one_line(package, tmp_path):
    nothing = tmp_path / "absent.mlpackage"
    with pytest.raises(FileNotFoundError, match="no such package"):
        ane_rms.rewrite(nothing)
    with pytest.raises(FileExistsError, match="something already"):
        ane_rms.rewrite(package, package)
    with pytest.raises(ValueError, match="unknown lowering 'layernorm'"):
        ane_rms.rewrite(package, lowering="layernorm")
    network_spec = ct.proto.Model_pb2.Model(specificationVersion=1)
    network_spec.neuralNetwork.SetInParent()
    for kind, spec in (("a neural network", network_spec), ("a pipeline", _pipeline())):
        broken = tmp_path / f"{kind[2:]}.mlpackage"
        shutil.copytree(package, broken)
        open_package(broken).specification.write_bytes(spec.SerializeToString())
        with pytest.raises(ValueError, match=f"holds {kind}.*; only an ML program has norms"):
            ane_rms.rewrite(broken, tmp_path / "out.mlpackage")
        shutil.rmtree(broken)
    encrypted = tmp_path / "encrypted.mlpackage"
    shutil.copytree(package, encrypted)
    open_package(encrypted).specification.write_bytes(np.random.default_rng(5).bytes(4096))
    with pytest.raises(ValueError, match="damaged or encrypted"):
        ane_rms.rewrite(encrypted, tmp_path / "out.mlpackage")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["encrypted.mlpackage"]


def _pipeline():
    spec = ct.proto.Model_pb2.Model(specificationVersion=1)
    spec.pipeline.SetInParent()
    return spec


STAGES = {
    "building a norm": ("ane_rms.package.norms.splice", {"lowering": "layer_norm_affine"}),
    "writing a scaled weight": ("ane_rms.package.storage.Storage._append", {"rescale": 0.5}),
    "loading the program": ("ane_rms.package.patch.load", {"rescale": 0.5}),
}


@pytest.mark.parametrize("stage", STAGES)
def test_an_interrupted_rewrite_leaves_nothing(stage, package, tmp_path, monkeypatch):
    def interrupted(*_args, **_kwargs):
        raise KeyboardInterrupt

    place, options = STAGES[stage]
    monkeypatch.setattr(place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        ane_rms.rewrite(package, tmp_path / "out.mlpackage", **options)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
import ane_rms
from ane_rms.package import norms, storage
def end(*_):
    os.kill(os.getpid(), int(sys.argv[3]))
norms.splice = storage.Storage._append = end
ane_rms.rewrite(sys.argv[1], sys.argv[2], rescale=0.5 if sys.argv[4] == "rescale" else None)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rescale", ["no rescale", "rescale"])
@pytest.mark.parametrize("ended_by", [signal.SIGKILL, signal.SIGTERM], ids=lambda one: one.name)
def test_a_killed_rewrite_leaves_no_package_and_the_next_one_clears_up(ended_by, rescale, package, tmp_path):
    before = digests(package)
    out = tmp_path / "out.mlpackage"
    command = [sys.executable, "-c", KILLED, str(package), str(out), str(int(ended_by)), rescale]
    killed = subprocess.run(command, check=False, capture_output=True)
    assert killed.returncode == -ended_by
    assert [one.suffix for one in tmp_path.iterdir() if not one.name.startswith(".")] == []
    ane_rms.rewrite(package, out, skip_model_load=True)
    assert [one.name for one in tmp_path.iterdir()] == ["out.mlpackage"]
    assert digests(package) == before


def test_a_rewrite_without_an_output_leaves_only_its_package(package, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(ValueError, match="has no function"):
        ane_rms.rewrite(package, function="another", skip_model_load=True)
    assert list(tmp_path.iterdir()) == []
    done = ane_rms.rewrite(package, skip_model_load=True)
    assert [str(one) for one in tmp_path.iterdir()] == [done.package_path]


def test_a_package_is_not_written_into_the_one_it_is_of(package):
    before = digests(package)
    with pytest.raises(ValueError, match="lies inside"):
        ane_rms.rewrite(package, package / "Data" / "out.mlpackage")
    assert digests(package) == before


@pytest.mark.parametrize("rescale", [None, 0.5])
@pytest.mark.parametrize(("more", "said"), [(-1024, "File too large"), (512, "cannot be extended by a constant")])
def test_a_full_disk_is_an_error_in_one_line_and_leaves_nothing(more, said, rescale, package, tmp_path):
    resource = pytest.importorskip("resource")
    largest = max(one.stat().st_size for one in package.rglob("*") if one.is_file())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest + more, hard))
    try:
        with pytest.raises(OSError, match=said):
            ane_rms.rewrite(package, tmp_path / "out.mlpackage", lowering="layer_norm_affine", rescale=rescale)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_a_finished_model_is_not_converted_but_its_rewrite_is_named(package):
    for finished in (package, str(package), ct.models.MLModel(str(package), skip_model_load=True)):
        with pytest.raises(ValueError, match=r"converted already: ane_rms.rewrite\(\) fuses"):
            ane_rms.convert(finished)
    spec = ct.models.MLModel(str(package), skip_model_load=True).get_spec()
    with pytest.raises(TypeError, match=r"takes an MLModel or the path of an \.mlpackage, not Model"):
        ane_rms.rewrite(spec)

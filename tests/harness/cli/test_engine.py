"""``engine``: predictions of a zoo model and of a package; its probes; errors in one line."""

from __future__ import annotations

import platform

import coremltools as ct
import msgspec
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from harness.records import predictions
from harness.records.predictions import Prediction
from tests.harness.command_line import harness
from tests.mil_tools import NE, options


@pytest.fixture
def package(tmp_path):
    """Return the path of a package with an op that leaves, one that may not compile, and a slice."""

    @mb.program(input_specs=[mb.TensorSpec((1, 2048))], opset_version=ct.target.iOS17)
    def program(x):
        normal = mb.layer_norm(x=x, axes=[-1], gamma=np.arange(1, 2049).astype(np.float32))
        half = mb.slice_by_index(x=normal, begin=[0, 1024], end=[1, 2048])
        return mb.reduce_prod(x=half, axes=[-1])

    path = tmp_path / "small.mlpackage"
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    ct.convert(program, **arguments).save(str(path))
    return path


def test_a_package_by_family(package):
    done = harness("engine", package, "--family", "m1,m5", "--format", "json")
    assert done.returncode == 0, done.stderr
    m1, m5 = msgspec.json.decode(done.stdout, type=list[Prediction])
    assert (m1.family, m5.family) == ("m1", "m5")
    assert [one.op_type for one in m1.absences] == ["reduce_prod", "layer_norm"]
    assert [one.op_type for one in m5.absences] == ["reduce_prod"]
    assert len(m1.hazards) == 1
    assert "above 4,094" in m1.hazards[0].reason
    assert m5.hazards == ()


def test_the_table_says_that_it_is_a_prediction_and_how_wrong_it_may_be(package):
    done = harness("engine", package, "--family", "m1")
    assert done.returncode == 0, done.stderr
    assert "has no path on any family" in done.stdout
    for words in ("not measured", "31 % over 68 graphs", "bandwidth-bound shapes are over-predicted", "attention"):
        assert words in done.stdout


def test_the_norms_are_counted_as_explain_and_the_report_count_them(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec((1, 64))], opset_version=ct.target.iOS17)
    def program(x):
        row = mb.concat(values=[x, mb.mul(x=x, y=np.float32(-1))], axis=-1)
        centred = mb.sub(x=row, y=mb.reduce_mean(x=row, axes=[-1], keep_dims=True))
        variance = mb.reduce_mean(x=mb.square(x=centred), axes=[-1], keep_dims=True)
        normal = mb.mul(x=centred, y=mb.rsqrt(x=mb.add(x=variance, y=np.float32(1e-3))))
        return mb.slice_by_index(x=normal, begin=[0, 0], end=[1, 64])

    path = tmp_path / "lowered.mlpackage"
    ct.convert(program, **options(NE, minimum_deployment_target=ct.target.iOS17)).save(str(path))
    counts = ane_rms.report(path).counts()
    assert counts.startswith("1 lowered already, 0 more would fuse, 0 missed")
    for command in ("engine", "explain"):
        done = harness(command, path)
        assert done.returncode == 0, done.stderr
        assert counts in " ".join(done.stdout.split())


def test_a_prediction_is_kept_where_the_report_looks(package, tmp_path):
    done = harness("engine", package, "--family", "m1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    (kept,) = predictions.read_all(tmp_path, pytest.fail)
    assert kept.subject == "small.mlpackage"


def test_a_zoo_model_is_calibrated(own_zoo):
    done = harness("engine", "llama", "--family", "m2", "--format", "json")
    assert done.returncode == 0, done.stderr
    (found,) = msgspec.json.decode(done.stdout, type=list[Prediction])
    assert found.subject == "llama on layer_norm"
    assert found.on_engine > 0.9 * found.ops


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("llama", "--family", "m9"), "unknown family 'm9'"),
        ((), "one of them"),
        (("llama", "--executor", "reference"), "only with --probe"),
        (("no-such.mlpackage",), "no-such.mlpackage"),
        (("--probe", "--executor", "silicon"), "unknown executor 'silicon'"),
    ],
)
def test_errors_are_one_line(arguments, words):
    done = harness("engine", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.skipif(platform.system() == "Darwin", reason="there the probes run")
def test_probes_need_a_mac():
    done = harness("engine", "--probe")
    assert done.returncode == 2
    assert done.stderr.startswith("ane-harness: --probe needs a Mac")
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
def test_probes_under_a_policy():
    done = harness("engine", "--probe", "--executor", "reference", "--family", "m1")
    assert done.returncode == 0, done.stderr
    assert "predicted" in done.stdout.splitlines()[0]
    assert [line for line in done.stdout.splitlines() if line.rstrip(" |").endswith("differs")] == [
        line for line in done.stdout.splitlines() if "4,096 and 1,024 ones" in line
    ]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("0.3", "--rescale 0.3: expected auto, off, or a power of two such as 0.125 or 2^-3"),
        ("2^-3", "--rescale 2^-3: only for a model or a checkpoint"),
    ],
)
def test_a_rescale_that_is_none_or_of_a_package_is_refused_in_one_line(package, given, says):
    done = harness("engine", package, "--rescale", given)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stderr.count("\n") == 1

"""``harness diff``: where two models part, the worst after it, values saved, and one line for bad input."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest

import ane_rms
from tests.ane_rms.spellings import SPELLINGS
from tests.harness.command_line import harness
from tests.mil_tools import NE, Norm, inputs, options, torch_program

SHAPE = (2, 8, 64)


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """Return packages of one norm, plain and fused."""
    folder = tmp_path_factory.mktemp("packages")
    program = torch_program(Norm(SPELLINGS["A: gamma * (...).to"].function), SHAPE)
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    ct.convert(program, inputs=inputs(SHAPE), **arguments).save(str(folder / "plain.mlpackage"))
    ane_rms.convert(program, inputs=inputs(SHAPE), **arguments).save(str(folder / "fused.mlpackage"))
    return folder


def test_equal_packages_part_nowhere(packages):
    done = harness("diff", packages / "plain.mlpackage", packages / "plain.mlpackage")
    assert done.returncode == 0, done.stderr
    assert "nowhere beyond 0.01" in done.stdout


def test_a_spike_parts_plain_from_fused_at_the_output_and_zero_rows_are_counted(packages, tmp_path):
    x = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    x[..., 3] = 300.0
    np.savez(tmp_path / "spike.npz", x=x)
    done = harness(
        "diff", packages / "fused.mlpackage", packages / "plain.mlpackage",
        "--inputs", tmp_path / "spike.npz", "--save-intermediates", tmp_path / "kept",
    )  # fmt: skip
    assert done.returncode == 1
    assert "first parted at" in done.stdout
    assert "| 0/0       | 16 " in done.stdout
    with np.load(tmp_path / "kept" / "b.npz") as kept:
        assert any(np.isinf(kept[name]).any() for name in kept.files)


def test_a_package_stands_against_its_pytorch_model(tmp_path):
    from harness.convert.conversion import convert
    from harness.export import export
    from harness.plan.variants import VARIANTS
    from harness.zoo.catalog import load_zoo

    path = tmp_path / "llama.mlpackage"
    convert(export(load_zoo()["llama"]), VARIANTS["on"]).model.save(str(path))
    done = harness("diff", "llama", path)
    assert done.returncode == 0, done.stdout
    assert "llama (PyTorch): relative L2" in done.stdout
    assert "nowhere beyond" in done.stdout
    assert harness("diff", "llama", path, "--tolerance", "1e-5").returncode == 1


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        ("absent", "no such package"),
        ("empty", "Manifest.json"),
        ("truncated weights", "weight"),
        ("newer", "newer"),
    ],
)
def test_a_bad_package_is_one_line(packages, tmp_path, damage, line):
    import shutil

    path = tmp_path / "bad.mlpackage"
    if damage == "empty":
        path.mkdir()
    elif damage != "absent":
        shutil.copytree(packages / "plain.mlpackage", path)
    if damage == "truncated weights":
        (weights,) = path.rglob("weight.bin")
        weights.write_bytes(weights.read_bytes()[:80])
    if damage == "newer":
        (model,) = path.rglob("model.mlmodel")
        spec = ct.proto.Model_pb2.Model.FromString(model.read_bytes())
        spec.specificationVersion = 999
        model.write_bytes(spec.SerializeToString())
    done = harness("diff", path, packages / "plain.mlpackage")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert line in done.stderr


def test_inputs_that_do_not_fit_are_one_line(packages, tmp_path):
    np.savez(tmp_path / "wrong.npz", y=np.zeros(3, np.float32))
    arguments = ("diff", packages / "plain.mlpackage", packages / "fused.mlpackage", "--inputs")
    for given in (tmp_path / "wrong.npz", tmp_path / "absent.npz"):
        done = harness(*arguments, given)
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1

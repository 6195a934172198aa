"""Files from strangers: zoo files, records, baselines, plans and packages, mutated at random.

Each gives a valid object or an error of the project's tree: no traceback, no hang, no write.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import coremltools as ct
import msgspec
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.interpreter import ReferenceModel
from harness.judge.expectations import propose
from harness.plan import run_plan
from harness.records import baselines
from harness.records.lookup import Side
from harness.records.run_files import read_records
from harness.zoo import catalog
from tests.fuzz import fuzz

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def mutations(content: bytes):
    """Return a strategy of contents like ``content``: bytes changed, cut out, doubled, inserted."""
    cut = st.tuples(st.integers(0, len(content)), st.integers(0, 40), st.binary(max_size=12))

    def mutate(changes):
        mutated = bytearray(content)
        for at, length, new in changes:
            mutated[at : at + length] = new
        return bytes(mutated)

    return st.lists(cut, min_size=1, max_size=4).map(mutate)


def whole_or_refused(read):
    """Return whether reading gives an object; an error of the project's tree is one line long."""
    said = None
    try:
        read()
    except HarnessError as error:
        said = str(error)
    assert said is None or (said.strip() and "\n" not in said)
    return said is None


LLAMA = (catalog.models_folder() / "llama.toml").read_bytes()
toml_values = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=5,
)


@fuzz(150)
@given(content=st.one_of(mutations(LLAMA), st.binary(max_size=300)))
def test_zoo_files(content, tmp_path):
    path = tmp_path / "llama.toml"
    path.write_bytes(content)
    whole_or_refused(lambda: catalog.load_spec(path))


@fuzz(150)
@given(
    field=st.sampled_from(["title", "norms", "gamma_seed", "tier", "full", "quick", "counts", "control", "wrapper"]),
    value=toml_values,
)
def test_zoo_files_with_values_of_any_kind(field, value, tmp_path):
    spec = {"title": "T", "architecture": "A", "config_class": "C", "published": "p", "tier": "quick", "norms": "L"}
    spec |= {"gamma_seed": 1, "full": {"num_hidden_layers": 2}, "quick": {}, field: value}
    path = tmp_path / "any.toml"
    path.write_bytes(msgspec.toml.encode(spec))
    whole_or_refused(lambda: catalog.load_spec(path).expected_norms())


@pytest.mark.parametrize(
    "content",
    [
        b"a = " + b"[" * 20_000,
        b"x = {" * 5_000,
        b"title = " + b'"' + b"a" * (4 << 20) + b'"',
        b"\xff\xfe" * 10,
        LLAMA.replace(b'"2*L + 1"', b'"' + b"(" * 150 + b"L" + b")" * 20 + b'"'),
        LLAMA.replace(b'"2*L + 1"', b'"' + b"-" * 190 + b'L"'),
        LLAMA.replace(b'"2*L + 1"', b"\"__import__('os').system('x')\""),
        LLAMA.replace(b"num_hidden_layers = 16", b"num_hidden_layers = 1" + b"0" * 400),
    ],
    ids=["deep list", "deep table", "large", "no text", "parentheses", "minus signs", "code", "long number"],
)
def test_zoo_files_made_to_harm(content, tmp_path):
    path = tmp_path / "harm.toml"
    path.write_bytes(content)
    assert not whole_or_refused(lambda: catalog.load_spec(path).expected_norms())


@cache
def line() -> bytes:
    spec = catalog.load_spec(catalog.models_folder() / "llama.toml")
    options = run_plan.Options(variants=("on",))
    made = run_plan.record(
        spec, options, options.cases()[0], status="ok", metrics={"rel_l2": 1e-3}, samples={"predict": (1.0,)}
    )
    return msgspec.json.encode(made) + b"\n"


@fuzz(150)
@given(data=st.data())
def test_records(data, tmp_path):
    content = data.draw(st.one_of(mutations(line()), mutations(line() * 2), st.binary(max_size=300)))
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    said = []
    whole_or_refused(lambda: [record.row for record in read_records(path, said.append)])
    assert len(said) <= 1


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 100_000 + b"\n",
        b'{"schema_version":' * 50_000 + b"\n",
        b"x" * (17 << 20),
        b'{"schema_version":3}\n',
        b"\0\n",
    ],
    ids=["deep", "deep objects", "long", "newer", "zero"],
)
def test_records_made_to_harm(content, tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(content)
    assert not whole_or_refused(lambda: list(read_records(path)))


@cache
def baseline() -> bytes:
    record = msgspec.json.decode(line(), type=run_plan.Record)
    (proposal,) = propose(Side("", [record]), {})
    return msgspec.json.encode(proposal.baseline)


@fuzz(150)
@given(data=st.data())
def test_baselines(data, tmp_path):
    (tmp_path / "llama.json").write_bytes(data.draw(st.one_of(mutations(baseline()), st.binary(max_size=300))))
    whole_or_refused(lambda: baselines.read_folder(tmp_path))


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """Return a small package: a projection with its weights, a norm, a softmax."""

    @mb.program(input_specs=[mb.TensorSpec((1, 8))], opset_version=ct.target.iOS17)
    def program(x):
        y = mb.linear(x=x, weight=np.arange(32, dtype=np.float32).reshape(4, 8), bias=np.zeros(4, np.float32))
        y = mb.layer_norm(x=y, axes=[-1], epsilon=np.float32(1e-5))
        return mb.softmax(x=mb.reshape(x=y, shape=[2, 2]), axis=-1, name="z")

    path = tmp_path_factory.mktemp("package") / "small.mlpackage"
    model = ct.convert(
        program,
        skip_model_load=True,
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS17,
    )
    model.save(str(path))
    return path


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@fuzz(150)
@given(data=st.data())
def test_packages(data, package, tmp_path):
    own = tmp_path / "own"
    shutil.rmtree(own, ignore_errors=True)
    shutil.copytree(package, own / "small.mlpackage")
    path = data.draw(st.sampled_from(sorted(files(own))))
    path.write_bytes(data.draw(mutations(path.read_bytes())))
    before = files(tmp_path)
    whole_or_refused(lambda: ReferenceModel(own / "small.mlpackage").predict({"x": np.ones((1, 8), np.float32)}))
    assert files(tmp_path) == before


@pytest.mark.parametrize("item", ["../../outside", "/etc/passwd", "a/../../../b", "", ".", "\0"])
def test_a_manifest_that_leads_out_of_its_package(item, package, tmp_path):
    shutil.copytree(package, tmp_path / "own.mlpackage")
    path = tmp_path / "own.mlpackage" / "Manifest.json"
    manifest = json.loads(path.read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = item
    path.write_text(json.dumps(manifest))
    assert not whole_or_refused(lambda: ReferenceModel(tmp_path / "own.mlpackage"))


def test_a_weights_file_that_is_a_link_out_of_its_package_is_refused(package, tmp_path):
    shutil.copytree(package, tmp_path / "own.mlpackage")
    (weights,) = (tmp_path / "own.mlpackage").rglob("weight.bin")
    outside = tmp_path / "outside.bin"
    shutil.move(weights, outside)
    weights.symlink_to(outside)
    assert not whole_or_refused(
        lambda: ReferenceModel(tmp_path / "own.mlpackage").predict({"x": np.ones((1, 8), np.float32)})
    )


def test_control_characters_of_a_file_do_not_reach_the_terminal(tmp_path):
    models = tmp_path / "models"
    models.mkdir()
    hostile = LLAMA.replace(b'title = "Llama 3"', b'title = "\\u001b]0;owned\\u0007\\u001b[31mred|cell"')
    (models / "llama.toml").write_bytes(hostile.replace(b'"LlamaForCausalLM"', b'"\\u001b[2JNo|ne"'))
    environment = {**os.environ, "ANE_HARNESS_MODELS": str(models)}
    for arguments in (["list"], ["run", "--out", str(tmp_path / "out"), "--variant", "on"]):
        done = subprocess.run(
            [sys.executable, "-m", "harness", *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=ROOT,
            env=environment,
        )
        shown = (done.stdout + done.stderr).replace("\n", "")
        assert all(character.isprintable() for character in shown), repr(shown)
        rows = [text for text in done.stdout.splitlines() if text.startswith("|")]
        assert len({text.replace("\\|", "").count("|") for text in rows}) == 1

"""Runs and the cache: the second run takes packages from it, and makes anew whatever is another or broken."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from harness.plan.run_plan import Case, Options
from harness.run import cases as run_module
from harness.run.cache import Cache, default_folder, keys
from harness.run.cases import key, run_model
from harness.zoo.catalog import load_zoo

ROOT = Path(__file__).parents[3]
SPEC = load_zoo()["llama"]
OPTIONS = Options(variants=("on",), cache=True)
CASE = Case("on", "layer_norm")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A cache after its first run, and what that gave."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ["ANE_HARNESS_CACHE"]
    os.environ["ANE_HARNESS_CACHE"] = str(folder)
    try:
        return folder, *one()
    finally:
        os.environ["ANE_HARNESS_CACHE"] = before


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def filled(first):
    """The test's own cache holds what that of the first run holds."""
    shutil.copytree(first[0], default_folder())


def one(spec=SPEC, options=OPTIONS):
    announced = []
    (record,) = run_model(spec, options, announced.append)
    return record, announced


def same(record):
    """Return a record less what may differ from run to run."""
    fields = msgspec.to_builtins(record)
    return {
        name: value for name, value in fields.items() if name not in ("time", "seconds", "peak_memory_bytes", "cached")
    }


def test_the_second_run_takes_the_package_and_finds_the_same(first, filled):
    _, made, announced = first
    assert not made.cached
    assert announced[1:] == ["export", "convert plain", "convert on layer_norm", "execute on layer_norm"]
    kept, announced = one()
    assert kept.cached
    assert announced == ["look for on layer_norm", "execute on layer_norm"]
    assert same(kept) == same(made)
    assert kept.status == "ok"
    assert set(kept.seconds) == {"load", "execute"}
    assert set(made.seconds) == {"export", "convert", "execute"}


def test_another_policy_runs_the_same_package(filled):
    record, _ = one(options=msgspec.structs.replace(OPTIONS, policy="ane-m1", run_id="other"))
    assert record.cached
    assert record.policy == "ane-m1"


def test_without_the_cache_nothing_is_taken_or_kept(filled):
    (entry,) = Cache(default_folder()).entries()
    record, _ = one(options=msgspec.structs.replace(OPTIONS, cache=False))
    assert not record.cached
    assert Cache(default_folder()).entries() == [entry]


def test_what_is_wrong_is_not_kept():
    spec = msgspec.structs.replace(SPEC, norms="2*L + 2")
    record, _ = one(spec)
    assert record.status == "wrong"
    assert Cache(default_folder()).entries() == []


def test_a_corrupted_entry_is_made_anew_with_a_note(filled):
    (weights,) = default_folder().rglob("weight.bin")
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    record, _ = one()
    assert not record.cached
    assert "corrupted" in record.marks[0]
    assert "weight.bin" in record.marks[0]
    record, _ = one()
    assert record.cached
    assert record.marks == ()


def test_a_cache_that_cannot_be_written_is_noted_and_the_row_stands(tmp_path):
    (tmp_path / "cache").write_text("a file")
    record, _ = one()
    assert record.status == "ok"
    assert "cannot be written" in record.marks[0]


CHANGES = {
    "config": lambda: key(msgspec.structs.replace(SPEC, quick={**SPEC.quick, "hidden_size": 72}), OPTIONS, CASE),
    "weights": lambda: key(msgspec.structs.replace(SPEC, gamma_seed=99), OPTIONS, CASE),
    "variant": lambda: key(SPEC, OPTIONS, Case("off")),
    "lowering": lambda: key(SPEC, OPTIONS, Case("on", "max_abs")),
    "compression": lambda: key(SPEC, OPTIONS, Case("on", "layer_norm", "int8")),
    "frontend": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, frontend="export"), CASE),
    "shape": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, shape="decode"), CASE),
    "length": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, sequence_length=64), CASE),
    "size": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, size="full"), CASE),
    "rescale": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, rescale="auto"), CASE),
    "aim": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, rescale="auto", aim="sums"), CASE),
    "precision": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, policy="fp32"), CASE),
    "lean": lambda: key(SPEC, msgspec.structs.replace(OPTIONS, lean=False), CASE),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_decides_a_package_changes_its_key(change):
    assert CHANGES[change]() != key(SPEC, OPTIONS, CASE)


def test_a_changed_pass_is_a_miss(monkeypatch, filled):
    monkeypatch.setattr(keys, "sources_digest", lambda: "after a change of ane_rms/passes/lower.py")
    record, _ = one()
    assert not record.cached
    assert len(Cache(default_folder()).entries()) == 2


def test_every_option_is_of_the_key_or_named_as_not_of_it():
    fields = {field.name for field in msgspec.structs.fields(Options)}
    assert set(run_module.NOT_OF_A_PACKAGE) < fields


def test_a_run_from_the_cache_imports_no_converter(filled):
    code = (
        "import sys; from harness.plan.run_plan import Options; from harness.run.cases import run_model;"
        "from harness.zoo.catalog import load_zoo;"
        "(record,) = run_model(load_zoo()['llama'], Options(variants=('on',), cache=True), lambda step: None);"
        "sys.exit(not record.cached or any(name in sys.modules for name in ('coremltools', 'transformers', 'ane_rms')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_rescale_leaves_the_package_of_plain_conversion_in_the_cache():
    rescaled = msgspec.structs.replace(OPTIONS, rescale="2^-3")
    assert key(SPEC, rescaled, Case("off")) == key(SPEC, OPTIONS, Case("off"))

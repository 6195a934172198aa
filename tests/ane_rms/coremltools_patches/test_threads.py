"""Conversions in many threads: every package as if it were made alone, and nothing left behind."""

from __future__ import annotations

import gc
import hashlib
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import coremltools as ct
import pytest
import torch
from coremltools.converters.mil.mil import Builder, block, scope
from coremltools.converters.mil.mil import program as mil_program

import ane_rms
from ane_rms.coremltools_patches import guard
from ane_rms.coremltools_patches.isolation import isolated
from tests.mil_tools import NE, UNITS, inputs, options

SHAPE = (2, 64)
DATE = "com.github.apple.coremltools.conversion_date"


@cache
def program(seed):
    torch.manual_seed(seed)
    width = 64 + 8 * seed
    net = torch.nn.Sequential(
        torch.nn.Linear(64, width), torch.nn.GELU(), torch.nn.Linear(width, 64), torch.nn.RMSNorm(64, eps=1e-6)
    )
    return torch.jit.trace(net.eval(), torch.zeros(SHAPE))


def plain(seed):
    return ct.convert(program(seed), inputs=inputs(SHAPE), **options(NE))


def ours(seed):
    return ane_rms.convert(program(seed), inputs=inputs(SHAPE), **options(UNITS[seed % len(UNITS)]))


def lean(seed):
    return ane_rms.convert(program(seed), inputs=inputs(SHAPE), lean=True, **options(NE))


def installed(seed):
    with ane_rms.installed():
        return ct.convert(program(seed), inputs=inputs(SHAPE), **options(NE))


def failing(seed):
    with pytest.raises(ValueError, match="must be of type list"):
        ane_rms.convert(program(seed), inputs=3, lean=bool(seed % 2), **options(NE))


def digest(model):
    """Return a digest of everything in a package but the day it was made."""
    if model is None:
        return ""
    spec = model.get_spec()
    spec.description.metadata.userDefined.pop(DATE, None)
    found = hashlib.sha256(spec.SerializeToString(deterministic=True))
    for path in sorted(Path(model.weights_dir).iterdir()):
        found.update(path.read_bytes())
    return found.hexdigest()


def left(folder):
    """Return what is in a temporary folder beside the models' packages, which coremltools removes at exit."""
    gc.collect()
    return [path.name for path in folder.iterdir() if path.suffix != ".mlpackage"]


WAYS = (ours, lean, installed, failing)
SEEDS = range(3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A temporary folder that nobody else uses."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield tmp_path
    gc.collect()


def check(jobs, threads):
    alone = {job: digest(job[0](job[1])) for job in sorted(set(jobs), key=str)}
    with ThreadPoolExecutor(threads) as pool:
        made = list(pool.map(lambda job: digest(job[0](job[1])), jobs))
    assert made == [alone[job] for job in jobs]


def assert_coremltools_is_what_it_was(convert_before):
    assert ct.convert is convert_before
    assert guard._standing == {}
    assert type(Builder.name_count) is defaultdict
    assert type(scope.SCOPE_STACK) is scope.ScopeStack
    assert type(block.BLOCK_STACK) is list
    assert dict(Builder.name_count) == {}


def test_a_few_of_each_at_once(folder):
    before = ct.convert
    check([(way, seed) for seed in SEEDS[:2] for way in WAYS], threads=4)
    assert_coremltools_is_what_it_was(before)
    assert left(folder) == []


FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.ane_rms.coremltools_patches import test_threads as cases
print(*[cases.digest(cases.plain(seed)) for seed in cases.SEEDS])
"""


@pytest.mark.slow
def test_two_hundred_at_once_leave_what_a_fresh_process_has(folder):
    """Plain conversions begin while others run; coremltools alone does not convert in two threads at once."""
    before = ct.convert
    with isolated():  # so that a conversion of ours is under way throughout
        check([((*WAYS, plain)[(i + i // 5) % 5], SEEDS[i % len(SEEDS)]) for i in range(200)], threads=8)
    assert_coremltools_is_what_it_was(before)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", FRESH, str(root)], capture_output=True, text=True, check=True, env=environment
    )
    assert [digest(plain(seed)) for seed in SEEDS] == done.stdout.split()
    assert left(folder) == []


def test_a_failing_conversion_leaves_no_numbers_behind():
    before = digest(plain(0))
    failing(1)
    assert dict(Builder.name_count) == {}
    assert digest(plain(0)) == before


def test_weights_of_somebody_else_stay_where_they_are(tmp_path):
    """A model made of a specification and a folder, in a lean block, copies the folder."""
    from ane_rms.coremltools_patches.lean import leaner

    package = tmp_path / "mine.mlpackage"
    plain(0).save(str(package))
    weights = package / "Data/com.apple.CoreML/weights"
    before = {path.name: path.read_bytes() for path in weights.iterdir()}
    with leaner():
        made = ct.models.MLModel(ct.utils.load_spec(str(package)), weights_dir=str(weights), skip_model_load=True)
    assert {path.name: path.read_bytes() for path in weights.iterdir()} == before
    assert {path.name: path.read_bytes() for path in Path(made.weights_dir).iterdir()} == before


def test_symbols_of_several_threads_are_different():
    """coremltools refuses a name that is taken, and two threads that read its number at once ask for the same one."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with isolated(), ThreadPoolExecutor(8) as pool:
            made = list(pool.map(lambda _: str(mil_program.get_new_symbol()), range(4000)))
    finally:
        sys.setswitchinterval(interval)
    assert len(set(made)) == len(made)

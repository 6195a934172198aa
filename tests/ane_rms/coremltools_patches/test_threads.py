"""Conversions in many threads: every package as if it were made alone, and nothing left behind."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
import threading
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder, block, get_new_symbol, scope
from coremltools.converters.mil.mil import program as mil_program
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import register_pass
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ane_rms
from ane_rms.coremltools_patches import guard
from ane_rms.coremltools_patches.isolation import isolated
from ane_rms.passes.strategies import STRATEGIES
from ane_rms.replacing import constant, rewrite_each
from tests.ane_rms.coremltools_patches.conversions import (
    SHAPE,
    built,
    digest,
    installed,
    lean,
    left,
    of_mil,
    ours,
    plain,
    program,
)
from tests.ane_rms.random_graphs import programs
from tests.mil_tools import NE, inputs, options


def failing(seed):
    with pytest.raises(ValueError, match="must be of type list"):
        ane_rms.convert(program(seed), inputs=3, lean=bool(seed % 2), **options(NE))


WAYS = (ours, lean, installed, of_mil, failing)
SEEDS = range(3)


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


@pytest.mark.usefixtures("_many_switches")
def test_a_few_of_each_at_once(folder):
    before = ct.convert
    check([(way, seed) for seed in SEEDS[:2] for way in WAYS], threads=4)
    assert_coremltools_is_what_it_was(before)
    assert left(folder) == []


@given(st.lists(programs(), min_size=4, max_size=4))
@settings(
    max_examples=3, derandomize=True, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
def test_drawn_programs_at_once(drawn):
    """Random graphs in threads give what they give alone."""
    Builder.name_count.clear()  # what drawing has left; coremltools does it after each conversion
    copies = [[copy.deepcopy(one) for one, _ in drawn] for _ in range(3)]
    names = sorted(STRATEGIES)

    def made(at, program):
        arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
        lowering = names[at % len(names)]
        return digest(ane_rms.convert(program, lowering=lowering, axes="any", lean=bool(at % 2), **arguments))

    alone = list(map(made, range(4), copies[0]))
    with ThreadPoolExecutor(4) as pool:
        at_once = list(pool.map(made, [*range(4), *range(4)], [*copies[1], *copies[2]]))
    assert at_once == alone * 2


FRESH = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.ane_rms.coremltools_patches import conversions
print(*[conversions.digest(conversions.plain(int(seed))) for seed in sys.argv[2:]])
"""


@pytest.mark.slow
@pytest.mark.usefixtures("_many_switches")
def test_two_hundred_at_once_leave_what_a_fresh_process_has(folder):
    """Plain conversions begin while others run; coremltools alone does not convert in two threads at once."""
    before = ct.convert
    with isolated():  # so that a conversion of ours is under way throughout
        check([((*WAYS, plain)[(i + i // 6) % 6], SEEDS[i % len(SEEDS)]) for i in range(200)], threads=8)
    assert_coremltools_is_what_it_was(before)
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", FRESH, str(root), *map(str, SEEDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert [digest(plain(seed)) for seed in SEEDS] == done.stdout.split()
    assert left(folder) == []


def test_two_rewrites_at_once_build_in_their_own_blocks():
    """Each is inside its block, and has shared constants in it, while the other is."""
    both_inside = threading.Barrier(2, timeout=60)

    def rewrite(number):
        with isolated():
            made = built(8 + number, 2)
            ops = [op for op in made["main"].operations if op.op_type == "tanh"]

            def build(op):
                both_inside.wait()
                return Builder.mul(x=op.x, y=constant(np.full(8 + number, number, np.float32)), name=op.outputs[0].name)

            rewrite_each(ops, build)
            made.validate()
            ops = [
                op for op in made["main"].operations if op.op_type == "const" and np.shape(op.val.val) == (8 + number,)
            ]
            return [op.val.val.tolist() for op in ops]

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(rewrite, (1, 2))) == [[[1.0] * 9], [[2.0] * 10]]


def test_a_block_of_another_thread_is_not_the_current_one(monkeypatch):
    with isolated():
        monkeypatch.setattr(block, "BLOCK_STACK", [built(8, 1)["main"]])
        with pytest.raises(ValueError, match="Must call Builder inside"):
            Builder.const(val=np.float32(1))


def test_each_symbol_is_made_once(monkeypatch):
    """By those, too, who imported the function before."""
    symbol = mil_program.Symbol

    def slow(name):
        time.sleep(0.002)  # another thread's turn, between a number and the next one
        return symbol(name)

    monkeypatch.setattr(mil_program, "Symbol", slow)

    def make(_):
        with isolated():
            return [get_new_symbol().name for _ in range(5)]

    with ThreadPoolExecutor(4) as pool:
        names = [name for made in pool.map(make, range(4)) for name in made]
    assert len(set(names)) == len(names) == 20
    assert type(mil_program.k_num_internal_syms) is int
    assert get_new_symbol().name not in names


INSIDE = []


@register_pass(namespace="common", name="convert_plainly_inside")
class ConvertPlainlyInside(AbstractGraphPass):
    """A user's pass that converts another model by itself."""

    def apply(self, prog):  # noqa: ARG002 - coremltools' signature
        """Convert, and note the package."""
        INSIDE.append(digest(plain(0)))


@pytest.mark.parametrize("arguments", [{}, {"lean": True}, {"for_ane": True}])
def test_a_plain_conversion_inside_another_one_is_plain(folder, arguments):
    INSIDE.clear()
    pipeline = ct.PassPipeline()
    pipeline.append_pass("common::convert_plainly_inside")
    around = {"inputs": inputs(SHAPE), **options(NE), **arguments}
    expected = digest(ane_rms.convert(program(1), **around))
    assert digest(ane_rms.convert(program(1), pass_pipeline=pipeline, **around)) == expected
    assert [*INSIDE, digest(plain(0))] == [digest(plain(0))] * 2
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

"""The main job on the zoo: every model in every variant, its norms counted three ways, its programs executed."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import msgspec
import pytest

from harness.export import FRONTENDS
from harness.plan.run_plan import FRONTENDS as PLANNED_FRONTENDS
from harness.plan.run_plan import PREPARATION, Options
from harness.plan.variants import VARIANTS
from harness.run.cases import run_model
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()
SEQUENCE_ERROR = 2e-2
"""Relative L2 that float16 may cost the logits of a two-layer model of random weights; 7.6e-3 is the most seen."""
LARGER = {"olmoe": 3e-2}
"""Models that it costs more: olmoe's router has two experts nearly as good for a token, and takes the other one."""
L2_NORMS = {"qwen3_next": 2}
"""Sites that are no modules of the model: the L2 norms of Gated DeltaNet, two in each of its layers."""
FLOAT32_ERROR = {"off": 1e-5, "on": 1e-4, "cpu": 1e-5}
"""Relative L2 that float32 sums may cost. The mean of a row and its negative is a rounding of the row's largest element
instead of 0, and a massive channel is 15,000 times the others: 6.2e-5 is the most seen."""


def records_of(key, **more):
    options = Options(variants=tuple(VARIANTS), **more)
    announced = []
    records = {record.variant: record for record in run_model(ZOO[key], options, announced.append)}
    assert len(announced) == len(PREPARATION) + 2 * len(options.cases())
    return records


def assert_holds(key, records):
    spec = ZOO[key]
    for record in records.values():
        assert record.status == "ok"
        assert record.executor == "reference"
        if spec.activations == "tame" or record.variant == "on":
            assert record.metrics["rel_l2"] < LARGER.get(key, SEQUENCE_ERROR)
            assert (record.outcome, record.reason) == ("fine", "")
        else:
            assert record.outcome == "collapsed"
            assert "the norm's sum of squares overflows float16" in record.reason
    off, on, cpu = records["off"], records["on"], records["cpu"]
    expected = spec.expected_norms("quick")
    assert (on.norms_expected, on.norms_executed, on.fused) == (expected, expected, expected)
    assert off.fused == cpu.fused == 0
    assert off.ops_before == off.ops_after == cpu.ops_after == on.ops_before
    assert sum(site.fused for site in on.sites) == expected + L2_NORMS.get(key, 0)
    if spec.control:
        assert expected == 0
        assert on.sites == off.sites == ()
        assert on.ops_after == on.ops_before
    else:
        assert on.ops_after < on.ops_before


@pytest.mark.quick
@pytest.mark.parametrize("key", [key for key, spec in ZOO.items() if spec.tier == "quick"])
def test_the_quick_tier_holds(key):
    assert_holds(key, records_of(key))


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, spec in ZOO.items() if spec.tier == "nightly" and not spec.unconvertible])
def test_the_nightly_tier_holds(key):
    assert_holds(key, records_of(key))


@pytest.mark.slow
@pytest.mark.parametrize("key", [key for key, spec in ZOO.items() if spec.tier == "quick"])
def test_the_quick_tier_holds_exported(key):
    assert_holds(key, records_of(key, frontend="export"))


@pytest.mark.quick
@pytest.mark.parametrize("key", ["llama", "gemma2", pytest.param("qwen3", marks=pytest.mark.slow)])
def test_at_float32_the_executor_is_pytorch(key):
    for record in records_of(key, policy="fp32").values():
        assert record.compute_precision == "FLOAT32"
        assert record.metrics["rel_l2"] < FLOAT32_ERROR[record.variant]
        assert record.metrics["top1"] == 1.0


def test_the_plan_names_the_frontends_there_are():
    assert PLANNED_FRONTENDS == FRONTENDS


def test_a_shape_that_a_model_does_not_have_is_skipped_with_the_reason():
    (record,) = run_model(ZOO["mamba"], Options(variants=("on",), shape="decode"), lambda _: None)
    assert record.status == "skipped"
    assert record.reason == "mamba: decode: linear_attention layers keep another state than keys and values"


def test_decoding_and_compression_are_rows_that_hold():
    options = Options(variants=("on",), compressions=("", "int4"), shape="decode", sequence_length=12)
    plain, small = run_model(ZOO["llama"], options, lambda _: None)
    for record in (plain, small):
        assert (record.status, record.reason, record.shape) == ("ok", "", "decode")
        assert (record.norms_expected, record.fused, record.missed) == (5, 5, 0)
    assert plain.metrics["rel_l2"] < SEQUENCE_ERROR < small.metrics["rel_l2"] < 0.5
    assert set(small.seconds) >= {"convert", "compress", "execute"}


def test_weights_are_written_where_a_package_is_kept(monkeypatch, tmp_path):
    """Neither those of a program that is only counted, nor those of one that is only executed; none is cast twice."""
    from harness.run import maker

    monkeypatch.setenv("ANE_HARNESS_CACHE", str(tmp_path))
    made = []

    def convert(exported, variant, **more):
        converted = original(exported, variant, **more)
        sizes = [path.stat().st_size for path in Path(converted.model.weights_dir).iterdir()]
        made.append((variant.name, sum(sizes) > 100_000, more["lean"].casts))
        return converted

    original = maker.convert
    monkeypatch.setattr(maker, "convert", convert)
    executed = records_of("llama")
    assert [one[:2] for one in made] == [("off", False), ("on", False), ("cpu", False)]
    made.clear()
    (alone,) = run_model(ZOO["llama"], Options(variants=("on",), cache=True), lambda _: None)
    assert [one[:2] for one in made] == [("off", False), ("on", True)]
    assert made[0][2] is made[1][2]
    on = executed["on"]
    assert (alone.ops_before, alone.ops_after, alone.metrics) == (on.ops_before, on.ops_after, on.metrics)
    made.clear()
    list(run_model(ZOO["llama"], Options(variants=("off", "cpu"), cache=True), lambda _: None))
    assert [one[:2] for one in made] == [("off", True), ("cpu", True)]


def test_the_network_is_gone_before_the_last_program_executes(monkeypatch):
    """Even if garbage refers to it, as the frames of an exception that coremltools has caught may."""
    from harness.measure import model_precision
    from harness.run import maker

    made, alive = [], []

    def prepare(self):
        original(self)
        made.append(weakref.ref(self.exported.module))

    def convert(exported, *arguments, **more):
        garbage = [exported]
        garbage.append(garbage)
        return converted(exported, *arguments, **more)

    def measure(*arguments):
        alive.append(made[0]() is not None)
        return measured(*arguments)

    original, converted, measured = maker.Maker._prepare, maker.convert, model_precision.measure
    monkeypatch.setattr(maker, "convert", convert)
    monkeypatch.setattr(maker.Maker, "_prepare", prepare)
    monkeypatch.setattr(model_precision, "measure", measure)
    spec = msgspec.structs.replace(ZOO["llama"], full=ZOO["llama"].quick)
    gc.disable()
    try:
        records = list(run_model(spec, Options(variants=("on",), size="full"), lambda _: None))
    finally:
        gc.enable()
    assert [record.status for record in records] == ["ok"]
    assert alive == [False]

"""Latency of models with and without fused norms, measured alternately; and what the harness itself adds to a predict.

``pytest -m bench`` on a Mac times Core ML; elsewhere the same runs with the reference executor, whose times are no
device's, and every row says so. The samples go into records under ``results/``, or the folder that ``BENCH_RESULTS``
names, and into pytest-benchmark's JSON, for ``pytest-benchmark compare``.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from pathlib import Path

import msgspec
import numpy as np
import pytest

from harness.bench.latency import Side, Stopwatch
from harness.bench.measurement import Teller
from harness.bench.outcome import Settings
from harness.bench.session import Bench, choose_executor
from harness.cli.selection import others
from harness.plan.run_plan import Options
from harness.records.run_files import RunFolder
from harness.report.latency_table import percentile, slowdown, tokens_per_second
from harness.runtime import Source
from harness.runtime.reference import ReferenceExecutor
from harness.zoo import catalog
from tests.bench.replay import Replay

pytestmark = pytest.mark.bench

VARIANTS = ("off", "on")
MODELS = ("llama", "llama decode", "qwen3", "gemma3_text")
"""What is timed off a Mac, where it only shows that everything works; there, the quick tier in its prefill."""
DECODED = ("llama decode", "qwen3 decode")
"""What is timed token by token, on a Mac too."""
REPLAY = Replay()


def models():
    if sys.platform != "darwin":
        return MODELS
    return [*(spec.key for spec in catalog.select(catalog.load_zoo(), tier="quick")), *DECODED]


@pytest.fixture(scope="module")
def rows():
    """Return a function that gives a model's rows by variant; each model is measured once."""
    folder = RunFolder.new(Path(os.environ.get("BENCH_RESULTS", "results")))
    options = Options(VARIANTS, run_id=folder.run_id)
    known, found = catalog.load_zoo(), {}
    folder.write_asked(others([known[model.partition(" ")[0]] for model in models()]))
    with Bench(options, Settings(choose_executor(), samples=30)) as bench:

        def of(model):
            if model not in found:
                key, _, shape = model.partition(" ")
                bench.options = msgspec.structs.replace(options, shape=shape or "prefill")
                found[model] = {record.variant: record for record in bench.model(known[key])}
                for record in found[model].values():
                    folder.append(record)
            return found[model]

        yield of
    folder.close()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("model", models())
@pytest.mark.benchmark(timer=REPLAY)
def test_predict(benchmark, rows, model, variant):
    record = rows(model)[variant]
    assert record.status == "ok", f"{record.reason}\n{record.log}"
    times = record.samples["predict"]
    benchmark.group = f"{model} ({record.executor})"
    REPLAY.into(
        benchmark,
        times,
        executor=record.executor,
        compute_units=record.compute_units,
        pair=record.pair,
        marks=list(record.marks),
        environment=record.environment.os,
        chip=record.environment.chip,
        p90_s=percentile(times, 0.9),
        p99_s=percentile(times, 0.99),
        tokens_per_s=tokens_per_second(record),
        sustained_over_burst=slowdown(record),
        rel_l2=record.metrics.get("rel_l2"),
        **{name: list(values) for name, values in record.samples.items() if name != "predict"},
    )
    assert benchmark.stats.stats.min == pytest.approx(min(times))


@pytest.mark.ane
@pytest.mark.parametrize("model", models())
def test_every_norm_is_planned_on_the_neural_engine(rows, model):
    placement = rows(model)["on"].placement
    assert placement is not None
    assert set(placement.norms) == {"ane"}, placement


ROUNDS, PREDICTS = 31, 400
ADDED_LIMIT_S = 20e-6


def test_the_harness_adds_little_to_a_predict(tmp_path, record_property):
    """Time the worker's loop, with its note of who is at work and the framework's duration, against a bare one."""
    executor = ReferenceExecutor(Source("none"))  # its timings are read; its predict is the call below
    x = np.ones(4096, np.float32)
    predict = lambda: x @ x  # noqa: E731 - what both loops call
    path = tmp_path / "tell"
    path.write_bytes(b"\0")

    def bare():
        times, clock = [], time.perf_counter
        begin = clock()
        for _ in range(PREDICTS):
            start = clock()
            predict()
            times.append(clock() - start)
        return clock() - begin

    with Teller(str(path)) as tell:
        sides = [Side(name, predict, lambda: executor.timings().predict_s) for name in VARIANTS]
        watch = Stopwatch(sides, note=tell)

        def harness():
            begin = time.perf_counter()
            taken = list(itertools.chain.from_iterable(watch.blocks(lambda count, _past: 2 * count >= PREDICTS)))
            assert len(taken) == PREDICTS
            return time.perf_counter() - begin

        bare()
        harness()
        added = statistics.median((harness() - bare()) / PREDICTS for _ in range(ROUNDS))
    record_property("added_s", added)
    sys.stdout.write(f"\nthe harness adds {added * 1e6:.2f} microseconds to a predict\n")
    assert added < ADDED_LIMIT_S

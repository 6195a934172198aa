"""A hundred thousand records: what history and compare cost, beside Python's own json reading the same lines.

Run with ``pytest -m bench``.
"""

from __future__ import annotations

import json
import time

import msgspec
import numpy as np
import pytest

from tests.bench import own_process
from tests.harness.example_records import NORMS, record, sites, write_run

pytestmark = [pytest.mark.bench, pytest.mark.slow]

NIGHTS, MODELS = 654, 51
MEMORY_LIMIT_BYTES = 10**9


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Return a results folder of 100,062 records: 654 nights of 51 models in three variants, 30 samples each."""
    folder = tmp_path_factory.mktemp("results")
    rng = np.random.default_rng(20260101)
    for night in range(NIGHTS):
        day = f"{2025 + night // 336}-{night // 28 % 12 + 1:02}-{night % 28 + 1:02}"
        rows = []
        for model in range(MODELS):
            for variant in ("off", "on", "cpu"):
                times = 2e-3 * np.exp(rng.normal(0, 0.003) + rng.normal(0, 0.008, 30))
                rows.append(
                    record(
                        f"model-{model:02}",
                        variant,
                        time=f"{day}T00:00:00+00:00",
                        executor="coreml",
                        samples={"predict": tuple(times.round(9).tolist())},
                        sites=sites(*NORMS) if variant == "on" else sites(missed=NORMS),
                    )
                )
        write_run(folder, f"{day.replace('-', '')}T000000.000000Z", rows)
    return folder


@pytest.fixture(scope="module")
def json_s(results):
    """Return the processor time that Python's json takes for all lines."""
    start = time.process_time()
    for path in sorted((results / "runs").glob("*.jsonl")):
        with path.open("rb") as stream:
            for line in stream:
                json.loads(line)
    return time.process_time() - start


def show(capsys, title, cost, json_s):
    with capsys.disabled():
        print(  # noqa: T201 - the figures are the result
            f"\n{title}: {cost.wall_s:.2f} s, {cost.cpu_s:.2f} s of processor, {cost.peak_bytes / 1e6:.0f} MB; "
            f"json.loads alone {json_s:.2f} s of processor"
        )


def test_history_costs_less_than_reading_with_json(results, json_s, capsys):
    cost = own_process.run("-m", "harness", "history", "--results", results, "--all")
    show(capsys, "history of 100,062 records", cost, json_s)
    assert cost.cpu_s < 1.3 * json_s  # nine tenths of it, and room for a busy machine
    assert cost.peak_bytes < MEMORY_LIMIT_BYTES


def test_comparing_two_of_the_nights_reads_these_alone(results, json_s, capsys):
    cost = own_process.run("-m", "harness", "compare", "latest~1", "latest", "--results", results)
    show(capsys, "compare, 2 x 153 of 100,062 records", cost, json_s)
    assert cost.cpu_s < json_s
    assert cost.peak_bytes < MEMORY_LIMIT_BYTES


def test_comparing_files_of_fifty_thousand_records(results, json_s, capsys):
    paths = sorted((results / "runs").glob("*.jsonl"))
    halves = []
    for half, some in enumerate((paths[: NIGHTS // 2], paths[NIGHTS // 2 :])):
        halves.append(results / f"half-{half}.jsonl")
        with halves[-1].open("wb") as stream:
            for night, path in enumerate(some):  # a model of its own for each night, so that no row replaces another
                for line in path.read_bytes().splitlines():
                    one = msgspec.json.decode(line)
                    stream.write(msgspec.json.encode({**one, "model": f"{one['model']}-{night:03}"}) + b"\n")
    cost = own_process.run("-m", "harness", "compare", *halves)
    show(capsys, "compare, 2 x 50,031 records with times", cost, json_s)
    assert cost.cpu_s < 2.5 * json_s  # a third of it the statistics of 50,031 times
    assert cost.peak_bytes < MEMORY_LIMIT_BYTES

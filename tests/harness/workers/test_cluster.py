"""Jobs on a fleet: each done once whatever becomes of a worker, a Neural Engine given to one at a time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from harness.errors import FleetError
from harness.plan.run_plan import row_of
from harness.records.run_files import read_records
from harness.workers import End, Item, Limits
from harness.workers.cluster import Cluster
from harness.workers.pool import Task

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")

ROOT = Path(__file__).parents[3]


def task(key, seconds=0.0, handler="work", **more):
    body = msgspec.json.encode({"key": key, "seconds": seconds, "mib": 0})
    return Task(key, f"handlers:{handler}", body, Limits(60), **more)


def gather(cluster, tasks, on_first=lambda: None):
    """Return what each task gave, and its end, each exactly once."""
    found, ends = {}, {}
    for one in tasks:
        cluster.submit(one)
    for one, message in cluster.run():
        if isinstance(message, Item):
            found.setdefault(one.subject, []).append(msgspec.json.decode(message.body))
        elif isinstance(message, End):
            assert one.subject not in ends
            ends[one.subject] = message
            if len(ends) == 1:
                on_first()
    return found, ends


def test_jobs_are_done_once_though_a_worker_is_killed_and_one_joins_late(fleet):
    first, _ = fleet.worker("-j", "1"), fleet.worker("-j", "1")
    with Cluster(fleet.address) as cluster:
        fleet.wait_for(cluster, 2)

        def lose_one_and_gain_one():
            time.sleep(0.3)  # in the middle of what it does next
            first.kill()
            fleet.worker("-j", "1")

        found, ends = gather(cluster, [task(key, 0.7) for key in range(16)], lose_one_and_gain_one)
    assert {key: len(items) for key, items in found.items()} == dict.fromkeys(range(16), 1)
    assert {end.status for end in ends.values()} == {"ok"}
    assert sum("retried" in end.marks for end in ends.values()) >= 1
    assert all(end.worker for end in ends.values())


def test_a_neural_engine_is_given_to_one_job_at_a_time_and_others_fill_the_rest(fleet):
    fleet.worker("-j", "3", "--ane")
    with Cluster(fleet.address) as cluster:
        fleet.wait_for(cluster, 1)
        measurements = [task(f"ane {key}", 0.4, resources={"ANE": 1}) for key in range(4)]
        found, _ = gather(cluster, [*measurements, *(task(key, 0.4) for key in range(4))])
    spans = sorted((items[0]["begin"], items[0]["end"], key) for key, items in found.items())
    ane = [span for span in spans if str(span[2]).startswith("ane")]
    assert all(a[1] <= b[0] for a, b in pairwise(ane))
    others = [span for span in spans if not str(span[2]).startswith("ane")]
    assert any(a[0] < b[1] and b[0] < a[1] for a in ane for b in others)


def test_what_a_job_does_to_its_process_does_not_end_the_worker(fleet):
    fleet.worker("-j", "1")
    with Cluster(fleet.address) as cluster:
        fleet.wait_for(cluster, 1)
        tasks = [task("dead", handler="segfault"), task("bad", handler="fail"), task("good")]
        _, ends = gather(cluster, tasks)
        assert len(cluster.workers()) == 1
    assert {key: end.status for key, end in ends.items()} == {"dead": "killed", "bad": "failed", "good": "ok"}


def test_a_job_that_takes_every_worker_with_it_is_killed_and_the_others_are_done(fleet):
    for _ in range(4):
        fleet.worker("-j", "1")
    with Cluster(fleet.address) as cluster:
        fleet.wait_for(cluster, 4)
        _, ends = gather(cluster, [task("poison", handler="kill_parent"), task("good", 0.1)])
    assert (ends["poison"].status, ends["good"].status) == ("killed", "ok")
    assert "3 workers were lost" in ends["poison"].reason
    assert ends["poison"].marks == ("retried",)


def test_two_workers_do_jobs_that_sleep_in_little_more_than_half_the_time(fleet):
    fleet.worker("-j", "1")
    seconds = []
    with Cluster(fleet.address) as cluster:
        for count in (1, 2):
            fleet.wait_for(cluster, count)
            gather(cluster, [task("warm", 0.1, resources={}) for _ in range(1)])
            begin = time.monotonic()
            gather(cluster, [task(key, 0.5) for key in range(12)])
            seconds.append(time.monotonic() - begin)
            if count == 1:
                fleet.worker("-j", "1")
    assert seconds[0] / seconds[1] >= 1.6, seconds


def harness(*arguments):
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=dict(os.environ))


def test_a_run_on_a_fleet_keeps_the_records_of_a_run_here(fleet, tmp_path):
    fleet.worker("-j", "1")
    rows = []
    for name, more in (("here", ()), ("there", ("--scheduler", fleet.address))):
        done = harness("run", "llama", "olmo", "--variant", "on", "--out", str(tmp_path / name), *more)
        assert done.returncode == 0, done.stderr
        (path,) = (tmp_path / name / "runs").glob("*.jsonl")
        rows.append(
            {row_of(record): (record.metrics, record.sites, record.worker != "") for record in read_records(path)}
        )
    here, there = rows
    assert {row: values[:2] for row, values in here.items()} == {row: values[:2] for row, values in there.items()}
    assert all(values[2] for values in there.values())
    done = harness("fleet", "status", fleet.address)
    assert done.returncode == 0
    assert "127.0.0.1" in done.stdout


def test_no_scheduler_is_one_line():
    done = harness("fleet", "status", "tcp://127.0.0.1:1")
    assert done.returncode == 2
    assert "no scheduler answers" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_an_address_that_is_none_is_one_line():
    with pytest.raises(FleetError, match="no scheduler answers"):
        Cluster("nowhere at all")


def test_without_a_scheduler_nothing_of_dask_is_imported():
    code = (
        "import sys, harness.cli.main, harness.run.jobs, harness.workers.pool; sys.exit('distributed' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0

"""Ten thousand jobs through a scheduler on this machine, against the same number of bare dask tasks.

What a job costs beyond its own work: a round trip to the scheduler, and one to the worker's child process.
"""

from __future__ import annotations

import json
import time

import distributed
import pytest

from harness.workers.cluster import Cluster
from tests.bench import own_process
from tests.harness.workers.conftest import fleet  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.bench,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning"),
]

JOBS = 10_000
CLIENT_BYTES = 500_000_000
"""Most that the run's process may hold while it hands out ten thousand jobs."""
SECONDS_A_JOB = 0.020
"""A conversion of the smallest model takes two seconds: a hundredth of that, for handing it out."""


CLIENT = """
import json, sys, time
import psutil
from harness.workers.cluster import Cluster
from harness.workers import End
from tests.harness.workers.test_fleet import task

def do_jobs(cluster, count):
    for key in range(count):
        cluster.submit(task(key))
    return sum(message.status == "ok" for _, message in cluster.run() if isinstance(message, End))

address, jobs = sys.argv[1], int(sys.argv[2])
with Cluster(address) as cluster:
    assert do_jobs(cluster, 20) == 20
    begin = time.perf_counter()
    assert do_jobs(cluster, jobs) == jobs
    seconds = (time.perf_counter() - begin) / jobs
    print(json.dumps([seconds, psutil.Process().memory_info().rss]))
"""


def test_ten_thousand_jobs(fleet, record_property):  # noqa: F811 - the fixture
    fleet.worker("-j", "1")
    with Cluster(fleet.address) as cluster:
        fleet.wait_for(cluster, 1)
    seconds, held = json.loads(own_process.run("-c", CLIENT, fleet.address, JOBS).output)
    with distributed.Client(fleet.address, set_as_default=False) as client:
        begin = time.perf_counter()
        futures = client.map(abs, range(JOBS), pure=False)
        client.gather(futures)
        bare = (time.perf_counter() - begin) / JOBS
    print(  # noqa: T201 - the figures of this benchmark
        f"{JOBS} jobs: {seconds * 1e3:.1f} ms a job, {bare * 1e3:.1f} ms a bare dask task, {held / 1e6:.0f} MB held"
    )
    record_property("seconds_per_job", seconds)
    record_property("bare_seconds_per_task", bare)
    record_property("client_bytes", held)
    assert held < CLIENT_BYTES
    assert seconds - bare < SECONDS_A_JOB

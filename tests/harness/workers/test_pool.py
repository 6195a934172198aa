"""Tasks side by side under one memory budget."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from harness.workers import End, Item, Limits
from harness.workers.pool import Pool, Task

ENVIRONMENT = {"PYTHONPATH": str(Path(__file__).parent)}


def task(key, *, seconds=0.0, mib=0, reserve_bytes=0, **limits):
    body = msgspec.json.encode({"key": key, "seconds": seconds, "mib": mib})
    return Task(key, "handlers:work", body, Limits(**limits), reserve_bytes)


def run(pool, tasks):
    """Return each task's items and end by subject; evicted ones are submitted again, alone."""
    found, ends, evicted = {}, {}, []
    for one in tasks:
        pool.submit(one)
    for one, message in pool.run():
        if isinstance(message, Item):
            found.setdefault(one.subject, []).append(msgspec.json.decode(message.body))
        elif isinstance(message, End):
            if message.status == "evicted":
                evicted.append(one.subject)
                pool.submit(replace(one, reserve_bytes=pool.alone(one)))
            else:
                assert one.subject not in ends
                ends[one.subject] = message
    return found, ends, evicted


def overlap(a, b):
    return a["begin"] < b["end"] and b["begin"] < a["end"]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_done_once(workers):
    with Pool(workers, environment=ENVIRONMENT) as pool:
        found, ends, _ = run(pool, [task(key) for key in range(20)])
    assert {key: len(items) for key, items in found.items()} == dict.fromkeys(range(20), 1)
    assert {end.status for end in ends.values()} == {"ok"}


def test_tasks_run_side_by_side():
    with Pool(2, environment=ENVIRONMENT) as pool:
        found, _, _ = run(pool, [task("a", seconds=2), task("b", seconds=2)])
    assert overlap(found["a"][0], found["b"][0])


def test_a_task_waits_for_room():
    with Pool(2, memory_bytes=4 << 30, environment=ENVIRONMENT) as pool:
        large = [task(key, seconds=0.5, reserve_bytes=3 << 30) for key in "ab"]
        found, _, evicted = run(pool, large)
    assert not overlap(found["a"][0], found["b"][0])
    assert not evicted


def test_one_larger_than_the_budget_is_tried_alone():
    with Pool(2, memory_bytes=1 << 30, environment=ENVIRONMENT) as pool:
        found, ends, _ = run(pool, [task("a", seconds=0.2), task("b", reserve_bytes=5 << 30)])
    assert ends["b"].status == "ok"
    assert not overlap(found["a"][0], found["b"][0])


def test_what_passes_the_budget_together_is_evicted_and_done_alone():
    with Pool(2, memory_bytes=800 << 20, environment=ENVIRONMENT) as pool:
        found, ends, evicted = run(pool, [task(key, seconds=1.5, mib=500) for key in "ab"])
    assert len(evicted) == 1
    assert {end.status for end in ends.values()} == {"ok"}
    assert not overlap(found["a"][-1], found["b"][-1])


def test_what_passes_the_budget_alone_is_out_of_memory_and_the_others_are_done():
    with Pool(2, memory_bytes=600 << 20, environment=ENVIRONMENT) as pool:
        _, ends, _ = run(pool, [task("large", seconds=5, mib=900), *(task(key, seconds=0.2) for key in "abc")])
    assert {key: end.status for key, end in ends.items()} == {"large": "out of memory", "a": "ok", "b": "ok", "c": "ok"}


@pytest.mark.parametrize("modules", [(), ("handlers",)], ids=["fresh", "forked"])
def test_a_dead_child_takes_no_other_task_with_it(modules):
    with Pool(2, environment=ENVIRONMENT, modules=modules) as pool:
        tasks = [Task("dead", "handlers:segfault", b"null"), task("a", seconds=1), task("b")]
        _, ends, _ = run(pool, tasks)
    assert {key: end.status for key, end in ends.items()} == {"dead": "killed", "a": "ok", "b": "ok"}


@pytest.mark.skipif(sys.platform != "linux", reason="children are forked on Linux alone")
def test_children_that_work_side_by_side_import_their_modules_once(tmp_path):
    module = f"import os; open({str(tmp_path / 'imports')!r}, 'a').write('once ')"
    (tmp_path / "heavy_module.py").write_text(module)
    environment = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parent}"}
    with Pool(3, environment=environment, modules=("heavy_module",)) as pool:
        found, _, _ = run(pool, [Task(key, "handlers:heavy", b"null") for key in "abc"])
    assert len(found) == 3
    assert (tmp_path / "imports").read_text() == "once "

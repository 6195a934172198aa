"""The table of records: the value of every kind of figure, and files read as far as they can be."""

from __future__ import annotations

import msgspec
import pytest

from harness.errors import RecordError
from harness.judge.record_table import load
from tests.harness.example_records import MAC, METRICS, record, write_run

RUN = "20260101T000000.000000Z"


def values(tmp_path, one, *measures):
    """Return the values of measures in a run of one record."""
    ((point,),) = load([write_run(tmp_path, RUN, [one])], measures).points.values()
    return list(point[4:])


def test_every_kind_of_figure(tmp_path):
    one = record(
        fused=2,
        outcome="collapsed",
        seconds={"convert": 2.5},
        samples={"predict": (3.0, 1.0, 2.0), "warm_load": (1.0, 2.0)},
    )
    found = values(
        tmp_path, one, "fused", "outcome", "rel_l2", "seconds.convert", "predict", "warm_load", "cold_compile"
    )
    assert found[0] == 2
    assert found[1] > 0  # a rank, 0 for the best
    assert found[2:] == [METRICS["rel_l2"], 2.5, 2.0, 1.5, None]


def test_a_figure_named_twice_and_one_named_as_a_keyword(tmp_path):
    assert values(tmp_path, record(samples={"class": (1.0,)}), "class", "fused", "class") == [1.0, 3, 1.0]


def test_no_samples_an_unknown_outcome_and_a_null_are_no_value(tmp_path):
    one = record(samples={"predict": ()}, outcome="odd", metrics={**METRICS, "rel_l2": None})
    assert values(tmp_path, one, "predict", "outcome", "rel_l2") == [None, None, None]


def test_a_checkpoint_is_known_by_its_content(tmp_path):
    rows = [record(checkpoint=path, definition="abc") for path in ("here", "there")]
    (group,) = load([write_run(tmp_path, RUN, rows)], ["fused"]).points
    assert group.row == rows[0].row


def test_machines_are_told_apart_and_named(tmp_path):
    rows = [record(), record(environment=msgspec.structs.replace(MAC, chip="", cores=8))]
    table = load([write_run(tmp_path, RUN, rows)], ["fused"])
    assert [one.machine_name for one in table.groups()] == [
        "macOS 15.5 (24F74), arm64, 8",
        "macOS 15.5 (24F74), arm64, Apple M4, 10",
    ]
    assert set(table.begun()) == {one.machine_name for one in table.groups()}


@pytest.mark.parametrize("line", [b"[]\n", b"{}\n", b"\xff\n", b"[" * 5_000 + b"\n", b'{"run_id": 1}\n'])
def test_the_rest_of_a_damaged_file_and_the_other_files_are_read(tmp_path, line):
    paths = [write_run(tmp_path, run, [record(), record("qwen3")]) for run in (RUN, "20260102T000000.000000Z")]
    paths[0].write_bytes(line + paths[0].read_bytes())
    told = []
    table = load(paths, ["fused"], told.append)
    assert [len(points) for points in table.points.values()] == [2, 2]
    (sentence,) = told
    assert sentence.startswith(f"{paths[0]}:1: not a record")
    with pytest.raises(RecordError, match=":1: not a record"):
        load(paths, ["fused"])


def test_nothing_but_damage_is_an_error_even_where_it_is_told(tmp_path):
    path = write_run(tmp_path, RUN, [record()])
    path.write_bytes(b"{}\n")
    with pytest.raises(RecordError, match="not a record"):
        load([path], ["fused"], [].append)


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    path = write_run(tmp_path, RUN, [record()])
    told = []
    table = load([tmp_path / "gone.jsonl", path], ["fused"], told.append)
    assert told == [f"{tmp_path / 'gone.jsonl'}: cannot read: No such file or directory; left out"]
    assert len(table.points) == 1

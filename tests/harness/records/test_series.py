"""The names of nights."""

from __future__ import annotations

from harness.records.series import night_names


def test_a_night_is_named_by_its_date():
    assert night_names({"one": "2026-01-31T23:59:01+00:00", "two": "2026-02-01T00:10:00+00:00"}) == {
        "one": "2026-01-31",
        "two": "2026-02-01",
    }


def test_runs_that_share_a_date_have_the_time_too():
    begun = {
        "alone": "2026-01-30T02:00:00+00:00",
        "early": "2026-01-31T02:00:00+00:00",
        "late": "2026-01-31T23:59:01+00:00",
        "later": "2026-01-31T23:59:07+00:00",
    }
    assert list(night_names(begun).values()) == [
        "2026-01-30",
        "2026-01-31 02:00",
        "2026-01-31 23:59:01",
        "2026-01-31 23:59:07",
    ]


def test_runs_of_one_second_keep_their_ids():
    same = "2026-01-31T02:00:00+00:00"
    assert night_names({"one": same, "two": same}) == {"one": "one", "two": "two"}

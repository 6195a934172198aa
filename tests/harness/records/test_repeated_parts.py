"""Records read with their repeated parts held once are the records that were written."""

from __future__ import annotations

import msgspec
import pytest

from harness.records import repeated_parts
from harness.records.migration import decode
from harness.records.schema import Record
from tests.harness.example_records import MAC, NORMS, record, sites


@pytest.mark.parametrize(
    "one", [record(), record("qwen3", "off", sites=sites(missed=NORMS), samples={"predict": (1.0,)})]
)
def test_a_record_is_read_as_msgspec_alone_reads_it(one):
    line = msgspec.json.encode(one)
    assert repeated_parts.decode(line) == msgspec.json.decode(line, type=Record) == one


def test_what_two_records_repeat_is_held_once():
    first, second = (repeated_parts.decode(msgspec.json.encode(record(name))) for name in ("llama", "qwen3"))
    assert first.environment is second.environment
    assert first.sites is second.sites
    assert first.model != second.model


def test_other_environments_and_sites_are_others():
    other = msgspec.structs.replace(MAC, chip="Apple M5")
    one = repeated_parts.decode(msgspec.json.encode(record(environment=other, sites=sites(*NORMS[:1]))))
    assert (one.environment.chip, len(one.sites)) == ("Apple M5", 1)


def test_sites_that_are_left_out_are_none():
    fields = msgspec.to_builtins(record())
    del fields["sites"]
    assert repeated_parts.decode(msgspec.json.encode(fields)).sites == ()


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("environment", {**msgspec.to_builtins(MAC), "cores": "ten"}, r"\$\.environment\.cores"),
        ("sites", [{}], r"\$\.sites"),
    ],
)
def test_a_part_that_is_none_is_an_error_with_its_place(name, value, place):
    line = msgspec.json.encode({**msgspec.to_builtins(record()), name: value})
    with pytest.raises(Exception, match=f"not a record: .*{place}"):
        decode(line)

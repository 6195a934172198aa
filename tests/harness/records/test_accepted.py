"""The file of accepted changes: appended whole, read line by line, refused by name where it is damaged."""

from __future__ import annotations

import pytest

from harness.errors import RecordError
from harness.records import accepted
from harness.records.accepted import Accepted

ENTRY = Accepted(
    "llama", "llama on", ("llama", "on"), "predict", 2e-3, 2.8e-3, "20260101", "torch 2.14", "2026-01-02T00:00:00Z"
)


def test_entries_are_appended_and_read_in_order(tmp_path):
    other = Accepted(**{name: getattr(ENTRY, name) for name in ENTRY.__struct_fields__} | {"model": "qwen3"})
    accepted.add(tmp_path, [ENTRY])
    path = accepted.add(tmp_path, [other])
    assert accepted.read(tmp_path) == [ENTRY, other]
    assert len(path.read_text(encoding="utf-8").splitlines()) == 2


def test_no_file_is_no_entry(tmp_path):
    assert accepted.read(tmp_path) == []


@pytest.mark.parametrize("line", ["{", "[]", '{"model": 1}', "\xff"])
def test_a_damaged_line_is_named(tmp_path, line):
    accepted.add(tmp_path, [ENTRY])
    path = tmp_path / accepted.NAME
    path.write_bytes(path.read_bytes() + line.encode("latin-1") + b"\n")
    with pytest.raises(RecordError, match=r"accepted\.jsonl:2: not an accepted change"):
        accepted.read(tmp_path)

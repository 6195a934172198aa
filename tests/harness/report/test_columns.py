"""Columns that say nothing are left out where people read."""

from __future__ import annotations

import msgspec

from harness.report import formats
from harness.report.columns import COLUMNS, shown
from harness.report.results_table import document
from tests.harness.example_records import record

PLAIN = record()


def headers(*records):
    return [column.header for column in shown(records, COLUMNS)]


def test_usual_values_have_no_column():
    assert not {"checkpoint", "shape", "compression"} & set(headers(PLAIN, PLAIN))


def test_one_row_that_differs_brings_the_column():
    decoded = msgspec.structs.replace(PLAIN, shape="decode")
    smaller = msgspec.structs.replace(PLAIN, compression="int8")
    assert set(headers(PLAIN, decoded)) - set(headers(PLAIN)) == {"shape"}
    assert set(headers(smaller)) - set(headers(PLAIN)) == {"compression"}


def test_tables_for_programs_have_every_column():
    assert formats.tsv(document([PLAIN])).splitlines()[0].split("\t")[:-1] == [
        column.header for column in COLUMNS if not column.on_terminal_only
    ]

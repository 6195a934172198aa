"""Tables on a terminal: no line is wider, the deciding columns are always there, and no text is lost."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from harness.errors import UnknownNameError
from harness.report.fitted import fitted, folded
from harness.report.formats import FORMATS, Layout, check_columns
from harness.report.table import DECIDING, DETAIL, Document, Table, head, places
from tests.harness.report import documents

WIDTHS = (80, 120)


@pytest.fixture(scope="module")
def every(tmp_path_factory):
    return documents.everything(tmp_path_factory.mktemp("results"))


@pytest.mark.parametrize("width", WIDTHS)
def test_every_command_s_tables_at_a_width(every, width, snapshot):
    shown = {name: FORMATS["table"](one, Layout(width)) for name, one in every.items()}
    assert "\n\n".join(f"== {name} ==\n{text}" for name, text in shown.items()) == snapshot


@pytest.mark.parametrize("width", [40, *WIDTHS, 200])
def test_no_line_of_any_command_is_wider_than_the_terminal(every, width):
    for name, one in every.items():
        for line in FORMATS["table"](one, Layout(width)).splitlines():
            assert cell_len(line) <= width, f"{name}: {line}"


@pytest.mark.parametrize("width", WIDTHS)
def test_a_run_shows_the_six_columns_that_decide(every, width):
    header = FORMATS["table"](every["run"], Layout(width)).splitlines()[0].split()
    assert {"model", "variant", "norms", "outcome", "precision", "status"} <= set(header)


@pytest.mark.parametrize("width", WIDTHS)
def test_reasons_are_whole(every, width):
    for name in ("run", "explain", "engine", "engine --probe", "placement"):
        text = re.sub(r"[^a-z]", "", FORMATS["table"](every[name], Layout(width)).lower())
        words = [re.sub(r"[^a-z]", "", word) for word in documents.REASON.split()]
        assert all(word in text for word in words), name


def test_markdown_has_no_column_of_terminals_and_every_other(every):
    header = FORMATS["table"](every["run"], Layout()).splitlines()[0]
    names = [name.strip() for name in header.strip("|").split("|")]
    assert "norms" not in names
    assert {"expected", "fused", "rel L2", "ops before"} <= set(names)


def test_wide_shows_every_column_on_one_line_a_row():
    table = Table(places("a", head("b", priority=DETAIL)), [("x" * 50, "y " * 50), ("1", "2")])
    lines = fitted(table, 40, wide=True).splitlines()
    assert len(lines) == 4
    assert "y y y y" in lines[2]


def test_named_columns_come_alone_and_in_order():
    document = Document([Table(places("a", "relative L2", "c"), [(1, 2.5, 3)])])
    assert FORMATS["tsv"](document, Layout(columns=("c", "relative_l2"))) == "c\trelative L2\n3\t2.5"
    fitted_text = FORMATS["table"](document, Layout(80, columns=("C", "relative L2")))
    assert [line.split() for line in fitted_text.splitlines()[:2]] == [["c", "relative"], ["L2"]]


def test_an_unknown_column_is_named_with_the_known_ones():
    with pytest.raises(UnknownNameError, match="unknown column 'colour'"):
        check_columns(["colour"], places("model", "norms"))


def test_comma_separated_values_are_raw_and_quoted():
    columns = places("name", head("p50 ms", ".1f"), "seen")
    document = Document([Table(columns, [('a "b", c', 1.23456, True), ("d", None, False)])])
    assert FORMATS["csv"](document).splitlines() == ["name,p50_ms,seen", '"a ""b"", c",1.23456,true', "d,,false"]


def test_json_has_stable_keys_and_null_for_what_is_not_finite():
    import json

    document = Document([Table(places("relative L2", "tokens/s"), [(float("nan"), 3)])])
    assert json.loads(FORMATS["json"](document)) == [{"relative_l2": None, "tokens_per_s": 3}]


texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(30, 160))
def test_any_table_fits_and_keeps_the_texts_of_deciding_columns(data, width):
    count = data.draw(st.integers(1, 6))
    traits = [
        {"priority": data.draw(st.integers(DECIDING, DETAIL)), "width": data.draw(st.sampled_from([0, 8, 20]))}
        for _ in range(count)
    ]
    columns = places(*(head(f"h{n}", **one) for n, one in enumerate(traits)))
    rows = data.draw(st.lists(st.tuples(*[texts] * count), min_size=1, max_size=4))
    text = fitted(Table(columns, rows), width)
    assert all(cell_len(line) <= width for line in text.splitlines())
    shown = sorted(text)
    for row in rows:
        for value, one in zip(row, traits, strict=True):
            if one["priority"] == DECIDING:
                assert all(shown.count(sign) >= value.count(sign) for sign in set(value))


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C",)), max_size=200), st.integers(4, 60))
def test_folding_loses_nothing(text, width):
    assert "".join("".join(folded(text, width)).split()) == "".join(text.split())

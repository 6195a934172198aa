"""The report as a file: complete in itself, allowed nothing but its own parts, harmless whatever a record says."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from html.parser import HTMLParser

import pytest

from harness.report.columns import COLUMNS
from harness.report.columns import shown as shown_columns
from harness.report.page.content import Page
from harness.report.page.embedded_data import embedded
from harness.report.page.html import HERE, render
from tests.harness.report import records


class Elements(HTMLParser):  # its methods are named by HTMLParser
    """The elements of a document, each with its attributes and the text up to the next tag."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.inside = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):  # noqa: D102
        self.found.append((tag, dict(attrs), []))
        self.inside = True

    def handle_endtag(self, tag):  # noqa: ARG002, D102
        self.inside = False

    def handle_data(self, data):  # noqa: D102
        if self.inside:
            self.found[-1][2].append(data)

    def all(self, tag, **attributes):
        """Return attributes and text of each element with this name and these attributes."""
        return [
            (given, "".join(text))
            for name, given, text in self.found
            if name == tag and all(given.get(key) == value for key, value in attributes.items())
        ]


def document(rows, **fields):
    return Elements(render(Page(rows, "a-run", **fields), rows))


def data(elements, name):
    ((_, text),) = elements.all("script", id=name)
    return json.loads(text)


def test_the_file_refers_to_nothing_outside_it():
    elements = document(records.hostile())
    for tag, attributes, _ in elements.found:
        assert "src" not in attributes, tag
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form")
        assert attributes.get("href", "#").startswith("#")


def test_the_policy_allows_the_files_own_style_and_scripts_by_hash_and_nothing_else():
    elements = document([records.record()])
    ((policy, _),) = elements.all("meta", **{"http-equiv": "Content-Security-Policy"})
    directives = dict(part.split(" ", 1) for part in policy["content"].split("; "))
    assert directives["default-src"] == "'none'"
    assert set(directives) == {"default-src", "script-src", "style-src", "base-uri", "form-action"}
    scripts = [text for given, text in elements.all("script") if "type" not in given]
    assert directives["script-src"].split() == [sha256(text) for text in scripts]
    assert directives["style-src"].split() == [sha256(text) for _, text in elements.all("style")]


def sha256(text):
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def test_hostile_text_adds_no_element():
    harmless = [
        records.record(f"m{n}", f"v{n}", status=status)
        for n in range(len(records.HOSTILE))
        for status in ("ok", "failed")
    ]
    tags = sorted(tag for tag, *_ in document(records.hostile()).found)
    assert tags == sorted(tag for tag, *_ in document(harmless).found)


@pytest.mark.parametrize("text", records.HOSTILE)
def test_embedded_data_is_whole_and_cannot_end_its_element(text):
    inside = embedded({text: [text]})
    assert not re.search("[<>&\u2028\u2029]", inside)
    assert json.loads(inside) == {text: [text]}


def test_the_table_has_the_columns_of_every_other_format():
    rows = [row for row in [*records.zoo(), records.record(shape="decode")] if not row.samples]
    columns = data(document(rows), "columns")
    own = shown_columns(rows, COLUMNS)
    assert len(own) > 15
    assert [column["header"] for column in columns] == [column.header for column in own]
    for column, shown in zip(own, columns, strict=True):
        texts = shown["texts"] if shown["numeric"] else [shown["texts"][code] for code in shown["codes"]]
        assert texts == [column.text(row) for row in rows]


def test_latencies_have_their_columns_too_each_once():
    headers = [column["header"] for column in data(document([records.timed()]), "columns")]
    assert {"fused", "status", "p50 ms", "samples", "hand-offs"} <= set(headers)
    assert len(headers) == len(set(headers))


def test_sites_and_environments_that_repeat_are_written_once():
    rows = [records.record(), records.record(variant="cpu", sites=records.sites()), records.timed()]
    details = data(document(rows), "details")
    assert len(details["sites"]) == 1
    assert [environment["chip"] for environment in details["environments"]] == ["Some CPU", "Apple M4"]
    assert [row["environment"] for row in details["records"]] == [0, 0, 1]


def test_raw_samples_are_kept_as_measured():
    row = records.timed()
    (kept,) = data(document([row]), "details")["records"]
    assert tuple(kept["samples"]["predict"]) == row.samples["predict"]


def test_numbers_that_json_has_no_word_for_sort_as_lacking():
    row = records.record(metrics={"rel_l2": float("inf"), "cosine": float("nan")})
    columns = {column["header"]: column for column in data(document([row, records.record()]), "columns")}
    assert columns["rel L2"]["values"] == [None, 8.67e-4]
    assert columns["rel L2"]["texts"][0] == "inf"


def test_a_run_without_rows_says_so():
    elements = document([])
    assert elements.all("h1")[0][1] == "No rows: this run recorded nothing"


def test_notes_stand_at_the_end():
    text = render(Page([records.record()], "a-run", notes=["x.jsonl:3: half-written <last> line"]), [records.record()])
    assert "x.jsonl:3: half-written &lt;last&gt; line" in text


def test_the_vendored_libraries_are_those_of_their_registry():
    """The digests are those of the files inside the packages that npm serves, see vendor/README.md."""
    listed = re.findall(
        r"\| (\S+\.js) \|.*\| `([0-9a-f]{64})` \|", (HERE / "vendor" / "README.md").read_text(encoding="utf-8")
    )
    assert {name for name, _ in listed} == {path.name for path in (HERE / "vendor").glob("*.js")}
    for name, digest in listed:
        assert hashlib.sha256((HERE / "vendor" / name).read_bytes()).hexdigest() == digest, name

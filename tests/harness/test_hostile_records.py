"""Records that a file may hold and no run would write: whatever reads them answers, or refuses in one line."""

from __future__ import annotations

import shutil
from xml.etree import ElementTree as ET

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.cli.main import main
from harness.records.machine import Condition, Environment, Placement
from harness.records.schema import STATUSES, RescaledRecord, SiteRecord, TextRecord
from tests.fuzz import fuzz
from tests.harness.example_records import METRICS, record

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

words = st.sampled_from(
    ["", "a", "../x", "<script>", "'\"; DROP", "\x1b[2J", "\n", "|", "x" * 300, "nan", "0", "\x00\ufffe\u2028"]
)
integers = st.one_of(st.integers(-(2**70), 2**70), st.sampled_from([0, -1, 1, 3, 2**31, 2**63]))
numbers = st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -1.0, 1e308, 5e-324]))
maybe = st.none() | integers


def tables(keys, values):
    return st.dictionaries(keys, values, max_size=2)


def some(values):
    return st.lists(values, max_size=3).map(tuple)


FIELDS = {
    **dict.fromkeys(("time", "frontend", "size", "compute_units", "policy", "lowering", "shape", "compression"), words),
    **dict.fromkeys(("checkpoint", "definition", "reason", "pair", "log", "worker"), words),
    **dict.fromkeys(("seed", "sequence_length"), integers),
    **dict.fromkeys(("norms_expected", "norms_executed", "fused", "missed", "ops_before", "ops_after"), maybe),
    **dict.fromkeys(("norm_ops", "norm_bytes"), maybe),
    **dict.fromkeys(("rescale", "outcome"), words),
    "cached": st.booleans(),
    "peaks": tables(words, numbers),
    "rescaled": some(
        st.builds(
            RescaledRecord,
            **dict.fromkeys(("name", "reason"), words),
            **dict.fromkeys(("values", "weights", "multiplications"), some(words)),
            factor=numbers,
            peak_before=st.none() | numbers,
        )
    ),
    "text": st.none()
    | st.builds(
        TextRecord,
        tokens=integers,
        **dict.fromkeys(("perplexity", "perplexity_float32"), st.none() | numbers),
        agreement=numbers,
        **dict.fromkeys(("prompt", "continuation", "float32"), words),
    ),
    **dict.fromkeys(("marks", "warnings"), some(words)),
    "model": words | st.just("llama"),
    "variant": st.sampled_from(["on", "off", "cpu", "other", ""]),
    "executor": st.sampled_from(["reference", "coreml", "other"]),
    "status": st.sampled_from(STATUSES) | words,
    "environment": st.builds(
        Environment,
        **dict.fromkeys(("os", "machine", "chip", "git_commit"), words),
        **dict.fromkeys(("cores", "memory_bytes"), integers),
        versions=tables(words, words),
    ),
    "sites": some(
        st.builds(
            SiteRecord,
            **dict.fromkeys(("name", "module", "spelling", "reason"), words),
            fused=st.booleans(),
            shape=some(integers | words),
        )
    ),
    "metrics": tables(words | st.sampled_from(sorted(METRICS)), st.none() | numbers),
    "seconds": tables(words | st.just("convert"), numbers),
    "peak_memory_bytes": tables(words, integers),
    "samples": tables(words | st.just("predict"), st.lists(numbers, max_size=40).map(tuple)),
    **dict.fromkeys(
        ("condition", "condition_after"),
        st.none() | st.builds(Condition, power=words, thermal=words, load=st.none() | numbers),
    ),
    "placement": st.none()
    | st.builds(
        Placement,
        **dict.fromkeys(("ops", "norms"), tables(words, integers)),
        cost=tables(words, numbers),
        hand_offs=integers,
    ),
}
nights = st.lists(st.lists(st.fixed_dictionaries({}, optional=FIELDS), min_size=1, max_size=4), min_size=1, max_size=3)

COMMANDS = (
    ("compare", "latest", "latest"),
    ("compare", "latest~1", "latest", "--across-machines"),
    ("history", "--all"),
    ("history", "--all", "--format", "json"),
    ("expect",),
    ("report", "latest"),
    ("nightly", "latest", "--base", "latest~1"),
)


@pytest.mark.timeout(3600)
@fuzz(16, deadline=None)
@given(runs=nights)
def test_what_reads_records_answers_or_refuses(runs, tmp_path, capsys):
    shutil.rmtree(tmp_path / "runs", ignore_errors=True)
    (tmp_path / "runs").mkdir()
    for number, rows in enumerate(runs):
        path = tmp_path / "runs" / f"2026010{number + 1}T000000.000000Z.jsonl"
        path.write_bytes(b"".join(msgspec.json.encode(record(**fields)) + b"\n" for fields in rows))
    for command in COMMANDS:
        with pytest.raises(SystemExit) as ended:
            main([*command, "--results", str(tmp_path)])
        shown = capsys.readouterr()
        assert ended.value.code in (0, 1, 2), command
        assert all(one.isprintable() or one in "\n\t" for one in shown.out + shown.err), command
    if (judged := tmp_path / "tables" / "nightly.xml").exists():
        ET.parse(judged)  # noqa: S314 - our own
        judged.unlink()

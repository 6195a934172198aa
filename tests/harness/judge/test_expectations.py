"""Expectations: what a run would change in them, and what stays."""

from __future__ import annotations

import msgspec
import pytest

from harness.errors import OutputError, RecordError
from harness.records import baselines
from harness.records.baselines import Tolerance
from tests.harness.cli.test_verdicts import harness
from tests.harness.example_records import METRICS, NORMS, record, sites, write_run, zoo

replace = msgspec.structs.replace


@pytest.fixture
def results(tmp_path):
    """Return a results folder with a run of three models, which is what is expected."""
    write_run(tmp_path, "20260101", zoo())
    code, out, _ = harness("expect", "--update", "--results", tmp_path)
    assert code == 0
    assert out.splitlines()[:3] == ["gemma2:", "  added: gemma2 off", "  added: gemma2 on layer_norm"]
    return tmp_path


def files(results):
    return {path.name: path.read_bytes() for path in (results / "baselines").iterdir()}


def test_a_file_a_model_that_reads_well(results, snapshot):
    found = files(results)
    assert sorted(found) == ["gemma2.json", "llama.json", "qwen3.json"]
    assert found["llama.json"].decode() == snapshot


def test_what_is_written_is_what_is_read(results):
    llama = baselines.read_folder(results / "baselines")["llama"]
    assert [row.row for row in llama.rows] == sorted(one.row for one in zoo(1))
    on = next(row for row in llama.rows if row.variant == "on")
    assert (on.fused, on.ops_after, on.metrics["rel_l2"]) == (3, 111, 1.5e-3)
    assert list(on.fused_sites.values()) == list(NORMS)


def test_as_expected_changes_nothing(results):
    before = files(results)
    moved = [replace(one, metrics={**METRICS, "rel_l2": 1.6e-3}) for one in zoo()]
    write_run(results, "20260102", moved)
    code, out, _ = harness("expect", "--update", "--results", results)
    assert (code, out) == (0, "gemma2: as expected\nllama: as expected\nqwen3: as expected\n")
    assert files(results) == before


def test_it_shows_before_it_writes(results):
    before = files(results)
    lost = record(fused=2, missed=1, sites=sites(*NORMS[:2], missed=NORMS[2:]))
    write_run(results, "20260102", [zoo()[0], lost, *zoo()[2:]])
    code, out, err = harness("expect", "--results", results)
    assert code == 1
    assert "llama:\n  regression: llama on layer_norm: norm model.norm is not fused any more" in out
    assert "1 of 3 models' baselines would be written" in err
    assert files(results) == before
    assert harness("expect", "--update", "--results", results)[0] == 0
    changed = {name for name, text in files(results).items() if text != before[name]}
    assert changed == {"llama.json"}
    assert harness("compare", "baselines", "latest", "--results", results)[0] == 0


def test_an_unexpected_improvement_is_told_too(results):
    write_run(results, "20260102", [*zoo()[:-1], replace(zoo()[-1], ops_after=110)])
    code, out, _ = harness("expect", "--results", results)
    assert code == 0
    assert "improvement: gemma2 on layer_norm: 1 fewer op in the program: 110, 111 before" in out


def test_models_that_a_run_lacks_stay_unless_pruned(results):
    write_run(results, "20260102", zoo()[:3])
    code, out, _ = harness("expect", "--update", "--results", results)
    assert code == 0
    assert "gemma2:\n  stays, the run has no word on it: gemma2 off\n" in out
    assert len(files(results)) == 3
    code, out, _ = harness("expect", "--update", "--prune", "--results", results)
    assert "gemma2:\n  removed: the run has no row of it\n" in out
    assert sorted(files(results)) == ["llama.json", "qwen3.json"]
    assert len(baselines.read_folder(results / "baselines")["qwen3"].rows) == 1


def test_models_that_a_run_was_not_asked_for_are_no_matter_of_its(results):
    plan = write_run(results, "20260102", zoo(1)).with_suffix(".json")
    plan.write_text('{"others": ["gemma2", "qwen3"]}')
    before = files(results)
    code, out, _ = harness("expect", "--update", "--prune", "--results", results)
    assert (code, out.strip(), files(results)) == (0, "llama: as expected", before)


def test_a_row_that_ran_out_of_time_is_never_expected(results):
    late = replace(zoo()[1], status="timed out", reason="3600 s", sites=(), metrics={})
    write_run(results, "20260102", [zoo()[0], late, *zoo()[2:]])
    before = files(results)
    code, out, _ = harness("expect", "--update", "--results", results)
    assert code == 0
    assert "stays, the run has no word on it: llama on layer_norm (timed out)" in out
    assert files(results) == before


def test_a_models_tolerances_stay_as_edited_and_hold(results):
    path = results / "baselines"
    llama = baselines.read_folder(path)["llama"]
    baselines.write(path, replace(llama, tolerances={**llama.tolerances, "rel_l2": Tolerance(9.0, 0.0)}))
    worse = [replace(one, metrics={**METRICS, "rel_l2": 9e-3}) for one in zoo()]
    write_run(results, "20260102", worse)
    _, out, _ = harness("compare", "baselines", "latest", "--results", results)
    assert "llama" not in out
    assert "qwen3 on layer_norm" in out
    harness("expect", "--update", "--results", results)
    assert baselines.read_folder(path)["llama"].tolerances["rel_l2"].relative == 9.0


def test_a_devices_metrics_are_not_expected_of_other_machines(tmp_path):
    write_run(tmp_path, "20260101", [record(executor="coreml")])
    harness("expect", "--update", "--results", tmp_path)
    (row,) = baselines.read_folder(tmp_path / "baselines")["llama"].rows
    assert row.metrics == {}
    assert row.fused == 3


def test_a_figure_that_is_not_finite_is_never_expected(tmp_path):
    write_run(tmp_path, "20260101", [record()])
    harness("expect", "--update", "--results", tmp_path)
    before = (tmp_path / "baselines" / "llama.json").read_bytes()
    write_run(tmp_path, "20260102", [record(metrics={**METRICS, "rel_l2": float("nan")}, outcome="not finite")])
    _, out, _ = harness("expect", "--update", "--results", tmp_path)
    assert "its output is not finite" in out
    assert (tmp_path / "baselines" / "llama.json").read_bytes() == before
    code, out, _ = harness("compare", "baselines", "latest", "--results", tmp_path)
    assert code == 1
    assert "the output is not finite, was fine" in out


def test_a_baseline_that_is_none_is_one_line(results):
    path = results / "baselines" / "llama.json"
    path.write_bytes(path.read_bytes()[:-100])
    code, _, err = harness("compare", "baselines", "latest", "--results", results)
    assert code == 2
    assert f"{path}: not a baseline" in err
    assert len(err.strip().splitlines()) == 1


def test_a_newer_baseline_is_refused_with_the_remedy(results):
    path = results / "baselines" / "llama.json"
    path.write_bytes(path.read_bytes().replace(b'"baseline_version": 1', b'"baseline_version": 7'))
    with pytest.raises(RecordError, match=r"baseline version 7, this harness reads 1; upgrade"):
        baselines.read_folder(path.parent)


def test_a_folder_that_cannot_be_written_is_one_error(results):
    llama = baselines.read_folder(results / "baselines")["llama"]
    (results / "in-the-way").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        baselines.write(results / "in-the-way" / "baselines", llama)

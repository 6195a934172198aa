"""Checkpoints that no row of a bench may call ok, by the same rule as those of a run."""

from __future__ import annotations

import importlib

import msgspec
import pytest

from harness.bench import preparation, session
from harness.bench.outcome import Settings
from harness.errors import PackageError
from harness.measure.metrics import METRICS
from harness.plan.run_plan import Options
from harness.run.cases import run_model
from harness.workers import End, Item
from harness.zoo.catalog import load_zoo
from tests.harness.broken_checkpoints import (
    BROKEN_IN_FLOAT16,
    BROKEN_IN_FLOAT32,
    NOT_FINITE_WEIGHTS,
    first_quick,
    plan,
    save,
)

SETTINGS = Settings("reference", samples=2, burst_s=0.1)


class InThisProcess:
    """Takes the place of a child process: these tests are about the rows, and a child imports torch again."""

    def __init__(self, _environment=None):
        pass

    def ask(self, handler, body, _limits):
        """Yield the handler's items, and how it ended."""
        module, _, name = handler.partition(":")
        for item in getattr(importlib.import_module(module), name)(body, lambda _: None):
            yield Item(msgspec.Raw(item))
        yield End()

    def close(self):
        """Do nothing: there is no process."""


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch):
    monkeypatch.setattr(session, "Child", InThisProcess)


def rows(folder, variants=("off", "on"), settings=SETTINGS, **more):
    spec, options = plan(folder, variants, **more)
    with session.Bench(options, settings) as bench:
        return list(bench.model(spec))


@pytest.mark.parametrize("damage", first_quick(NOT_FINITE_WEIGHTS, 2))
def test_weights_that_are_not_finite_have_the_outcome_of_a_run(tmp_path, damage):
    damage(tmp_path)
    for row in rows(tmp_path):
        assert (row.status, row.outcome, row.marks) == ("failed", "not finite", ("weights that are not finite",))
        assert "weights that are NaN or infinite" in row.reason
        assert (row.metrics, row.samples) == (dict.fromkeys(METRICS), {})


@pytest.mark.parametrize(("damage", "reason"), first_quick(BROKEN_IN_FLOAT32.items(), 1))
def test_logits_that_float32_breaks_are_wrong(tmp_path, damage, reason):
    damage(tmp_path)
    for row in rows(tmp_path):
        assert (row.status, reason in row.reason) == ("wrong", True), row.reason


@pytest.mark.parametrize("shape", [pytest.param("prefill", marks=pytest.mark.slow), "decode"])
@pytest.mark.parametrize(("damage", "outcome"), first_quick(BROKEN_IN_FLOAT16.items(), 1))
def test_logits_that_float16_breaks_are_wrong_at_any_token(tmp_path, damage, outcome, shape):
    damage(tmp_path)
    (row,) = rows(tmp_path, ("on",), shape=shape)
    assert (row.status, row.outcome) == ("wrong", outcome), row.reason
    assert row.samples["predict"]


def test_a_sound_checkpoint_has_the_figures_of_a_run(tmp_path):
    (row,) = rows(save(tmp_path), ("on",))
    (ran,) = run_model(*plan(tmp_path), lambda _: None)
    assert (row.status, row.outcome) == ("ok", "fine")
    assert row.metrics == pytest.approx(ran.metrics)


def test_a_shape_that_a_model_does_not_have_is_skipped_as_in_a_run():
    with session.Bench(Options(("off", "on"), shape="decode"), SETTINGS) as bench:
        found = [(row.status, row.outcome) for row in bench.model(load_zoo()["t5_encoder"])]
    assert found == [("skipped", "")] * 2


def test_a_prediction_that_fails_is_a_mark(tmp_path, monkeypatch):
    def refuse(*_):
        raise PackageError("no such op")

    monkeypatch.setattr(preparation, "of_program", refuse)
    (row,) = rows(save(tmp_path), ("on",), Settings("reference", samples=2, burst_s=0.1, families=("m1",)))
    assert row.status == "ok"
    assert "no prediction of the Neural Engine: no such op" in row.marks

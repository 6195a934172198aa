"""Verdicts: what is a regression, what is not, and what cannot be told."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from harness.judge.expectations import propose
from harness.judge.regress import Rules, compare, unasked
from harness.judge.stats import Effect
from harness.judge.times import kind_of
from harness.records.lookup import Side
from harness.records.machine import Condition
from tests.harness.example_records import MAC, METRICS, NORMS, record, sites, zoo

replace = msgspec.structs.replace


def judged(base, candidate, **rules):
    """Return the verdicts that are not ``unchanged``."""
    verdicts = compare(Side("base", base), Side("candidate", candidate), Rules(**rules))
    return [verdict for verdict in verdicts if verdict.kind != "unchanged"]


def only(base, candidate, **rules):
    (verdict,) = judged([base], [candidate], **rules)
    return verdict


def test_a_run_against_itself_is_unchanged_row_by_row():
    verdicts = compare(Side("base", zoo()), Side("candidate", zoo()))
    assert [verdict.kind for verdict in verdicts] == ["unchanged"] * 6


def test_a_lost_norm_is_named_with_its_reason():
    lost = record(fused=2, missed=1, sites=sites(*NORMS[:2], missed=NORMS[2:]))
    verdict = only(record(), lost)
    assert (verdict.kind, verdict.measure, verdict.site) == ("regression", "fused", "model.norm")
    assert verdict.sentence == (
        "llama on layer_norm: norm model.norm is not fused any more: the mean is over axis 1, not the last; "
        "2 fused, 3 before"
    )


def test_a_norm_that_left_the_program_is_lost_too():
    verdict = only(record(), record(fused=2, sites=sites(*NORMS[:2])))
    assert (verdict.kind, verdict.site) == ("regression", "model.norm")
    assert "no such norm is left" in verdict.sentence


def test_a_lost_norm_counts_even_without_a_list_of_sites():
    verdict = only(record(sites=()), record(sites=(), fused=2))
    assert (verdict.kind, verdict.measure, verdict.base, verdict.candidate) == ("regression", "fused", 3, 2)


def test_one_lost_and_one_won_do_not_cancel():
    base = record(fused=2, missed=1, sites=sites(*NORMS[:2], missed=NORMS[2:]))
    candidate = record(fused=2, missed=1, sites=sites(NORMS[0], NORMS[2], missed=[NORMS[1]]))
    assert [(one.kind, one.site) for one in judged([base], [candidate])] == [
        ("regression", NORMS[1]),
        ("improvement", NORMS[2]),
    ]


def test_renamed_norms_are_suspicious_not_lost():
    renamed = record(sites=sites(*(f"decoder.{name}" for name in NORMS)))
    verdict = only(record(), renamed)
    assert (verdict.kind, verdict.measure) == ("suspicious", "fused")


def test_an_added_op_is_a_regression():
    verdict = only(record(), record(ops_after=112))
    assert (verdict.kind, verdict.measure) == ("regression", "ops_after")
    assert verdict.sentence == "llama on layer_norm: 1 more op in the program: 112, 111 before"


def test_fewer_ops_are_an_improvement_unless_norms_were_lost():
    assert only(record(), record(ops_after=110)).kind == "improvement"
    lost = record(fused=2, ops_after=105, norm_ops=10, sites=sites(*NORMS[:2], missed=NORMS[2:]))
    assert [one.kind for one in judged([record()], [lost])] == ["regression"]


def test_an_op_that_plain_conversion_adds_is_said_once():
    verdict = only(record(), record(ops_before=121, ops_after=112))
    assert verdict.measure == "ops_after"
    assert "plain ct.convert" in verdict.sentence


def test_a_model_that_stopped_converting():
    failed = record(
        status="failed", reason="op 'roll' is not known", fused=None, missed=None, sites=(), ops_after=None, metrics={}
    )
    verdict = only(record(), failed)
    assert (verdict.kind, verdict.measure) == ("regression", "status")
    assert verdict.sentence == "llama on layer_norm: failed, converted and ran before: op 'roll' is not known"
    assert only(failed, record()).kind == "improvement"


@pytest.mark.parametrize("status", ["wrong", "timed out", "killed", "out of memory", "skipped"])
def test_every_other_end_of_a_row_that_was_ok_is_a_regression(status):
    assert only(record(), record(status=status, reason="so")).kind == "regression"


def test_a_model_that_vanished_is_one_verdict():
    verdicts = judged(zoo(3), zoo(2))
    assert [(one.kind, one.model) for one in verdicts] == [("regression", "gemma2")]
    assert verdicts[0].sentence == "gemma2: vanished: 2 rows before, none in candidate"


def test_what_a_run_was_not_asked_for_did_not_vanish():
    one = [record("llama", "on")]
    base, named = Side("base", zoo(3)), Side("candidate", one, others=("qwen3", "gemma2"))
    assert [(verdict.kind, verdict.title) for verdict in compare(base, named)] == [("unchanged", "llama on layer_norm")]
    assert unasked(base, named) == 5


def test_what_a_run_was_asked_for_and_has_not_vanished():
    base, run = Side("base", zoo(3)), Side("candidate", [*zoo(1), record("qwen3", "on")], others=())
    assert [verdict.title for verdict in compare(base, run) if verdict.kind == "regression"] == ["qwen3 off", "gemma2"]
    assert unasked(base, run) == 0


def test_a_row_that_vanished():
    verdict = judged(zoo(1), zoo(1)[:1])[0]
    assert (verdict.kind, verdict.title) == ("regression", "llama on layer_norm")


@pytest.mark.parametrize(
    ("metric", "worse", "kind"),
    [
        ("rel_l2", 2.1e-3, "regression"),
        ("rel_l2", 1.7e-3, None),
        ("rel_l2", 1.0e-3, "improvement"),
        ("rel_l2", float("nan"), "regression"),
        ("rel_l2", None, "regression"),
        ("cosine", 0.99999, "regression"),
        ("cosine", 0.9999988, None),
        ("max_abs", 4e-3, "regression"),
        ("kl", 1e-6, "regression"),
        ("top1", 0.9, "regression"),
        ("top1", 0.97, None),
        ("mean_rel", 10.0, None),
    ],
)
def test_metrics_have_a_tolerance(metric, worse, kind):
    verdicts = judged([record()], [record(metrics={**METRICS, metric: worse})])
    assert [(one.kind, one.measure) for one in verdicts] == ([] if kind is None else [(kind, metric)])


def test_a_metric_that_is_not_measured_any_more():
    verdict = only(record(), record(metrics={name: one for name, one in METRICS.items() if name != "kl"}))
    assert (verdict.kind, verdict.measure) == ("regression", "kl")


@pytest.mark.parametrize(
    "field", [{"policy": "fp32"}, {"executor": "coreml"}, {"size": "full"}, {"checkpoint": "/weights"}]
)
def test_another_policy_or_executor_does_not_compare(field):
    verdict = only(record(), record(**field, fused=0))
    assert (verdict.kind, verdict.measure) == ("not comparable", "row")
    assert next(iter(field.values())) in verdict.sentence


def test_another_definition_does_not_compare():
    verdict = only(record(definition="a" * 64), record(definition="b" * 64, fused=0))
    assert verdict.kind == "not comparable"


def test_a_new_row_has_nothing_to_compare_with():
    assert [one.kind for one in judged(zoo(1), zoo(2))] == ["not comparable"] * 2


def times(slowdown=1.0, n=30, *, seed=0, noise=0.008, pair="", **fields):
    rng = np.random.default_rng(seed)
    samples = {"predict": tuple((2e-3 * slowdown * np.exp(rng.normal(0, noise, n))).tolist())}
    return record(executor="coreml", samples=samples, pair=pair, **fields)


@pytest.mark.parametrize("pair", ["", "pair-1"])
def test_a_slower_row_is_a_regression_with_its_figures(pair):
    verdict = only(times(pair=pair), times(1.05, seed=1, pair=pair))
    assert (verdict.kind, verdict.measure) == ("regression", "predict")
    assert 1.04 < verdict.ratio < 1.06
    assert verdict.interval[0] < 1.05 < verdict.interval[1]
    assert verdict.p < 1e-3
    assert verdict.sentence.startswith("llama on layer_norm: predict 2.1 ms, 2 ms before: 5.")
    assert ("in pairs" in verdict.sentence) == bool(pair)


def test_a_faster_row_is_an_improvement():
    assert only(times(pair="p"), times(0.95, seed=1, pair="p")).kind == "improvement"


def test_equal_times_are_unchanged():
    assert judged([times()], [times(seed=1)]) == []


def test_significant_within_the_noise_floor_is_suspicious():
    verdict = only(times(n=200), times(1.015, n=200, seed=1))
    assert verdict.kind == "suspicious"
    assert "noise floor of 3.0%" in verdict.sentence


@pytest.mark.parametrize(
    ("low", "high", "p", "kind"),
    [
        (1.02, 1.04, 0.001, "regression"),
        (0.95, 0.97, 0.001, "improvement"),
        (1.02, 1.04, 0.05, "suspicious"),
        (0.95, 0.97, 0.05, "suspicious"),
        (1.005, 1.02, 0.001, "suspicious"),
        (0.99, 1.005, 0.5, "unchanged"),
        (0.99, 1.06, 0.5, "insufficient data"),
        (0.94, 1.01, 0.5, "insufficient data"),
    ],
)
def test_a_regression_is_significant_and_beyond_the_floor(low, high, p, kind):
    assert kind_of(Effect((low * high) ** 0.5, low, high, p, (1.0, 1.0)), floor=0.01)[0] == kind


@pytest.mark.parametrize("n", [1, 5, 9])
def test_too_few_samples_are_never_unchanged(n):
    verdict = only(times(n=n), times(n=n, seed=1))
    assert verdict.kind == "insufficient data"
    assert f"{n} samples, 10 are needed" in verdict.sentence


def test_too_much_noise_is_never_unchanged():
    verdict = only(times(noise=0.2), times(seed=1, noise=0.2))
    assert verdict.kind == "insufficient data"
    assert "too noisy" in verdict.sentence


def test_samples_that_are_no_times_are_left_out():
    broken = times(n=12)
    broken = replace(broken, samples={"predict": (0.0, float("nan"), -1.0, *broken.samples["predict"][:8])})
    assert only(times(n=12), broken).kind == "insufficient data"


def test_other_machines_do_not_compare_in_time():
    other = replace(MAC, chip="Apple M5")
    verdict = only(times(), times(2.0, environment=other))
    assert verdict.kind == "not comparable"
    assert "Apple M4 before, Apple M5 now" in verdict.sentence
    verdict = only(times(), times(2.0, environment=other), across_machines=True)
    assert (verdict.kind, verdict.label) == ("regression", "across machines")
    assert "across machines" in verdict.sentence


def test_another_build_of_the_system_is_another_machine():
    assert only(times(), times(2.0, environment=replace(MAC, os="macOS 15.5 (24F79)"))).kind == "not comparable"


def test_a_lost_norm_is_lost_on_every_machine():
    lost = record(
        fused=2, missed=1, sites=sites(*NORMS[:2], missed=NORMS[2:]), environment=replace(MAC, chip="Apple M5")
    )
    assert [one.kind for one in judged([record()], [lost])] == ["regression", "not comparable"]


def test_battery_against_mains_does_not_compare():
    verdict = only(times(condition=Condition(power="AC")), times(2.0, condition=Condition(power="battery")))
    assert verdict.kind == "not comparable"
    assert "power AC before, battery now" in verdict.sentence


def test_baselines_gate_on_any_machine_and_in_no_time():
    baselines = {one.model: one.baseline for one in propose(Side("run", zoo()), {})}
    slow = [replace(one, samples={"predict": (1.0,) * 30}, environment=replace(MAC, chip="x")) for one in zoo()]
    verdicts = compare(Side("baselines", baselines=baselines), Side("candidate", slow))
    assert {verdict.kind for verdict in verdicts} == {"unchanged"}
    lost = [*slow[:-1], replace(slow[-1], fused=2, sites=sites(*NORMS[:2]))]
    verdicts = compare(Side("baselines", baselines=baselines), Side("candidate", lost))
    assert [one.sentence for one in verdicts if one.kind == "regression"] == [
        (
            "gemma2 on layer_norm: norm model.norm is not fused any more: no such norm is left in the program; "
            "2 fused, 3 before"
        )
    ]


def test_a_thousand_rows_correct_for_their_number():
    # 40 rows of equals, one of which is 5 % slower: that one alone is found.
    base = [times(model=f"model-{number}", seed=number, pair="p") for number in range(40)]
    now = [
        times(1.05 if number == 7 else 1.0, model=f"model-{number}", seed=1000 + number, pair="p")
        for number in range(40)
    ]
    assert [(one.kind, one.model) for one in judged(base, now)] == [("regression", "model-7")]


def night(pair, *, seed, session=1.0, on=1.0, off=1.0):
    """Return a session's plain and fused rows, measured alternately; each factor slows what it names."""
    rng = np.random.default_rng(seed)
    drift = session * np.linspace(1, 1.02, 30)
    rows = []
    for variant, factor in (("off", off), ("on", on)):
        taken = 2e-3 * factor * drift * np.exp(rng.normal(0, 0.008, 30))
        rows.append(record("llama", variant, executor="coreml", pair=pair, samples={"predict": tuple(taken.tolist())}))
    return rows


def test_a_slower_night_is_told_of_the_plain_conversion_alone():
    (verdict,) = judged(night("1", seed=1), night("2", seed=2, session=1.1))
    assert (verdict.kind, verdict.title) == ("regression", "llama off")


def test_what_got_slower_against_the_plain_conversion_is_found_in_a_faster_night():
    verdicts = judged(night("1", seed=1), night("2", seed=2, session=0.95, on=1.05))
    slower = next(one for one in verdicts if one.kind == "regression")
    assert slower.title == "llama on layer_norm"
    assert slower.ratio == pytest.approx(1.05, abs=0.01)
    assert "against off beside it 5" in slower.sentence
    assert slower.base == pytest.approx(2.02e-3, rel=0.02)


def test_without_samples_of_the_plain_conversion_the_times_themselves_compare():
    old, new = night("1", seed=1), night("2", seed=2, session=1.1)
    verdicts = judged(old, [replace(new[0], samples={}), new[1]])
    assert [(one.kind, one.title) for one in verdicts] == [
        ("regression", "llama on layer_norm"),
        ("suspicious", "llama off"),
    ]

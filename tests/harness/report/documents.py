"""A document of each command that prints a table, with long names and reasons, as the tests of terminals show them."""

from __future__ import annotations

import ane_rms
from ane_rms.rescaled import Rescaled
from harness.engine.probes import PROBES, Answer
from harness.judge.bisection.answers import Answer as Answered
from harness.judge.bisection.question import End, Question
from harness.judge.bisection.walk import Found, Place, Walk
from harness.judge.nightly_series import history
from harness.judge.regress import compare
from harness.judge.times import Rules
from harness.records.lookup import find
from harness.records.predictions import Absence, Hazard
from harness.records.regime_errors import Error
from harness.records.schema import RescaledRecord
from harness.report import (
    bisect_table,
    difference_table,
    engine_beside,
    engine_table,
    fusion_table,
    history_table,
    latency_table,
    norm_table,
    placement_table,
    probe_table,
    rates_table,
    regimes_table,
    results_table,
    verdict_table,
)
from harness.report.table import Document, Table
from harness.runtime.compute_plan import PlannedOp
from tests.harness.example_records import METRICS, record, write_run
from tests.harness.records.test_predictions import prediction
from tests.harness.report.records import timed

LONG = "the-organisation-of-someone/a-language-model-with-a-long-name-1.7B-Instruct"
REASON = "op 'histc' has no conversion, and the text of this reason goes on for longer than a line of a terminal holds"
OPS = [
    PlannedOp("layer_norm", "model_layers_0_input_layernorm_weight_layer_norm_cast_fp16", "ane", ("ane", "cpu"), 0.25),
    PlannedOp("gather", "input_ids_embedded", "cpu", ("cpu",), None),
]


def run() -> Document:
    """Return the table of a run: a long key, a failure with its reason, regions that were scaled."""
    scaled = RescaledRecord("hidden_states_91_cast", 2.0**-3, peak_before=81_234.0, peak_after=10_154.0)
    failed = {"status": "failed", "reason": REASON, "metrics": {}, "fused": None, "sites": (), "outcome": ""}
    return results_table.document(
        [
            record("llama", "off", outcome="norms unfused"),
            record("llama", "on", outcome="exact"),
            record(LONG, "on", compression="palette4", rescale="auto", rescaled=(scaled,), outcome="exact"),
            record("gemma", "on", **failed),
        ]
    )


def bench() -> Document:
    """Return the tables of latencies and rates."""
    rows = [timed("llama", "off", 4.1, pair="p"), timed("llama", "on", 3.6, pair="p")]
    rates = rates_table.document(rows, [prediction("llama on layer_norm")])
    return Document([*results_table.document(rows, latency_table.columns(rows)).parts, *rates.parts])


def bench_norm() -> Document:
    """Return the table of the norm's own cost."""
    rows = [timed("norm", "off", 1.0, size="64x2048", pair="p"), timed("norm", "on", 1.2, size="64x2048", pair="p")]
    return results_table.document(rows, norm_table.columns(rows))


def nights(folder) -> None:
    """Write four nights; the last two are worse."""
    for night in range(1, 13):
        worse = night > 6
        rows = [
            record("llama", metrics={**METRICS, "rel_l2": 4.2e-3 if worse else 1.5e-3}),
            record(LONG, fused=2 if worse else 3),
        ]
        write_run(folder, f"202601{night:02}T000000.000000Z", rows)


def compared(folder) -> Document:
    """Return the table of a comparison."""
    first, last = (find(f"202601{night:02}", folder, lambda _text: None) for night in (1, 12))
    return verdict_table.document(compare(first, last, Rules()))


def changes(folder) -> Document:
    """Return the table of a history."""
    return history_table.document(history(folder, (), (), lambda _text: None), everything=True)


def explained() -> Document:
    """Return the tables of a fusion report."""
    module = "network.model.layers.0.self_attn.q_norm"
    report = ane_rms.FusionReport(
        (ane_rms.Site("hidden_states_5_cast_fp16", "mean_rsqrt_mul", (1, 32, 128), (-1,), 1e-5, True, 0.0, module),),
        (ane_rms.Miss("var_17", "rsqrt", REASON, (1, 32, 128), module),),
        "CPU_AND_NE",
        "layer_norm",
        acting=True,
        rescaled=(Rescaled("hidden_states_5", 0.125, ("a", "b"), ("w",), (1e-5,), (1.5e-7,)),),
    )
    peaks = [("model_layers_0_mlp_down_proj_hidden_states", 81_000.0, 10_125.0, 65_504.0)]
    return fusion_table.document(report, peaks, [("m1, m2, m3, m4, m5", "layer_norm_affine", 9, REASON)])


def predicted() -> Document:
    """Return the tables of a prediction."""
    import msgspec

    one = msgspec.structs.replace(
        prediction(f"{LONG} on layer_norm"),
        absences=(Absence("gather", REASON, 3, True, "x"),),
        hazards=(Hazard("model_layers_0_mlp_down_proj", "matmul", REASON),),
    )
    return engine_table.document([one])


def probed() -> Document:
    """Return the table of the probes."""
    return probe_table.document([("m1", [Answer(PROBES[0], (1.5,)), Answer(PROBES[1], (), REASON)])], "measured")


def placed() -> Document:
    """Return the tables of two plans, with the prediction beside one."""
    moved = [PlannedOp("layer_norm", OPS[0].output, "cpu", ("cpu",), 0.25), OPS[1]]
    beside = engine_beside.beside_plan("llama on", "m1", OPS, {OPS[0].output: REASON, OPS[1].output: REASON})
    return placement_table.document(
        [(LONG, OPS, [OPS[0].output]), ("on layer_norm", moved, [])], every_op=True, beside=[beside]
    )


def measured() -> Document:
    """Return measured times beside predicted ones."""
    rows = [timed("llama", "on", 1.0)]
    return Document([engine_beside.beside_times(rows, {"llama on layer_norm": prediction()})])


def by_regime() -> Document:
    """Return the table of the errors by regime."""
    regimes = ("N(0, 1)", "zeros", "spike of 300", "rows of 1e-4", "largest float16", "one channel of 1000")
    return regimes_table.document([Error("layer_norm_affine", "fp16-sequential", dict.fromkeys(regimes, 1.2e-3), 2e-6)])


def differing() -> Document:
    """Return the tables of a comparison of two programs."""
    import torch

    from harness.interpreter.inspect import Comparison, Deviation, Statistics
    from harness.interpreter.inspect import Record as Seen

    name = "model_layers_0_input_layernorm_weight_layer_norm_cast_fp16"
    statistics = Statistics((1, 32, 128), "fp16", -81.75, 71.25, 1.2, 0, 12, 3)
    seen = Seen(name, "layer_norm", torch.zeros(1), statistics)
    found = Deviation(seen, seen, 0.0078, 0.8125, 3)
    return difference_table.document(Comparison(found, (found,), (found,), ("a",)), 1e-3, [("llama (PyTorch)", 3e-6)])


def bisected() -> Document:
    """Return the table of a bisection: a good commit, one that cannot be measured, the first bad one."""
    ends = (End(f"2026013{day}T000000.000000Z", figure, record(LONG)) for day, figure in ((0, 1.5e-3), (1, 4.2e-3)))
    commits = [str(n) * 40 for n in range(3)]
    points = [Place(commit, (), f"commit {commit[:10]}") for commit in commits]
    told = ((1.5e-3, ""), (None, REASON), (4.2e-3, ""))
    answers = [Answered(commit, (), *one) for commit, one in zip(commits, told, strict=True)]
    walk = Walk(Question(LONG, "rel_l2", *ends), ask=lambda *_: answers[0], releases=lambda *_: [])  # not asked
    walk.seen.update(zip(points, answers, strict=True))
    found = Found(points[0], points[2], answers[0], answers[2], (points[1],))
    return bisect_table.document(walk, found, commits, lambda _commit: f"{REASON} (Somebody, 2026-01-31)")


def everything(folder) -> dict[str, Document]:
    """Return each document by the command that shows it."""
    nights(folder)
    return {
        "run": run(),
        "bench": bench(),
        "bench --norm": bench_norm(),
        "bench, measured beside predicted": measured(),
        "compare": compared(folder),
        "history": changes(folder),
        "explain": explained(),
        "engine": predicted(),
        "engine --probe": probed(),
        "placement": placed(),
        "diff": differing(),
        "regimes": by_regime(),
        "bisect": bisected(),
    }


def tables(document: Document) -> list[Table]:
    """Return the tables of a document that have rows."""
    return [one for one in document.tables if one.rows]

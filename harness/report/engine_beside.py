"""Tables of the engine model's prediction beside Core ML's plan and beside measured times of the same program."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from harness.report.table import DECIDING, Table, head, places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.records.predictions import Prediction
    from harness.records.schema import Record
    from harness.runtime.compute_plan import PlannedOp

PLANNED = places(
    head("op", priority=DECIDING, width=16),
    head("type", priority=DECIDING, width=10),
    head("planned", priority=DECIDING),
    head("predicted", priority=DECIDING, width=24),
)
MEASURED = places(
    head("program", priority=DECIDING, width=16),
    "family",
    head("measured p50 ms", priority=DECIDING),
    head("predicted ms", priority=DECIDING),
    "band",
    head("measured over predicted", priority=DECIDING),
)


def beside_plan(name: str, family: str, ops: Sequence[PlannedOp], predicted: Mapping[str, str]) -> Table[Any] | str:
    """Return the numbers of ops planned and predicted on the engine, and a row for each op on which the two differ.

    Parameters
    ----------
    name: the program's.
    family: the key of this machine's family.
    ops: the plan.
    predicted: by value name, why it leaves the engine; empty for one that stays.
    """
    both = [op for op in ops if op.output in predicted]
    planned = sum(op.preferred == "ane" for op in both)
    stays = sum(not predicted[op.output] for op in both)
    parting = [op for op in both if (op.preferred == "ane") != (not predicted[op.output])]
    head_line = (
        f"{name} on {family}: of {len(both)} ops {planned} are planned and {stays} predicted on the Neural Engine; "
        f"they part at {len(parting)}"
    )
    if not parting:
        return head_line
    rows = [(op.output, op.op_type, op.preferred, predicted[op.output] or "stays") for op in parting]
    return Table(PLANNED, rows, title=head_line)


def beside_times(records: Sequence[Record], predictions: Mapping[str, Prediction]) -> Table[Any]:
    """Return a table of measured medians and predicted times for the rows on the engine that have both.

    Parameters
    ----------
    records: measured rows.
    predictions: by the row's model, variant and lowering, joined by spaces.
    """
    rows = []
    for record in records:
        title = " ".join(filter(None, (record.model, record.variant, record.lowering)))
        samples, found = record.samples.get("predict"), predictions.get(title)
        if not samples or found is None or record.compute_units != "CPU_AND_NE":
            continue
        measured = statistics.median(samples)
        band = f"{found.low_s * 1e3:.3g} to {found.high_s * 1e3:.3g}"
        within = "within" if found.low_s <= measured <= found.high_s else f"{measured / found.latency_s:.2g} times"
        rows.append([title, found.family, f"{measured * 1e3:.3g}", f"{found.latency_s * 1e3:.3g}", band, within])
    return Table(MEASURED, rows, title="Measured times beside the engine model's predictions")

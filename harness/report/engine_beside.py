"""Tables of the engine model's prediction beside Core ML's plan and beside measured times of the same program."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from tabulate import tabulate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.records.predictions import Prediction
    from harness.records.schema import Record
    from harness.runtime.compute_plan import PlannedOp


def beside_plan(name: str, family: str, ops: Sequence[PlannedOp], predicted: Mapping[str, str]) -> str:
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
    head = (
        f"{name} on {family}: of {len(both)} ops {planned} are planned and {stays} predicted on the Neural Engine; "
        f"they part at {len(parting)}"
    )
    if not parting:
        return head
    rows = [[op.output, op.op_type, op.preferred, predicted[op.output] or "stays"] for op in parting]
    return f"{head}\n\n" + tabulate(rows, ["op", "type", "planned", "predicted"], "github", disable_numparse=True)


def beside_times(records: Sequence[Record], predictions: Mapping[str, Prediction]) -> str:
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
    headers = ["program", "family", "measured p50 ms", "predicted ms", "band", "measured over predicted"]
    return tabulate(rows, headers, "github", disable_numparse=True) if rows else ""

"""Plans as tables: a summary of each program, the ops that moved from one to the next, every op."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from harness.report.table import DECIDING, DETAIL, Document, Table, head, places
from harness.runtime.compute_plan import DEVICES, moved, norm_kernels, summarize

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.runtime.compute_plan import PlannedOp

NOTE = "planned, not traced: Core ML may run an op elsewhere than it plans to"


def summary(name: str, ops: Sequence[PlannedOp], norms: Sequence[str]) -> list[str]:
    """Return a program's row of the summary: shares of ops and cost on the Neural Engine, hand-offs, norms."""
    found = summarize(ops, norms)
    total = sum(found.ops.values())
    kernels = list(norm_kernels(ops, norms))
    counts = ", ".join(f"{found.norms[device]} {device}" for device in DEVICES if found.norms.get(device))
    lost = f", {len(norms) - len(kernels)} not found" if len(kernels) < len(norms) else ""
    return [
        name,
        str(total),
        *(f"{found.ops.get(device, 0)}" for device in DEVICES),
        f"{found.ops.get('ane', 0) / total:.0%}" if total else "-",
        f"{found.cost.get('ane', 0.0):.0%}" if found.cost else "-",
        str(found.hand_offs),
        (counts or "-") + lost,
    ]


SUMMARY = places(
    head("program", priority=DECIDING, width=16),
    head("ops", priority=DECIDING),
    *(head(device, priority=DETAIL) for device in DEVICES),
    head("ops on ANE", priority=DECIDING),
    head("cost on ANE", priority=DECIDING),
    head("hand-offs", priority=DECIDING),
    head("norms", priority=DECIDING, width=8),
)
OPS = places(
    head("op", priority=DECIDING, width=20),
    head("type", priority=DECIDING, width=10),
    head("preferred", priority=DECIDING),
    head("supported", width=8),
    head("cost", ".4f"),
    head("role", priority=DECIDING, absent=""),
)

Program: TypeAlias = "tuple[str, Sequence[PlannedOp], Sequence[str]]"
"""A program's name, its ops and the names of its norms."""


def document(programs: Sequence[Program], *, every_op: bool, beside: Sequence[Table[Any] | str] = ()) -> Document:
    """Return the tables of programs; JSON holds each program with its summary and its ops.

    Parameters
    ----------
    programs: in the order in which one is compared with the next.
    every_op: whether each op is listed.
    beside: what follows the note: the engine model's predictions.
    """
    data = [
        {"program": name, "summary": summarize(ops, norms), "ops": list(ops), "norms": list(norms)}
        for name, ops, norms in programs
    ]
    return Document([*_parts(programs, every_op=every_op), *beside], data=data)


def _parts(programs: Sequence[Program], *, every_op: bool) -> Iterator[Table[Any] | str]:
    if every_op:
        for name, ops, norms in programs:
            yield _every_op(name, ops, norms)
    yield Table(SUMMARY, [summary(name, ops, norms) for name, ops, norms in programs])
    for (before, old, _), (after, new, _) in zip(programs, programs[1:], strict=False):  # noqa: RUF007 - as many as there are
        columns = places(*(head(name, priority=DECIDING) for name in ("type", "device", before, after)))
        yield Table(columns, moved(old, new))
    yield NOTE


def _every_op(name: str, ops: Sequence[PlannedOp], norms: Sequence[str]) -> Table[Any]:
    kernels = {op.output for op in norm_kernels(ops, norms)}
    rows = [
        (
            op.output,
            op.op_type,
            op.preferred,
            " ".join(op.supported),
            op.cost,
            "norm" if op.output in kernels else "",
        )
        for op in ops
    ]
    return Table(OPS, rows, title=name)

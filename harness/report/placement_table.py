"""Plans as tables: a summary of each program, the ops that moved from one to the next, every op."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tabulate import tabulate

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


SUMMARY = ["program", "ops", *DEVICES, "ops on ANE", "cost on ANE", "hand-offs", "norms"]


def render(programs: Sequence[tuple[str, Sequence[PlannedOp], Sequence[str]]], *, every_op: bool) -> str:
    """Return the tables of programs, given by name, ops and names of norms, as GitHub Markdown."""
    return "\n\n".join(_parts(programs, every_op=every_op))


def _parts(programs: Sequence[tuple[str, Sequence[PlannedOp], Sequence[str]]], *, every_op: bool) -> Iterator[str]:
    if every_op:
        for name, ops, norms in programs:
            kernels = {op.output for op in norm_kernels(ops, norms)}
            rows = [
                [
                    op.output,
                    op.op_type,
                    op.preferred,
                    " ".join(op.supported),
                    "-" if op.cost is None else f"{op.cost:.4f}",
                    "norm" if op.output in kernels else "",
                ]
                for op in ops
            ]
            yield f"{name}\n\n" + _table(rows, ["op", "type", "preferred", "supported", "cost", ""])
    yield _table([summary(name, ops, norms) for name, ops, norms in programs], SUMMARY)
    for (before, old, _), (after, new, _) in zip(programs, programs[1:], strict=False):  # noqa: RUF007 - as many as there are
        changes = [[kind, device, str(a), str(b)] for kind, device, a, b in moved(old, new)]
        if changes:
            yield _table(changes, ["type", "device", before, after])
    yield NOTE


def _table(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate(rows, headers=headers, tablefmt="github", disable_numparse=True)

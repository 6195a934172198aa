"""Run models in child processes: the end of a process becomes the status of its rows, and the other models go on.

If a process ends in the middle of a case, that case gets the status; the model's other cases are tried again in a new
process, in the time the model has left. If it ends before the first case, or at the time limit, every case
left gets the status.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import msgspec

from harness.measure.metrics import not_computed
from harness.plan import run_plan
from harness.plan.run_plan import Case, Job
from harness.records.schema import Record
from harness.workers import End, Item, Limits, Step
from harness.workers.pool import Task, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.zoo.catalog import Size

HANDLER = "harness.run.jobs:handle"
MODULES = ("harness.run.maker", "harness.measure.model_precision", "transformers.modeling_layers", "torch._dynamo")
"""What a job imports whose packages are not all in the cache; the models' own code imports the last two."""

_record = msgspec.json.Decoder(Record)

BASE_BYTES = 1_200_000_000
"""Resident memory of a process that has imported torch, transformers and coremltools and converts a small model."""
BYTES_PER_PARAMETER = 14
"""Resident memory a conversion takes at its peak beyond that: float32 weights, their float16, the package's copy."""
LEAN_BYTES_PER_PARAMETER = 7
"""The same for a lean conversion without compression: float32 weights, and the executor's share of the package. 5.7 was
measured with 1.24e9 parameters."""


MODELS_A_WORKER = 4
"""A further process that is started afresh imports torch, transformers and coremltools once more, the time of three or
four small models."""


def side_by_side(models: int, size: Size, memory_bytes: int) -> int:
    """Return how many models to run at once where none is asked for: a core, memory and several models for each.

    Parameters
    ----------
    models: number of models of the run.
    size: a model of the full size uses all cores and most of the memory by itself.
    memory_bytes: the budget for all of them.
    """
    if size == "full":
        return 1
    return max(1, min(os.cpu_count() or 1, models // MODELS_A_WORKER, memory_bytes // BASE_BYTES))


def modules(jobs: Sequence[Job]) -> tuple[str, ...]:
    """Return the modules that each child of a run will import: none if the cache has the run's first package.

    A run of code that has run before takes its packages from the cache, and starts without the converter.
    """
    from harness.run.cache import Cache, default_folder
    from harness.run.cases import key

    first = next((job for job in jobs if job.options.cache and job.options.checkpoint is None and job.cases), None)
    if first is None:
        return MODULES
    entry = Cache(default_folder()).get(key(first.spec, first.options, first.cases[0]))
    if entry is None:
        return MODULES
    entry.close()
    return ()


def handle(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Run a job in the child and yield its records."""
    from harness.run.cases import run_model

    job = msgspec.json.decode(body, type=Job)
    _set_threads(job.options.size)
    for record in run_model(job.spec, job.options, announce, job.cases):
        yield msgspec.json.encode(record)


def _set_threads(size: Size) -> None:
    """Have PyTorch use one thread for small models: several spend their time waiting for each other."""
    import torch

    torch.set_num_threads(1 if size == "quick" else os.cpu_count() or 1)


def run_jobs(
    jobs: Sequence[Job],
    workers: Workers,
    *,
    seconds: float | None = None,
    announce: Callable[[str], None] = lambda _: None,
) -> Iterator[Record]:
    """Yield a record for each case of each job, as they arrive.

    Parameters
    ----------
    jobs: the models, each with the cases to run.
    workers: a pool of children of this process, or a cluster of machines.
    seconds: time limit of each model, all its cases together.
    announce: called with each step before it begins: ``llama: convert on``.
    """
    for job in jobs:
        workers.submit(_task(job, seconds))
    done: dict[Task, list[Case]] = {}
    last: dict[Task, str] = {}
    for task, message in workers.run():
        job = task.subject
        if isinstance(message, Step):
            last[task] = message.text
            announce(f"{job.spec.key}: {message.text}")
        elif isinstance(message, Item):
            record = _record.decode(message.body)
            if message.worker or message.marks:
                marks = (*record.marks, *message.marks)
                record = msgspec.structs.replace(record, worker=message.worker, marks=marks)
            done.setdefault(task, []).append(run_plan.row_of(record)[1])
            yield record
        else:
            left = job.without(done.pop(task, []))
            yield from _end(left, task, message, last.pop(task, ""), workers)


def _end(left: Job, task: Task, end: End, step: str, workers: Workers) -> Iterator[Record]:
    """Yield the records that an end decides; submit the remaining cases again."""
    if not left.cases:
        return
    if end.status == "evicted":
        workers.submit(_task(left, task.limits.seconds, reserve_bytes=workers.alone(task)))
        return
    status = "failed" if end.status == "ok" else end.status
    reason = end.reason or "its process ended without reporting a result"
    everything = end.status == "timed out" or not step or step in run_plan.PREPARATION
    fallen = left.cases if everything else left.cases[:1]
    for case in fallen:
        yield run_plan.record(
            left.spec,
            left.options,
            case,
            status=status,
            reason=f"{left.spec.key}: {reason}",
            metrics=not_computed(),
            log=end.log,
            peak_memory_bytes={"process": end.peak_memory_bytes},
            worker=end.worker,
            marks=end.marks,
        )
    rest = left.without(fallen)
    if rest.cases:
        seconds = None if task.limits.seconds is None else max(task.limits.seconds - end.seconds, 0.0)
        workers.submit(_task(rest, seconds), first=True)


def _task(job: Job, seconds: float | None, reserve_bytes: int | None = None) -> Task:
    reserve = estimate_bytes(job) if reserve_bytes is None else reserve_bytes
    return Task(job, HANDLER, msgspec.json.encode(job), Limits(seconds), reserve)


def estimate_bytes(job: Job) -> int:
    """Return an estimate of the memory a job takes, in bytes; the pool evicts jobs whose estimate was too low."""
    lean = job.options.lean and not any(job.options.compressions)
    each = LEAN_BYTES_PER_PARAMETER if lean else BYTES_PER_PARAMETER
    return BASE_BYTES + each * _parameters(job.spec.fields(job.options.size))


def _parameters(fields: dict[str, object]) -> int:
    """Estimate the number of parameters of a decoder from its configuration's fields."""

    def number(*names: str, default: int) -> int:
        found = (fields.get(name) for name in names)
        return next((value for value in found if isinstance(value, int)), default)

    width = number("hidden_size", "d_model", "n_embd", default=1024)
    inner = number("intermediate_size", "d_ff", "ffn_dim", default=4 * width)
    experts = number("num_local_experts", "n_routed_experts", "num_experts", default=1)
    layers = number("num_hidden_layers", "num_layers", "n_layer", default=12)
    return width * number("vocab_size", default=50_000) + layers * (4 * width * width + 3 * width * inner * experts)

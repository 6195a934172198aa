"""The norm by itself: every lowering by width, tokens and precision, against the same program without a norm.

``conv -> norm -> conv`` on a tensor (1, 1, tokens, width): the convolutions, of one weight each, make the graph one
that the Neural Engine takes. A program of the convolutions alone is measured alternately with the lowerings, so that
the norm's cost is a paired difference. The weights are powers of two, exact in float16.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.bench.messages import Item, Prepared, Values, encode
from harness.bench.session import Subject
from harness.plan.run_plan import Case
from harness.records.environment import environment
from harness.records.schema import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.bench.session import Bench

PREPARE = "harness.bench.norm_latency:prepare"

WIDTHS = (64, 256, 1024, 2048, 4096, 8192, 16384)
TOKENS = (1, 64, 512, 2048)
PRECISIONS = ("FLOAT16", "FLOAT32")

FEW = ((64, 1024), (1, 64))
"""Widths and tokens for machines without the device, where the table only shows that everything works."""

EPSILON = 1e-5
MODEL = "rms_norm"
"""The name of the rows' model."""
CONVOLUTIONS = Case("off")
"""The program without a norm."""


class NormJob(msgspec.Struct, frozen=True):
    """One norm in every lowering."""

    width: int
    tokens: int
    precision: str
    lowerings: tuple[str, ...]
    folder: str = ""

    @property
    def cases(self) -> tuple[Case, ...]:
        """The program without a norm first, then each lowering."""
        return (CONVOLUTIONS, *(Case("on", lowering) for lowering in self.lowerings))


def jobs(
    widths: Sequence[int], tokens: Sequence[int], precisions: Sequence[str], lowerings: tuple[str, ...]
) -> list[NormJob]:
    """Return every combination, narrow rows first."""
    return [NormJob(width, count, kind, lowerings) for kind in precisions for count in tokens for width in widths]


def measure(bench: Bench, job: NormJob) -> Iterator[Record]:
    """Yield a record for the program without a norm, and for each lowering."""

    def record(case: Case, fields: dict[str, Any]) -> Record:
        return Record(
            run_id=bench.options.run_id,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=MODEL,
            variant=case.variant,
            frontend="mil",
            size=f"{job.tokens}x{job.width}",
            compute_units="CPU_AND_NE",
            compute_precision=job.precision,
            executor=bench.settings.executor,
            policy="",
            lowering=case.lowering,
            seed=0,
            sequence_length=job.tokens,
            environment=environment(),
            definition=hashlib.sha256(f"conv norm conv {job.tokens}x{job.width} {EPSILON}".encode()).hexdigest()[:16],
            **fields,
        )

    subject = Subject(f"{MODEL} {job.tokens}x{job.width} {job.precision}", job.cases, record)
    yield from bench.measure(subject, PREPARE, lambda folder: msgspec.structs.replace(job, folder=folder))


# In the child -------------------------------------------------------------------------------------------------------


def prepare(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Answer a :class:`NormJob`."""
    job = msgspec.json.decode(body, type=NormJob)
    for item in _prepare(job, announce):
        yield encode(item)


def _prepare(job: NormJob, announce: Callable[[str], None]) -> Iterator[Item]:
    folder = Path(job.folder)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((1, 1, job.tokens, job.width)).astype(np.float32)
    gamma = generator.uniform(0.5, 1.5, job.width).astype(np.float32)
    np.savez(folder / "inputs.npz", x=x)
    yield Values(str(folder / "inputs.npz"), "")
    np.savez(folder / "expected.npz", formula(x, gamma))
    for case in job.cases:
        announce(f"convert {case.title}")
        begin = time.perf_counter()
        path = folder / f"{case.lowering or 'convolutions'}.mlpackage"
        norms = _save(job, gamma, case.lowering, path)
        expected = str(folder / "expected.npz") if case.lowering else ""
        yield Prepared(case, str(path), norms, {"convert": time.perf_counter() - begin}, expected=expected)


def formula(x: np.ndarray[Any, Any], gamma: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the output of the program with a norm, computed in float64, shape (1, 1, tokens, width)."""
    wide = x.astype(np.float64) / 2
    result: np.ndarray[Any, Any] = 2 * gamma * wide / np.sqrt(np.mean(wide**2, axis=-1, keepdims=True) + EPSILON)
    return result


def _save(job: NormJob, gamma: np.ndarray[Any, Any], lowering: str, path: Path) -> tuple[str, ...]:
    """Convert and save one program; return its norms' names."""
    import coremltools as ct

    import ane_rms
    from harness.measure.one_norm import one_norm

    model = one_norm(
        (1, 1, job.tokens, job.width),
        gamma,
        EPSILON,
        lowering=lowering,
        around=(_halved, _doubled),
        compute_precision=ct.precision[job.precision],
        skip_model_load=True,
    )
    model.save(str(path))
    return tuple(site.name for site in ane_rms.report(model).fused)


def _halved(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.conv(x=x, weight=np.full((1, 1, 1, 1), 0.5, np.float32))


def _doubled(x: Any) -> Any:
    from coremltools.converters.mil.mil import Builder as mb

    return mb.conv(x=x, weight=np.full((1, 1, 1, 1), 2.0, np.float32))

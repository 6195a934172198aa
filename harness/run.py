"""The main job: each model of a run in each variant, converted, counted, executed, compared, recorded.

One model's failure is a record with its reason; the others still run.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from ane_rms.passes.strategies import DEFAULT_STRATEGY
from harness import metrics, norm_cost
from harness.checks import Counts, count, verdict
from harness.convert import Converted, convert
from harness.environment import environment
from harness.errors import HarnessError
from harness.export import SEQUENCE_LENGTH, ExportedModel, export
from harness.runtime.reference import ReferenceExecutor
from harness.store.schema import Record
from harness.variants import VARIANTS, Variant

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np

    from harness.zoo import ModelSpec, Size

WIDE_POLICIES = ("fp32", "fp64")
"""Policies that store no float16: a model is converted at FLOAT32 for them, so that no weight is rounded."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run does, the models left out."""

    variants: tuple[Variant, ...]
    frontend: str = "trace"
    policy: str = "fp16"
    lowerings: tuple[str, ...] = (DEFAULT_STRATEGY,)
    """Strategies of the variant ``on``, each a row of its own."""
    size: Size = "quick"
    sequence_length: int = SEQUENCE_LENGTH
    run_id: str = field(default_factory=lambda: new_run_id())  # noqa: PLW0108 - defined below

    @property
    def compute_precision(self) -> str:
        """What the programs compute in, ``FLOAT16`` or ``FLOAT32``."""
        return "FLOAT32" if self.policy in WIDE_POLICIES else "FLOAT16"

    def cases(self) -> list[tuple[Variant, str]]:
        """Return each variant with each lowering it is run with; only ``on`` has any."""
        return [
            (variant, lowering)
            for variant in self.variants
            for lowering in (self.lowerings if variant.name == "on" else ("",))
        ]


def new_run_id() -> str:
    """Return an id for a run, which sorts by time: ``20260131T235959.123456Z``."""
    return datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")


def steps(options: Options) -> int:
    """Return how many steps :func:`run_model` announces for one model."""
    return 2 + 2 * len(options.cases())


def run_model(spec: ModelSpec, options: Options, announce: Callable[[str], None]) -> Iterator[Record]:
    """Yield one record per variant.

    Parameters
    ----------
    spec: the zoo entry.
    options: the run's.
    announce: told each step before it begins, for a progress display.
    """
    job = _Job(spec, options, announce)
    try:
        job.prepare()
    except HarnessError as error:
        for variant, lowering in options.cases():
            yield job.record(variant, lowering, status="failed", reason=str(error))
        return
    for variant, lowering in options.cases():
        try:
            yield job.run(variant, lowering)
        except HarnessError as error:
            yield job.record(variant, lowering, status="failed", reason=str(error))


class _Job:
    """One model: exported once, plainly converted once, then each variant."""

    def __init__(self, spec: ModelSpec, options: Options, announce: Callable[[str], None]) -> None:
        self.spec, self.options, self.announce = spec, options, announce
        self.seconds: dict[str, float] = {}

    def prepare(self) -> None:
        options = self.options
        self.announce("export")
        self.exported: ExportedModel = self._timed(
            "export",
            lambda: export(
                self.spec,
                size=options.size,
                frontend=options.frontend,
                sequence_length=options.sequence_length,
            ),
        )
        self.expected = self._eager()
        self.announce("convert off")
        self.plain = self._timed("convert_plain", lambda: self._convert(VARIANTS["off"], ""))

    def run(self, variant: Variant, lowering: str) -> Record:
        title = f"{variant.name} {lowering}".strip()
        self.announce(f"convert {title}")
        if variant.name == "off":
            converted = self.plain
            self.seconds["convert"] = self.seconds["convert_plain"]
        else:
            converted = self._timed("convert", lambda: self._convert(variant, lowering))
        counts = count(converted, self.spec, self.exported, variant=variant, lowering=lowering, size=self.options.size)
        self.announce(f"execute {title}")
        actual = self._timed("execute", lambda: self._execute(converted))
        reason = verdict(counts, converted, self.plain, variant=variant, lowering=lowering, control=self.spec.control)
        cost = norm_cost.of_report(counts.report, lowering) if lowering else None
        return self.record(
            variant,
            lowering,
            status="wrong" if reason else "ok",
            reason=reason,
            counts=counts,
            ops_before=self.plain.op_count(),
            ops_after=converted.op_count(),
            norm_ops=None if cost is None else cost[0],
            norm_bytes=None if cost is None else cost[1],
            metrics=metrics.measure(self.expected, actual),
        )

    def record(self, variant: Variant, lowering: str, *, counts: Counts | None = None, **fields: Any) -> Record:
        options = self.options
        return Record(
            run_id=options.run_id,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=self.spec.key,
            variant=variant.name,
            frontend=options.frontend,
            size=options.size,
            compute_units=variant.compute_units,
            compute_precision=options.compute_precision,
            executor=ReferenceExecutor.name,
            policy=options.policy,
            lowering=lowering,
            seed=self.spec.gamma_seed,
            sequence_length=options.sequence_length,
            environment=environment(),
            seconds={name: self.seconds[name] for name in ("export", "convert", "execute") if name in self.seconds},
            **({} if counts is None else counts.fields()),
            **fields,
        )

    def _convert(self, variant: Variant, lowering: str) -> Converted:
        return convert(
            self.exported,
            variant,
            compute_precision=self.options.compute_precision,
            lowering=lowering or DEFAULT_STRATEGY,
        )

    def _eager(self) -> np.ndarray[Any, Any]:
        """Return the float32 PyTorch model's logits."""
        import torch

        inputs = [torch.from_numpy(value) for value in self.exported.inputs.values()]
        with torch.inference_mode():
            logits: np.ndarray[Any, Any] = self.exported.module(*inputs).float().numpy()
        return logits

    def _execute(self, converted: Converted) -> np.ndarray[Any, Any]:
        outputs = ReferenceExecutor(converted, self.options.policy).predict(self.exported.inputs)
        if len(outputs) != 1:
            raise HarnessError(f"{self.spec.key}: expected one output, got {', '.join(outputs)}")
        return next(iter(outputs.values()))

    def _timed(self, name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = work()
        self.seconds[name] = time.perf_counter() - start
        return result

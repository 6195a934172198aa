"""Describe a run as plain data: options, the cases of each model, and the fields that every record shares.

This module needs neither torch, transformers nor coremltools, so the process that distributes the work stays light.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import msgspec

from harness.interpreter.precision import DEFAULT_POLICY, POLICIES
from harness.plan.lowerings import default_lowering, lowerings, protects_squares
from harness.plan.shapes import KINDS, LENGTH
from harness.plan.variants import VARIANTS
from harness.records.environment import environment
from harness.records.schema import Record
from harness.zoo.catalog import ModelSpec, Size
from harness.zoo.checkpoint import Checkpoint
from harness.zoo.rescale_choice import AIMS

if TYPE_CHECKING:
    from collections.abc import Sequence

FRONTENDS = ("trace", "export")
"""Names of the frontends of `harness.export`, the default one first."""

PREPARATION = ("export", "convert plain")
"""Steps of `harness.run.cases` that every case of a model depends on."""


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One case of a model, which is one row of the table."""

    variant: str
    """Name of a `harness.plan.variants.Variant`."""
    lowering: str = ""
    """Lowering strategy of the variant ``on``; empty for other variants."""
    compression: str = ""
    """A key of `harness.convert.compression.SCHEMES`, or empty."""

    @property
    def is_plain(self) -> bool:
        """Whether its norms are primitives, whose squares may overflow; such a case is run to show that."""
        return self.variant != "on" or not protects_squares(self.lowering or default_lowering())

    @property
    def title(self) -> str:
        """The case's title in tables."""
        return " ".join(filter(None, (self.variant, self.lowering, self.compression)))


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The options of a run, without its models."""

    variants: tuple[str, ...]
    frontend: str = "trace"
    policy: str = DEFAULT_POLICY
    lowerings: tuple[str, ...] = msgspec.field(default_factory=lambda: lowerings()[:1])
    """Lowering strategies of the variant ``on``, each of which gives a row."""
    compressions: tuple[str, ...] = ("",)
    """Compression schemes, each of which gives a row; "" is no compression. The variant ``cpu`` has only that one."""
    shape: str = KINDS[0]
    """How the programs take their tokens: a kind of `harness.plan.shapes`."""
    size: Size = "quick"
    sequence_length: int = LENGTH
    """Number of tokens of a run."""
    checkpoint: Checkpoint | None = None
    """The checkpoint of a run of a single model; None for seeded weights."""
    prompts: tuple[str, ...] = ()
    """Texts for the checkpoint's tokenizer; if empty, the project's own are used."""
    rescale: str = ""
    """``auto``, ``off`` or a power of two, for the variant ``on``; if empty, :func:`rescale_of` decides."""
    aim: str = AIMS[0]
    """The aim of ``auto``, one of `harness.zoo.rescale_choice.AIMS`."""
    text: bool = False
    """Whether a longer text is read and continued, and compared with float32 PyTorch."""
    lean: bool = True
    """Whether conversions avoid copies of the weights; the packages are the same."""
    cache: bool = False
    """Whether packages are read from and stored in the cache."""
    run_id: str = ""

    @property
    def compute_precision(self) -> str:
        """Compute precision of the programs: ``FLOAT32`` if the policy stores no float16, so no weight is rounded."""
        return "FLOAT32" if POLICIES[self.policy].wide else "FLOAT16"

    def cases(self) -> tuple[Case, ...]:
        """Return the cases: each variant with each of its lowerings and compressions; only ``on`` has lowerings."""
        return tuple(
            Case(variant, lowering, compression)
            for variant in self.variants
            for lowering in (self.lowerings if variant == "on" else ("",))
            for compression in (self.compressions if variant != "cpu" else ("",))
        )


def rescale_of(spec: ModelSpec, options: Options, case: Case) -> str:
    """Return a case's rescale: that of the options, else ``auto`` for a checkpoint, else that of the zoo file."""
    if case.variant != "on":
        return "off"
    return options.rescale or ("auto" if options.checkpoint is not None else spec.rescale)


def asked_rescale(spec: ModelSpec, options: Options, case: Case) -> str:
    """Return a case's rescale, with the aim of ``auto`` appended if it is not the default one."""
    choice = rescale_of(spec, options, case)
    return f"{choice} {options.aim}" if choice == "auto" and options.aim != AIMS[0] else choice


class Job(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model with some of its cases: the unit that a child process, or a machine of a fleet, receives."""

    spec: ModelSpec
    options: Options
    cases: tuple[Case, ...]

    def without(self, done: Sequence[Case]) -> Job:
        """Return the job with only the cases that are not ``done``."""
        return msgspec.structs.replace(self, cases=tuple(case for case in self.cases if case not in done))


class Unusable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A zoo file that cannot be used, and why. It has rows in the table like any other model."""

    key: str
    reason: str


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a run must do, stored beside its records so that the run can be resumed."""

    options: Options
    specs: tuple[ModelSpec, ...]
    unusable: tuple[Unusable, ...] = ()
    others: tuple[str, ...] | None = None
    """Models of the zoo that were not requested; see :class:`harness.records.run_files.Asked`."""

    checkpoints: dict[str, Checkpoint] = {}
    """Checkpoints by model key, for the tier ``trained``."""

    def options_of(self, spec: ModelSpec) -> Options:
        """Return the options of a model, with its own checkpoint if it has one."""
        own = self.checkpoints.get(spec.key)
        return self.options if own is None else msgspec.structs.replace(self.options, checkpoint=own)

    def rows(self) -> list[tuple[str, Case]]:
        """Return the model and case of every row, in the order of the table."""
        keys = sorted([*(spec.key for spec in self.specs), *(one.key for one in self.unusable)], key=self._order())
        return [(key, case) for key in keys for case in self.options.cases()]

    def jobs(self, done: Sequence[tuple[str, Case]] = ()) -> list[Job]:
        """Return the remaining work: a job for each model that has a case not ``done``."""
        recorded = set(done)
        jobs = []
        for spec in self.specs:
            cases = tuple(case for case in self.options.cases() if (spec.key, case) not in recorded)
            if cases:
                jobs.append(Job(spec, self.options_of(spec), cases))
        return jobs

    def _order(self) -> Any:
        order = {spec.key: number for number, spec in enumerate(self.specs)}
        return lambda key: order.get(key, len(order))


def row_of(record: Record) -> tuple[str, Case]:
    """Return the model and case of a record."""
    return record.model, Case(record.variant, record.lowering, record.compression)


def definition(spec: ModelSpec, options: Options) -> str:
    """Return a digest of the measured model, numbers and inputs; rows with different digests are not comparable."""
    parts: dict[str, Any] = {
        "architecture": [spec.architecture, spec.config_class, spec.wrapper],
        "config": spec.fields(options.size),
        "seed": spec.gamma_seed,
        "activations": [spec.activations, spec.residual_peak] if spec.activations == "massive" else [],
        "sequence_length": options.sequence_length,
    }
    if options.checkpoint is not None:
        parts |= {"weights": options.checkpoint.digest, "prompts": options.prompts}
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:16]


def record(spec: ModelSpec | Unusable, options: Options, case: Case, **fields: Any) -> Record:
    """Return a record with the fields known before the run, and ``fields``."""
    return Record(
        run_id=options.run_id,
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=spec.key,
        variant=case.variant,
        frontend=options.frontend,
        size=options.size,
        compute_units=VARIANTS[case.variant].compute_units,
        compute_precision=options.compute_precision,
        executor="reference",
        policy=options.policy,
        lowering=case.lowering,
        seed=spec.gamma_seed if isinstance(spec, ModelSpec) else 0,
        sequence_length=options.sequence_length,
        shape=options.shape,
        compression=case.compression,
        checkpoint="" if options.checkpoint is None else options.checkpoint.name,
        rescale=asked_rescale(spec, options, case) if isinstance(spec, ModelSpec) else "",
        environment=environment(),
        definition=definition(spec, options) if isinstance(spec, ModelSpec) else "",
        **fields,
    )

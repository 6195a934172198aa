"""The schema of results: one :class:`Record` per model and variant, with its environment.

Raw values are kept; statistics are computed when records are read. The form is versioned: :data:`SCHEMA_VERSION`
grows when a field changes its meaning, comes or goes; ``harness.records.migration`` reads what older versions wrote.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

import msgspec

from harness.records.machine import Condition, Environment, Placement

SCHEMA_VERSION = 3

STATUSES = ("ok", "wrong", "failed", "timed out", "killed", "out of memory", "skipped")
"""The status of a row: ``ok``; ``wrong``, a check did not hold; ``failed``, an error; ``timed out``, past its time
limit; ``killed``, its process ended by a signal; ``out of memory``, past its memory limit; ``skipped``, never tried.
All but ``ok`` have a reason. An ``ok`` row has one if its output collapses: the op where it goes wrong first."""

EXECUTORS = ("reference", "coreml", "coreml-remote")
"""The executors whose records are kept: `harness.records.run_files` refuses all others."""

SHARE = "share_"
"""Beginning of the names of samples without a unit: figures of a benchmark divided by those of what it is measured
against, such as ``share_time``. Less is better."""

PREDICTING = "ane-"
"""The beginning of policies that predict a Neural Engine: their rows are the reference executor's alone."""

DEVICE_SYSTEMS = ("macOS", "iphone", "ipad")
"""The beginning of a record's environment if its executor is not ``reference``."""


class SiteRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One norm site, fused or missed."""

    name: str
    """The value's name in the program."""
    module: str
    """Path of the torch module, where known."""
    fused: bool
    spelling: str
    """The spelling in the program; for a miss, the op that takes the root."""
    shape: tuple[int | str, ...]
    axes: tuple[int, ...] = ()
    epsilon: float | None = None
    has_gamma: bool | None = None
    deviation_bound: float | None = None
    reason: str = ""
    """The reason why it is not fused."""


class RescaledRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Values that were scaled together to fit float16, or exceed it and could not be: ``ane_rms.Rescaled``, kept."""

    name: str
    """The value nearest to its ceiling, or furthest beyond it."""
    factor: Annotated[float, msgspec.Meta(gt=0)]
    """A power of two; 1 if the values were left as they are."""
    values: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    """Constants that took the factor."""
    epsilon_before: tuple[float, ...] = ()
    epsilon_after: tuple[float, ...] = ()
    multiplications: tuple[str, ...] = ()
    """Ops that were added."""
    peak_before: float | None = None
    peak_after: float | None = None
    ceiling: float = 65_504.0
    reason: str = ""


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The facts about a converted model that need no run, kept in the cache beside the package.

    Each field is the record's of the same name.
    """

    norms_expected: int
    norms_executed: int
    fused: int
    missed: int
    sites: tuple[SiteRecord, ...]
    ops_before: int
    ops_after: int
    norm_ops: int | None
    norm_bytes: int | None
    warnings: tuple[str, ...]
    marks: tuple[str, ...]
    rescaled: tuple[RescaledRecord, ...] = ()
    peaks: dict[str, float] = {}


class TextRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The reading of a text and its continuation by a checkpoint's row, beside float32 PyTorch."""

    tokens: int
    """Length of the text."""
    perplexity: float | None
    """None if it is infinite."""
    perplexity_float32: float | None
    agreement: float
    """Share of next tokens that are float32 PyTorch's, 0 to 1."""
    prompt: str
    """The beginning of the text that is continued."""
    continuation: str
    """Greedy continuation."""
    float32: str
    """Float32 PyTorch's greedy continuation."""


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model in one variant."""

    run_id: str
    time: str
    """When the record was made, ISO 8601, UTC."""
    model: str
    """Key of the zoo."""
    variant: str
    frontend: str
    size: str
    compute_units: str
    compute_precision: str
    """``FLOAT16`` or ``FLOAT32``: the program's compute precision."""
    executor: str
    """The executor of the program: ``reference`` is this project's interpreter, never a device."""
    policy: str
    """The executor's precision policy; one that begins with ``ane-`` makes the row a prediction."""
    lowering: str
    seed: int
    sequence_length: int
    status: str
    """One of :data:`STATUSES`."""
    environment: Environment
    shape: str = "prefill"
    """``prefill``, ``decode``, ``flexible`` or ``both``: how the program takes its tokens."""
    compression: str = ""
    """The compression of the weights after conversion; empty for none."""
    checkpoint: str = ""
    """Path or hub id, with its revision, of the weights; empty for random ones."""
    definition: str = ""
    """Digest of the subject: zoo entry, its published numbers, inputs. Rows with different digests do not compare."""
    reason: str = ""
    norms_expected: int | None = None
    """The zoo file's formula."""
    norms_executed: int | None = None
    """RMSNorm modules executed in one eager run, counted by forward hooks."""
    fused: int | None = None
    missed: int | None = None
    """RMSNorm sites that stand unfused in the converted program, and near misses."""
    sites: tuple[SiteRecord, ...] = ()
    ops_before: int | None = None
    """Ops, without constants, that plain ``ct.convert`` makes of the same model."""
    ops_after: int | None = None
    """Ops, without constants, of this variant's program."""
    norm_ops: int | None = None
    """Ops that the lowered norms are made of."""
    norm_bytes: int | None = None
    """Bytes that these ops read and write, op by op, in float16."""
    rescale: str = ""
    """The rescale asked for: ``off``, ``auto`` with its aim, or a power of two."""
    rescaled: tuple[RescaledRecord, ...] = ()
    """The regions that were scaled to fit float16, and those that could not be."""
    peaks: dict[str, float] = {}
    """Largest magnitudes in calibration, of norms' inputs and matrix products' results, by the value's name."""
    warnings: tuple[str, ...] = ()
    """Warnings about fused norms, each with the site's name."""
    metrics: dict[str, float | None] = {}
    """Precision of the logits against the float32 PyTorch model; see ``harness.measure.metrics``. A metric that is NaN
    or infinite, or that was not computed because the row ended before, is null, read as None."""
    text: TextRecord | None = None
    """The reading of a text, if that was asked for."""
    outcome: str = ""
    """The outcome, one of ``harness.records.outcomes.OUTCOMES``; empty if nothing was executed."""
    seconds: dict[str, float] = {}
    """Wall time of the steps, in seconds: export, convert, execute."""
    peak_memory_bytes: dict[str, int] = {}
    """Peak resident memory of the process by step, in bytes, if it was measured."""
    cached: bool = False
    """Whether the package came from the cache: ``seconds`` then times its loading."""
    samples: dict[str, tuple[float, ...]] = {}
    """Raw times in seconds, in the order measured: ``predict`` (wall), ``predict_framework`` (as Core ML times it),
    ``first_predict``, ``cold_compile``, ``warm_load``, ``sustained`` ... Those whose names
    begin with :data:`SHARE` are no times."""
    pair: str = ""
    """Id of the interleaved measurement the samples belong to: rows that share it were measured alternately."""
    condition: Condition | None = None
    """State of the machine before the measurement."""
    condition_after: Condition | None = None
    """State of the machine after it."""
    placement: Placement | None = None
    marks: tuple[str, ...] = ()
    """Marks on the row: ``on battery``, ``throttled``, ``retried``, ..."""
    log: str = ""
    """The end of the output of the row's process, if it did not end well."""
    worker: str = ""
    """Name of the machine of a fleet that made the row; empty for this one."""
    schema_version: int = SCHEMA_VERSION

    @property
    def row(self) -> tuple[str, ...]:
        """The row's identity: two records of different runs with equal identities repeat one measurement."""
        return row_of(self)

    @property
    def title(self) -> str:
        """The row in words, without what every row shares: ``llama on max_abs decode palette4``."""
        return title_of(self.model, self.variant, self.lowering, self.shape, self.compression)


def title_of(model: str, variant: str, lowering: str, shape: str, compression: str) -> str:
    """Return a row's title in words; see :attr:`Record.title`."""
    return " ".join(filter(None, (model, variant, lowering, "" if shape == "prefill" else shape, compression)))


ROW = (
    "model",
    "checkpoint",
    "size",
    "shape",
    "variant",
    "lowering",
    "compression",
    "frontend",
    "compute_units",
    "compute_precision",
    "executor",
    "policy",
)
"""Names of the fields that form a row's identity."""
_fields = attrgetter(*ROW)
_AT_CHECKPOINT = ROW.index("checkpoint")


def row_of(about: object) -> tuple[str, ...]:
    """Return the identity of a record's or an expectation's row.

    A checkpoint is identified by its content: its place in the row holds the digest of the subject, if there is one, so
    that a folder that was moved or another spelling of its path does not make another row.
    """
    found: tuple[str, ...] = _fields(about)
    definition = getattr(about, "definition", "")
    if found[_AT_CHECKPOINT] and definition:
        return (*found[:_AT_CHECKPOINT], definition, *found[_AT_CHECKPOINT + 1 :])
    return found

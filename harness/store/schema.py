"""What a run leaves behind: one :class:`Record` per model and variant, with its environment.

Raw values are kept; statistics are computed when records are read. The form is versioned: :data:`SCHEMA_VERSION`
grows when a field changes its meaning or goes.
"""

from __future__ import annotations

import msgspec

SCHEMA_VERSION = 1


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine and the versions a record was made with."""

    os: str
    """Operating system with its version or build."""
    machine: str
    """Processor architecture, for example ``arm64``."""
    chip: str
    """The processor's name where the system tells it."""
    cores: int
    memory_bytes: int
    versions: dict[str, str]
    """Versions of Python and of the packages that decide the result."""
    git_commit: str = ""
    """Commit of the checkout the harness ran in; empty outside one."""
    git_clean: bool | None = None
    """Whether that checkout had no uncommitted change; None outside one."""


class SiteRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One norm site, fused or missed."""

    name: str
    """The value's name in the program."""
    module: str
    """Path of the torch module, where known."""
    fused: bool
    spelling: str
    """How the program spelled it; for a miss, the op that takes the root."""
    shape: tuple[int | str, ...]
    axes: tuple[int, ...] = ()
    epsilon: float | None = None
    has_gamma: bool | None = None
    deviation_bound: float | None = None
    reason: str = ""
    """Why it is not fused."""


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
    """``FLOAT16`` or ``FLOAT32``: what the program computes in."""
    executor: str
    """What ran the program: ``reference`` is this project's interpreter, never a device."""
    policy: str
    """The executor's precision policy."""
    lowering: str
    seed: int
    sequence_length: int
    status: str
    """``ok``, ``failed`` (an error, see reason) or ``wrong`` (a check did not hold, see reason)."""
    environment: Environment
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
    warnings: tuple[str, ...] = ()
    """Guard rails that fused norms touch, each with the site's name."""
    metrics: dict[str, float] = {}
    """Precision of the logits against the float32 PyTorch model; see ``harness.metrics``."""
    seconds: dict[str, float] = {}
    """Wall time of the steps, in seconds: export, convert, execute."""
    schema_version: int = SCHEMA_VERSION

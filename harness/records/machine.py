"""The parts of a record about the machine: its versions, its condition, and the planned placement of a program."""

from __future__ import annotations

import msgspec


class Environment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine and the versions a record was made with."""

    os: str
    """Operating system with its version or build."""
    machine: str
    """Processor architecture, for example ``arm64``."""
    chip: str
    """The processor's name, if the system reports it."""
    cores: int
    memory_bytes: int
    versions: dict[str, str]
    """Versions of Python and of the packages that decide the result."""
    git_commit: str = ""
    """Commit of the checkout the harness ran in; empty outside one."""
    git_clean: bool | None = None
    """Whether that checkout had no uncommitted change; None outside one."""


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The machine's state, which may change between measurements; a field is empty or None where it cannot be read."""

    power: str = ""
    """``AC`` or ``battery``."""
    low_power_mode: bool | None = None
    thermal: str = ""
    """Thermal pressure as macOS names it: ``nominal``, ``moderate``, ``heavy``, ``trapping`` or ``sleeping``."""
    load: float | None = None
    """Load average over the last minute, in processes."""
    translated: bool | None = None
    """Whether the process runs under Rosetta."""


class Placement(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The devices on which Core ML plans to run a program: planned, not traced."""

    ops: dict[str, int] = {}
    """Number of ops by preferred device: ``ane``, ``gpu``, ``cpu``, or ``unknown``."""
    cost: dict[str, float] = {}
    """Share of the estimated cost by preferred device, 0 to 1."""
    norms: dict[str, int] = {}
    """Number of norms by preferred device of their ``layer_norm``."""
    hand_offs: int = 0
    """Number of times that consecutive ops are on different devices."""

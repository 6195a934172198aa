"""The state of the machine that may change from one measurement to the next: power, heat, load, Rosetta.

Each reading comes from the system and is left empty if the system does not report it; nothing is guessed. On macOS the
sources are ``pmset`` (power), ``notifyutil`` (thermal pressure) and ``sysctl`` (Rosetta), on Linux
``/sys/class/power_supply``.
"""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

from harness.records.machine import Condition
from harness.system.command import output

if TYPE_CHECKING:
    from collections.abc import Callable

THERMAL_KEY = "com.apple.system.thermalpressurelevel"
THERMAL_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
"""Thermal pressure on macOS by its number, ``OSThermalNotification.h``."""

POWER_SUPPLIES = Path("/sys/class/power_supply")

BUSY_LOAD = 0.5
"""Running processes per core from which on the machine counts as busy with other work."""


def condition(*, system: str = "", command: Callable[..., str | None] = output) -> Condition:
    """Return the machine's present state.

    Parameters
    ----------
    system: ``Darwin`` or ``Linux``; by default this machine's.
    command: runs a command and returns its output; None if it failed.
    """
    system = system or platform.system()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if system != "Darwin":
        return Condition(power=_linux_power(POWER_SUPPLIES), load=load)

    def say(*words: str) -> str:
        return command(*words) or ""

    power = say("pmset", "-g", "batt")
    low_power = re.search(r"lowpowermode\s+(\d)", say("pmset", "-g"))
    translated = say("sysctl", "-n", "sysctl.proc_translated")  # of the sysctl process: as this one's parent runs
    return Condition(
        power=_mac_power(power),
        low_power_mode=low_power[1] == "1" if low_power else None,
        thermal=_thermal(say("notifyutil", "-g", THERMAL_KEY)),
        load=load,
        translated={"1": True, "0": False}.get(translated.strip()),
    )


def marks(*conditions: Condition, cores: int = 0) -> tuple[str, ...]:
    """Return the marks for a measurement made under these conditions: before, during and after it."""
    found = {
        "on battery": any(one.power == "battery" for one in conditions),
        "low power mode": any(one.low_power_mode for one in conditions),
        "throttled": any(one.thermal not in ("", "nominal") for one in conditions),
        "under Rosetta": any(one.translated for one in conditions),
        "busy machine": any(one.load is not None and one.load > BUSY_LOAD * cores for one in conditions[:1] if cores),
    }
    return tuple(name for name, true in found.items() if true)


STRICT = ("on battery", "low power mode", "throttled", "under Rosetta")
"""The marks that ``--strict`` refuses."""


def _mac_power(text: str) -> str:
    found = re.search(r"Now drawing from '(AC|Battery) Power'", text)
    return {"AC": "AC", "Battery": "battery"}[found[1]] if found else ""


def _thermal(text: str) -> str:
    """Read ``com.apple.system.thermalpressurelevel 0``."""
    found = re.search(rf"{re.escape(THERMAL_KEY)}\s+(\d+)", text)
    if not found:
        return ""
    level = int(found[1])
    return THERMAL_LEVELS[level] if level < len(THERMAL_LEVELS) else f"level {level}"


def _linux_power(root: Path) -> str:
    """Return ``battery`` if one is discharging, ``AC`` if a mains supply is online, else ""."""

    def read(path: Path) -> str:
        try:
            return path.read_text(encoding="ascii").strip()
        except OSError:
            return ""

    supplies = sorted(root.glob("*")) if root.is_dir() else []
    if any(read(one / "type") == "Battery" and read(one / "status") == "Discharging" for one in supplies):
        return "battery"
    return "AC" if any(read(one / "online") == "1" for one in supplies) else ""

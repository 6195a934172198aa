"""Define the variants in which a model is converted."""

from __future__ import annotations

from dataclasses import dataclass

from harness.errors import HarnessError, check_name
from harness.plan.lowerings import lowerings


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to convert a model."""

    name: str
    compute_units: str
    """Name of a ``ct.ComputeUnit``; empty if it is left unset."""
    through: str
    """``"ct.convert"`` or ``"ane_rms.convert"``."""
    about: str
    for_ane: bool = False
    """Whether ``ane_rms.convert`` fuses and lowers for every compute unit."""


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("off", "CPU_AND_NE", "ct.convert", "plain coremltools, for the Neural Engine"),
        Variant("on", "CPU_AND_NE", "ane_rms.convert", "every RMSNorm fused and lowered"),
        Variant("cpu", "CPU_ONLY", "ane_rms.convert", "must leave the program as plain coremltools makes it"),
    )
}


def with_lowering(name: str) -> tuple[Variant, str]:
    """Return the variant and the lowering of a name such as ``on``, ``on:max_abs`` or ``off``.

    Raises
    ------
    UnknownNameError: for an unknown variant or lowering.
    HarnessError: for a lowering of a variant that has none.
    """
    kind, _, lowering = name.partition(":")
    variant = VARIANTS[check_name("variant", kind, VARIANTS)]
    if kind == "on":
        return variant, check_name("lowering", lowering or lowerings()[0], lowerings())
    if lowering:
        raise HarnessError(f"--variant {name}: only the variant on has a lowering")
    return variant, ""


def resolve(names: list[str]) -> list[Variant]:
    """Return the named variants in the table's order; all of them if none is named.

    Raises
    ------
    UnknownNameError: for a name that no variant has.
    """
    for name in names:
        check_name("variant", name, VARIANTS)
    return [variant for variant in VARIANTS.values() if not names or variant.name in names]

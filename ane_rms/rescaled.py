"""Define the report's entry on the rescale of a region of a program."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rescaled:
    """Values that were scaled together to fit float16, or that exceed float16 and could not be scaled."""

    name: str
    """The value that comes nearest to its ceiling, or exceeds it most."""
    factor: float
    """The power of two that they were multiplied by; 1 if they were not scaled."""
    values: tuple[str, ...] = ()
    """The values scaled, in program order."""
    weights: tuple[str, ...] = ()
    """Names of the constants that were multiplied instead of the values: weights, tables, gammas, biases."""
    epsilon_before: tuple[float, ...] = ()
    """Distinct epsilons of the norms that read them."""
    epsilon_after: tuple[float, ...] = ()
    """The same after the rescale."""
    multiplications: tuple[str, ...] = ()
    """The multiplications that were added where no constant could take the factor."""
    peak_before: float | None = None
    """The largest magnitude of ``name`` in calibration; None without calibration."""
    peak_after: float | None = None
    """The same after the rescale."""
    ceiling: float = 65_504.0
    """The largest magnitude that the op that writes ``name`` can give."""
    reason: str = ""
    """The reason why they were not scaled, or the end of float16's range that the factor loses."""

    def __str__(self) -> str:
        """Return the entry as one line."""
        peak = "" if self.peak_before is None else f", peak {self.peak_before:,.0f} of {self.ceiling:,.0f}"
        if self.factor == 1:
            return f"not rescaled: {self.name}{peak}: {self.reason}"
        parts = [f"{len(self.values)} values, {len(self.weights)} constants"]
        if self.epsilon_before:
            parts.append(f"epsilon {_numbers(self.epsilon_before)} to {_numbers(self.epsilon_after)}")
        if self.peak_before is not None and self.peak_after is not None:
            parts.append(f"peak {self.peak_before:,.0f} to {self.peak_after:,.0f} of {self.ceiling:,.0f}")
        if self.multiplications:
            parts.append(f"added: {', '.join(self.multiplications)}")
        if self.reason:
            parts.append(self.reason)
        return f"rescaled by 2**{round(math.log2(self.factor))}: {self.name}: {'; '.join(parts)}"


def _numbers(values: tuple[float, ...]) -> str:
    return ", ".join(f"{value:.3g}" for value in values)

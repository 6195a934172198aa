"""The error of one norm by input regime as GitHub Markdown, tab-separated values, or JSON.

A figure is the mean relative error of a regime; for zeros, the largest magnitude of the output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
from tabulate import tabulate

from harness.errors import UnknownNameError
from harness.records.regime_errors import Error
from harness.system.light_registry import Registry

Format = Callable[[Sequence[Error]], str]

FORMATS: Registry[Format] = Registry("format", UnknownNameError)
"""Every output format by name."""


def _lines(errors: Sequence[Error]) -> list[list[str]]:
    """Return the header and a line for each lowering and policy."""
    regimes = list(errors[0].by_regime) if errors else []
    lines = [["lowering", "policy", *regimes]]
    for one in errors:
        figures = [one.by_regime.get(name) for name in regimes]
        lines.append(
            [one.lowering, one.policy, *("not finite" if figure is None else f"{figure:.1e}" for figure in figures)]
        )
    if any(one.predicted_s is not None for one in errors):
        seconds = ["-" if one.predicted_s is None else f"{one.predicted_s * 1e6:.0f}" for one in errors]
        return [[*line, more] for line, more in zip(lines, ["predicted us", *seconds], strict=True)]
    return lines


@FORMATS.register
def github(errors: Sequence[Error]) -> str:
    """Return a GitHub Markdown table."""
    header, *rows = _lines(errors)
    return tabulate(rows, headers=header, tablefmt="github", disable_numparse=True)


@FORMATS.register
def tsv(errors: Sequence[Error]) -> str:
    """Return tab-separated values with a header line."""
    return "\n".join("\t".join(line) for line in _lines(errors))


@FORMATS.register
def json(errors: Sequence[Error]) -> str:
    """Return the errors as a JSON array."""
    return msgspec.json.format(msgspec.json.encode(list(errors)), indent=2).decode()

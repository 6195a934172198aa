"""The error of one norm by input regime.

A figure is the mean relative error of a regime; for zeros, the largest magnitude of the output.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.report.table import DECIDING, Column, Document, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from harness.records.regime_errors import Error


def document(errors: Sequence[Error]) -> Document:
    """Return the table, with a row for each width, lowering and policy; JSON holds the errors."""
    return Document([Table(tuple(_columns(errors)), errors)], data=list(errors))


def _columns(errors: Sequence[Error]) -> Iterator[Column[Error]]:
    yield Column("lowering", lambda one: one.lowering, priority=DECIDING)
    if len({one.width for one in errors}) > 1:
        yield Column("width", lambda one: one.width, priority=DECIDING)
    yield Column("policy", lambda one: one.policy, priority=DECIDING)
    for regime in errors[0].by_regime if errors else ():
        yield _figure(regime)
    if any(one.predicted_s is not None for one in errors):
        yield Column("predicted us", lambda one: None if one.predicted_s is None else one.predicted_s * 1e6, ".0f")


def _figure(regime: str) -> Column[Error]:
    def value(one: Error) -> float | str:
        figure = one.by_regime.get(regime)
        return "not finite" if figure is None else figure

    return Column(regime, value, lambda figure: figure if isinstance(figure, str) else f"{figure:.1e}")

r"""Plan exponents that step along a stream, for values that grow, and for the sums of squares in norms.

A residual stream grows; its largest row grows by a factor of 10^4 in some models. One exponent for the whole stream
would push the rows of the first layers, and epsilon with them, below float16's smallest numbers. The exponent may
therefore change along the stream, by a multiplication of each value that is live across the step. In program order,
with n the exponent of a value,

.. math::  \sum_v loss(v, n_v) + price \cdot \sum_t live(t) [n_t \ne n_{t+1}]

is minimised by dynamic programming (Viterbi), among the exponents that bring each value into its range and, for the aim
``"sums"``, ``sum(x^2) * 4^n`` to the limit at each norm. The loss of a norm is the relative error that small numbers
add: float16 stores no epsilon below 2^-24, and numbers below 2^-14 with a fixed error of 2^-25.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ane_rms.grammar import SMALLEST_FP16
from ane_rms.rescaling.regions import MULTIPLICATION, SINK

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ane_rms.mil import Op, Var
    from ane_rms.rescaling.magnitudes import Magnitude
    from ane_rms.rescaling.regions import Graph

LIMIT = 0.98 * 65_504 / 2
"""The largest sum of squares of a row; [x, -x] sums to twice that."""
SMALLEST_EXPONENT = -40
PRICE = 1e-3
"""The loss that one multiplication is worth, about that of rounding one value to float16."""
MOST_STEPS = 3
"""Number of multiplications above which a stream is planned again, at twice the price."""


def stepped(
    graph: Graph,
    stream: Collection[Var],
    readers: Sequence[Op],
    magnitudes: Mapping[Var, Magnitude],
    floor: Mapping[Var, int],
    *,
    sums: bool,
) -> list[tuple[int, list[Var]]]:
    """Return the exponents of a stream's values, as one list for each run of equal exponents, in program order.

    Parameters
    ----------
    graph: the graph that joins the stream's values.
    stream: the joined values.
    readers: the norms that read them.
    magnitudes: of the values. For a norm's input without a sum of squares, all elements are assumed to be at the peak.
    floor: the largest exponent, 0 or less, that a value's own range allows.
    sums: whether to bring the norms' sums of squares to the limit as well. If none exceeds it, nothing is returned.
    """
    most = {op.x: exponent_of_sum(op, magnitudes[op.x]) for op in readers if sums and op.x in magnitudes}
    if sums and not any(most.values()):
        return []
    values = sorted(stream, key=graph.survey.place)
    range_only = _with_neighbours(graph, values, floor)
    highest = [min(most.get(var, 0), range_only[var]) for var in values]
    price = PRICE
    while True:
        exponents, steps = _least(graph, values, readers, magnitudes, highest, price)
        if steps <= MOST_STEPS or price > 1:
            return _runs(values, exponents)
        price *= 2


def uniform_loss(readers: Sequence[Op], magnitudes: Mapping[Var, Magnitude], exponent: int) -> float:
    """Return the sum of the losses of norms whose inputs all have one exponent."""
    return sum(loss(op, magnitudes[op.x], exponent) for op in readers if op.x in magnitudes)


def _with_neighbours(graph: Graph, values: Sequence[Var], floor: Mapping[Var, int]) -> dict[Var, int]:
    """Return the largest exponent of each value with which no value beside a step exceeds its range.

    Operands of an op with equal exponents are multiplied to its result's exponent before it. A product without a
    constant is computed at its operand's exponent, and multiplied after it.
    """
    found = {var: floor.get(var, 0) for var in values}
    for var in reversed(values):
        if var.op is None:
            continue
        equal = [slot.of(var.op) for slot in graph.relation(var.op).equal]
        lead = graph.leads(var.op, None)
        if equal:
            found[var] = min(found[var], *(floor.get(operand, 0) for operand in equal))
        elif lead in found:
            found[lead] = min(found[lead], found[var])
    return found


def exponent_of_sum(op: Op, magnitude: Magnitude) -> int:
    """Return the exponent, 0 or less, that brings the sum of squares of a norm's rows to the limit."""
    total = sum_of_squares(op, magnitude)
    return min(0, math.floor(math.log(LIMIT / total, 4))) if total > 0 else 0


def sum_of_squares(op: Op, magnitude: Magnitude) -> float:
    """Return the largest sum of squares of a row; if it was not measured, that of a row entirely at the peak."""
    if magnitude.sum_of_squares is not None:
        return magnitude.sum_of_squares
    sizes = [op.x.shape[int(axis)] for axis in op.axes.val]
    width = math.prod(int(size) for size in sizes if isinstance(size, int) or hasattr(size, "__index__"))
    return magnitude.peak**2 * width


def loss(op: Op, magnitude: Magnitude, exponent: int) -> float:
    """Return the relative error that an exponent adds to a norm of typical rows."""
    typical = magnitude.typical
    if not typical:
        return 0.0
    epsilon = float(op.epsilon.val)
    scaled = epsilon * 4.0**exponent
    stored = max(scaled, SMALLEST_FP16) if epsilon > 0 else 0.0
    of_epsilon = abs(stored - scaled) / (2 * (typical**2 * 4.0**exponent + scaled))
    of_rounding = 2.0**-25 / (typical * 2.0**exponent)
    return of_epsilon + of_rounding


def _least(
    graph: Graph,
    values: Sequence[Var],
    readers: Sequence[Op],
    magnitudes: Mapping[Var, Magnitude],
    highest: Sequence[int],
    price: float,
) -> tuple[list[int], int]:
    """Return the best exponent of each value, and the number of multiplications they take."""
    lowest = min(highest)
    choices = range(lowest, 1)
    norms: dict[Var, list[Op]] = {}
    for op in readers:
        norms.setdefault(op.x, []).append(op)
    live, closing = _live(graph, values), [_closing(graph, var) for var in values]
    cost = dict.fromkeys(choices, 0.0)
    history: list[dict[int, int]] = []
    for number, var in enumerate(values):
        best = min(cost, key=lambda one: (cost[one], -one))
        came, new = dict[int, int](), dict[int, float]()
        for n in choices:
            change = cost[best] + price * live[number]
            came[n], new[n] = (best, change) if change < cost[n] else (n, cost[n])
            new[n] += price * closing[number] * (n != 0)
            new[n] += sum(loss(op, magnitudes[var], n) for op in norms.get(var, ()) if var in magnitudes)
            if n > highest[number]:
                new[n] = math.inf
        cost = new
        history.append(came)
    chosen = [min(cost, key=lambda one: (cost[one], -one))]
    for came in reversed(history[1:]):
        chosen.append(came[chosen[-1]])
    chosen.reverse()
    steps = sum(live[number] * (chosen[number] != chosen[number - 1]) for number in range(1, len(values))) + sum(
        cost * (n != 0) for cost, n in zip(closing, chosen, strict=True)
    )
    return chosen, steps


def _live(graph: Graph, values: Sequence[Var]) -> list[int]:
    """Return, for each place in the order, how many earlier values ops of equal exponents still read there or later."""
    at = {var: number for number, var in enumerate(values)}
    change = [0] * (len(values) + 1)
    for number, var in enumerate(values):
        last = max(
            (
                at[result]
                for node in graph.edges(("readers", var))
                if node[0] == "op"
                for result in graph.relation(node[1]).outputs
                if result in at
            ),
            default=number,
        )
        change[number + 1] += 1
        change[last + 1 if last > number else number + 1] -= 1
    live, total = [], 0
    for number in range(len(values)):
        total += change[number]
        live.append(total)
    return live


def _closing(graph: Graph, var: Var) -> int:
    """Return the number of multiplications that scaling ``var`` always takes: those beside ops that need exponent 0."""
    return sum(
        cost // MULTIPLICATION
        for node in (("value", var), ("readers", var))
        for other, cost in graph.edges(node).items()
        if other is SINK
    )


def _runs(values: Sequence[Var], exponents: Sequence[int]) -> list[tuple[int, list[Var]]]:
    runs: list[tuple[int, list[Var]]] = []
    for var, exponent in zip(values, exponents, strict=True):
        if not runs or runs[-1][0] != exponent:
            runs.append((exponent, []))
        runs[-1][1].append(var)
    return runs

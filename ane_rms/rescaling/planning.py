r"""Plan the exponents that bring a program into float16's range.

A value is over range if its peak exceeds the ceiling of the op that writes it: 65,504, or 32,752 for the results of
linear, matmul and conv, which become infinite from 32,768 on in a Neural Engine. The region around such values is
scaled by the power of two nearest to 1 that brings every peak in it to at most a quarter of its ceiling: calibration
sees a sample of the inputs, and other inputs may reach further.

Sources of the ceilings: "Apple Neural Engine: Architecture, Programming, and Performance", arXiv 2606.22283, and
ANEForge's issues 115, 145 and 195: measured on M1, M1 Max, M2 Pro, M4 and M5 Pro.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ane_rms import mil
from ane_rms.rescaling.regions import MULTIPLICATION, NEVER, Graph, UnclosedRegionError
from ane_rms.rescaling.relations import float_values, is_constant
from ane_rms.rescaling.stepping import PRICE, loss, stepped, uniform_loss
from ane_rms.rescaling.weighing import NORM_OPS, weighed_exponent

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from ane_rms.mil import Op, Program, Var
    from ane_rms.rescaling.magnitudes import Magnitude
    from ane_rms.rescaling.survey import Survey

FLOAT16_MAX = float(np.finfo(np.float16).max)
FLOAT16_NORMAL = float(np.finfo(np.float16).tiny)
"""float16's smallest number of full precision, 2^-14."""
MATRIX_MAX = 32_752.0
"""The largest result of a matrix product that stays finite."""
HEADROOM = 4.0
"""How far below its ceiling a scaled peak comes."""
MATRIX_OPS = frozenset({"linear", "matmul", "conv", "conv_transpose", "einsum", "scaled_dot_product_attention"})


@dataclass(frozen=True, slots=True)
class Left:
    """A region that is not scaled, given by one of its values, and the reason."""

    values: tuple[Var, ...]
    reason: str


@dataclass(slots=True)
class Plan:
    """The exponents of a program's values; ``parts`` are the values of equal exponents, in program order."""

    parts: list[tuple[int, list[Var]]] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)

    @property
    def exponents(self) -> dict[Var, int]:
        """The exponent of each value that has one."""
        return {var: exponent for exponent, values in self.parts for var in values if exponent}

    def in_order(self, survey: Survey) -> Plan:
        """Return the plan with the values of each part in program order, inputs first."""
        ordered = [(exponent, sorted(values, key=survey.place)) for exponent, values in self.parts]
        return Plan(sorted(ordered, key=lambda part: survey.place(part[1][0])), self.left)


def ceiling(var: Var) -> float:
    """Return the largest magnitude that the op that writes ``var`` can give."""
    op = var.op
    if op is not None and op.op_type == "add":  # a bias that a later pass folds into the product
        given = [one for one in (op.x, op.y) if not is_constant(one)]
        op = given[0].op if len(given) == 1 else op
    return MATRIX_MAX if op is not None and op.op_type in MATRIX_OPS else FLOAT16_MAX


def needed(var: Var, magnitude: Magnitude) -> int:
    """Return the exponent, 0 or less, that brings a peak to at most ``1 / HEADROOM`` of its ceiling."""
    ratio = magnitude.peak / (ceiling(var) / HEADROOM)
    return -max(0, math.ceil(math.log2(ratio))) if ratio > 0 else 0


def plan_peaks(program: Program, magnitudes: Mapping[Var, Magnitude], survey: Survey) -> Plan:
    """Return the exponents that bring every value within its ceiling."""
    over = [var for var in float_values(program) if var in magnitudes and magnitudes[var].peak > ceiling(var)]
    plan = Plan()
    while over:
        graph = Graph(survey, over)
        try:
            region = graph.region(over)
        except UnclosedRegionError as error:
            lost = graph.touching(error.seed, over)
            plan.left.append(Left(tuple(lost), str(error)))
            over = [var for var in over if var not in set(lost)]
            continue
        for values in graph.components(region):
            plan.parts.extend(
                _weighed(_exponent(values, magnitudes, survey), values, over, program, magnitudes, survey)
            )
        break
    return _replaced(plan, _streams(program, magnitudes, survey, plan), survey)


def _exponent(values: Collection[Var], magnitudes: Mapping[Var, Magnitude], survey: Survey) -> int:
    """Return the exponent of a region: one that brings each of its values into range."""
    most = min((needed(var, magnitudes[var]) for var in values if var in magnitudes), default=0)
    return weighed_exponent(most, values, magnitudes, survey)


def _weighed(
    exponent: int,
    values: list[Var],
    over: Sequence[Var],
    program: Program,
    magnitudes: Mapping[Var, Magnitude],
    survey: Survey,
) -> list[tuple[int, list[Var]]]:
    """Return a region, or the smaller one whose multiplications cost less than what norms lose in the larger one."""
    read = [op for op in _norms(program, NORM_OPS) if op.x in magnitudes]
    inside, burdens = set(values), dict["Var", int]()
    for op in read:
        burden = loss(op, magnitudes[op.x], exponent) / PRICE
        burdens[op.x] = burdens.get(op.x, 0) + min(round(burden * MULTIPLICATION), NEVER >> 10)
    if sum(burdens.get(var, 0) for var in values) <= MULTIPLICATION:
        return [(exponent, values)]
    graph = Graph(survey, over, burdens)
    smaller = graph.region([var for var in over if var in inside])
    if not inside.issuperset(smaller):
        return [(exponent, values)]
    return [(_exponent(part, magnitudes, survey), part) for part in graph.components(smaller)]


def _streams(
    program: Program, magnitudes: Mapping[Var, Magnitude], survey: Survey, plan: Plan
) -> list[tuple[int, list[Var]]]:
    """Return the exponents, in steps, of the streams that lose digits at the small end with one exponent."""
    norms, graph = _norms(program, NORM_OPS), Graph(survey)
    found, seen = list[tuple[int, list["Var"]]](), set["Var"]()
    floor = _floor(magnitudes, plan)
    for exponent, values in plan.parts:
        inside = set(values)
        first = next((op.x for op in norms if op.x in inside), None)
        if first is None or first in seen:
            continue
        if uniform_loss([op for op in norms if op.x in inside], magnitudes, exponent) <= PRICE:
            continue
        stream = set(graph.closure(first))
        seen.update(stream)
        readers = [op for op in norms if op.x in stream]
        found.extend(stepped(graph, stream, readers, magnitudes, floor, sums=False))
    return found


def _floor(magnitudes: Mapping[Var, Magnitude], plan: Plan) -> dict[Var, int]:
    """Return the exponents that the values' own ranges need, except of regions that are left."""
    left = {var for one in plan.left for var in one.values}
    return {var: needed(var, magnitudes[var]) for var in magnitudes if var not in left}


def _replaced(plan: Plan, stepping: list[tuple[int, list[Var]]], survey: Survey) -> Plan:
    """Return a plan with the exponents of some streams in the place of its own."""
    stepped_values = {var for _, values in stepping for var in values}
    kept = [(exponent, values) for exponent, values in plan.parts if not stepped_values.intersection(values)]
    return Plan(kept + stepping, plan.left).in_order(survey)


def plan_factor(program: Program, exponent: int, survey: Survey) -> Plan:
    """Return the plan that scales the residual stream, which is the largest of the regions that norms read."""
    plan = Plan()
    for function in program.functions.values() if exponent else ():
        graph, regions = Graph(survey), list[set["Var"]]()
        norms = [op for op in _norms(program) if mil.root_function(op) is function and not is_constant(op.x)]
        for op in norms:
            if not any(op.x in region for region in regions):
                regions.append(set(graph.region([op.x])))
        if regions:
            largest = max(regions, key=len)
            plan.parts.append((exponent, list(largest)))
    return plan.in_order(survey)


def plan_sums(program: Program, magnitudes: Mapping[Var, Magnitude], survey: Survey) -> Plan:
    """Return the exponents that bring the sums of squares of every norm, in steps, and every value into range."""
    plan = plan_peaks(program, magnitudes, survey)
    graph, seen = Graph(survey), set["Var"]()
    norms, floor = _norms(program), _floor(magnitudes, plan)
    stepping: list[tuple[int, list[Var]]] = []
    for op in norms:
        if op.x in seen or op.x not in magnitudes:
            continue
        stream = graph.closure(op.x)
        seen.update(stream)
        inside = set(stream)
        readers = [one for one in norms if one.x in inside]
        stepping.extend(stepped(graph, stream, readers, magnitudes, floor, sums=True))
    return _replaced(plan, stepping, survey)


def _norms(program: Program, op_types: Collection[str] = ("ane_rms_norm",)) -> list[Op]:
    return [op for block in mil.blocks(program) for op in block.operations if op.op_type in op_types]

"""Random graphs around and across norms: the passes change no value, raise nothing, and change nothing twice.

Programs are executed in float64 before and after, where a rewrite that is right is exact but for what it rounds to
float32 by design. What is drawn is counted: see :data:`WANTED`.
"""

from __future__ import annotations

import copy
import math
from collections import Counter

import numpy as np
import pytest
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import ane_rms
from ane_rms import mil
from ane_rms.passes.strategies import STRATEGIES
from ane_rms.scan import scan
from tests.ane_rms.bounds import FLOAT32, FLOAT64, check_float16, check_values, evaluate, has_known_values
from tests.ane_rms.random_graphs import KINDS, programs
from tests.ane_rms.root_census import uncovered_roots
from tests.mil_tools import NE

EXACT = ("layer_norm", "layer_norm_affine", "l2_norm", "none")
"""Lowerings that round no constant when widths are powers of 4."""

FLOORED = ("reduce_l2_norm", "layer_norm_prescaled")
"""Lowerings with epsilon as elements of the row: their squares sum to float16's smallest number, 2**-24, or more."""


def run_passes(program, lowering, axes):
    """Run each pass twice; the second time changes nothing."""
    for name, chosen in (
        ("common::fuse_rms_norm", {"compute_units": NE, "axes": axes}),
        ("common::lower_ane_rms_norm_to_layer_norm", {"compute_units": NE, "lowering": lowering}),
        ("common::expand_ane_rms_norm", {}),
    ):
        graph_pass = PASS_REGISTRY[name]
        graph_pass.set_options([PassOption(key, value) for key, value in chosen.items()])
        graph_pass(program)
        program["main"].validate(force_validate=True)
        once = str(program)
        graph_pass(program)
        assert str(program) == once


def rows(shape, seed=0):
    """Return rows of N(0, 1), one of them zeros, one with a spike."""
    x = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    flat = x.reshape(-1, shape[-1])
    if len(flat) > 1:
        flat[1] = 0
    if len(flat) > 2:
        flat[2, 0] = 300
    return x


def check(drawn, lowering, axes):
    program, d = drawn
    PASS_REGISTRY["common::dead_code_elimination"](program)  # as in a conversion: no site is counted that nobody reads
    x = rows(d.shape)
    unit = FLOAT64 if lowering in EXACT and d.exact and not has_known_values(program) else FLOAT32
    text = str(program)
    with np.errstate(invalid="ignore"):
        before = evaluate(program, x)
        found = ane_rms.find(program, axes=axes)
        assert str(program) == text
        assert uncovered_roots(program, scan(program, any_axes=axes == "any")) == []
        plain = copy.deepcopy(program)
        assert all(miss.reason and miss.name for miss in found.missed)
        within = {id(op) for norm in scan(program).norms for op in norm.interior}
        last_ops = [op for op in program["main"].operations if op.name in d.promised]
        assert [op.name for op in last_ops if id(op) not in within] == []

        run_passes(program, lowering, axes)
        assert not program.find_ops(op_type="ane_rms_norm")
        if any(site.epsilon != float(str(np.float32(site.epsilon))) for site in found.fused):
            unit = FLOAT32  # epsilon of x where that of a multiple of x was written
        widths = [math.prod(site.shape[i] for i in site.axes) for site in found.fused]
        if any(math.isqrt(n) ** 2 != n for n in widths):
            unit = FLOAT32  # the root of a width is a constant of some lowerings
        unit = max(unit, *(site.deviation_bound for site in found.fused), 0.0)
        sites = {site.name for site in found.fused}
        after = evaluate(program, x)
        if lowering in FLOORED and any(
            0 < site.epsilon * n < 2.0**-24 for site, n in zip(found.fused, widths, strict=True)
        ):
            assert all(np.isfinite(after[name][np.isfinite(one)]).all() for name, one in before.items())
        else:
            check_values(before, after, unit, plain, x, sites)
        if lowering in ("layer_norm", "layer_norm_affine"):
            check_float16(before.values(), plain, program, x, sites)

    if lowering in ("layer_norm", "layer_norm_affine"):  # others leave primitives, which would fuse again
        again = str(program)
        run_passes(program, lowering, axes)
        assert str(program) == again


LOWERINGS = st.sampled_from(sorted(STRATEGIES))
AXES = st.sampled_from(["last", "any"])
QUIET = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}


@given(programs(), LOWERINGS, AXES)
@settings(max_examples=1_000, derandomize=True, **QUIET)
def test_passes_change_no_value(drawn, lowering, axes):
    check(drawn, lowering, axes)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@given(programs(), LOWERINGS, AXES)
@settings(max_examples=20_000, **QUIET)
def test_passes_change_no_value_of_thousands(drawn, lowering, axes):
    check(drawn, lowering, axes)


def features(program, shape):
    """Return what a graph holds, read off the program."""
    norms = scan(program).norms
    times = Counter(id(mil.base(norm.x)) for norm in norms)
    last_ops = {id(norm.op) for norm in norms}
    found = {f"rank {len(shape)}", *("d = 1" for _ in range(shape[-1] == 1))}
    for norm in norms:
        found.update(surroundings(norm))
        if id(mil.base(norm.x).op) in last_ops:
            found.add("norm of a norm")
        if times[id(mil.base(norm.x))] > 1:
            found.add("same x twice")
    if any(op.op_type == "mul" and op.outputs[0].val is not None for op in program["main"].operations):
        found.add("constant as x")
    return found


def surroundings(norm):
    """Yield what stands around one norm."""
    own = {id(op) for op in (*norm.interior, *norm.roots)}
    values = [op.outputs[0] for op in (*norm.interior, *norm.roots) if op is not norm.op]
    if any(id(child) not in own for value in values for child in value.child_ops):
        yield "shared intermediate"
    if any(value.consuming_blocks for value in values):
        yield "intermediate that is an output"
    if norm.others:
        yield "another factor"
    block = norm.op.enclosing_block
    if block.outer_op is not None:
        yield f"inside a {block.outer_op.op_type}"
        if norm.roots[0].enclosing_block is not block:
            yield "root in another block"


WANTED = {
    *(kind.__name__ for kind in KINDS),
    *(f"rank {rank}" for rank in range(1, 6)),
    *("d = 1", "shared intermediate", "intermediate that is an output", "norm of a norm", "same x twice"),
    *("inside a cond", "inside a while_loop", "root in another block", "another factor", "constant as x"),
}


def test_what_is_drawn_holds_every_case():
    """Each case in at least 1 of 100 graphs, so that thousands hold it dozens of times."""
    drawn, seen = 300, Counter()

    @given(programs())
    @settings(max_examples=drawn, derandomize=True, database=None, phases=[Phase.generate], **QUIET)
    def count(one):
        program, d = one
        PASS_REGISTRY["common::dead_code_elimination"](program)
        seen.update(features(program, d.shape) | d.kinds)

    count()
    assert {case: seen[case] for case in WANTED if seen[case] < drawn / 100} == {}

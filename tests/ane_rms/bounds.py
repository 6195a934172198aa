"""How far the values of a program may be from those of the program that it was made of.

A pass changes the results of its sites, each within a stated bound, and nothing else. What the rest of the program
makes of such a change is measured: the program as it was is executed again with each site's result moved by the bound,
up or down by chance, in the body of a loop at each turn. So a loop in which a norm's result goes round into itself
may differ by as much as it enlarges a rounding, and no more.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms import mil
from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

FLOAT16 = 2.0**-11
FLOAT64, FLOAT32 = 2.0**-40, 2.0**-22
"""What float64 (2**-53) and a constant rounded to float32 (2**-24) may come to over a graph of some fifty ops."""

LARGEST = float(np.finfo(np.float16).max)
DRAWS = 8
"""How many times the results of the sites are moved by chance."""

AMPLIFICATION = 16
"""How much further n roundings move a result if they agree than if drawn: the root of n, for a row of 64 in 4 norms."""


def evaluate(program, x):
    results = ReferenceModel(folded(program), "fp64").evaluate({"x": x})
    return {name: value.double().numpy() for name, value in results.items()}


def has_known_values(program):
    """Return whether the value of an op is known: its constant is float32 wherever a gamma takes it up."""
    ops = (op for block in mil.blocks(program) for op in block.operations if op.op_type != "const")
    return any(value.val is not None for op in ops for value in op.outputs)


def folded(program):
    """Return a program whose known values are constants, as after coremltools' own folding, before and after a pass.

    Such a value has the roundings of the types that the program declares, where float64 would leave out a cast to
    float16 on the way to it.
    """
    if has_known_values(program):
        program = copy.deepcopy(program)
        PASS_REGISTRY["common::const_elimination"](program)
    return program


def moved(program, x, sites, unit, policy="fp64") -> Iterator[list[np.ndarray]]:
    """Yield the results of a program with the result of each site times ``1 + unit`` or ``1 - unit``, as drawn."""
    model = ReferenceModel(program, policy)
    generator = torch.Generator().manual_seed(0)
    names = {*sites, *(f"{name}_cast_fp16" for name in sites)}

    def move(op, _, results):
        if op.op_type not in ("mul", "real_div") or op.outputs[0].name not in names:
            return
        for name, value in results.items():
            signs = torch.randint(0, 2, value.shape, generator=generator) * 2 - 1
            results[name] = (value.double() * (1 + unit * signs)).to(value.dtype)

    with model.listening(move):
        for _ in range(DRAWS):
            yield [value.double().numpy() for value in model.evaluate({"x": x}).values()]


def check_values(before, after, unit, plain, x, sites):
    """Hold the values after to those before; what is not finite before, by an epsilon of 0, is left out.

    Parameters
    ----------
    before, after: values by name.
    unit: the bound of a site, of its result.
    plain: the program before.
    x: its input.
    sites: names of its sites.
    """
    assert list(after) == list(before)
    for index, (name, expected) in enumerate(before.items()):
        defined = np.isfinite(expected)
        size = max(1.0, float(np.abs(expected[defined]).max(initial=0.0)))
        difference = np.abs(after[name][defined] - expected[defined])
        if not np.all(difference <= 64 * unit * size):
            others = [one[index] for one in moved(folded(plain), x, sites, unit)]
            own = max(float(np.nanmax(np.abs(one - expected)[defined], initial=0.0)) for one in others)
            assert np.all(difference <= 64 * unit * size + AMPLIFICATION * own), f"{name}: {difference.max()} {own}"


def narrowed(program):
    """Return a copy of a program that is cast to float16 throughout."""
    narrow = copy.deepcopy(program)
    PASS_REGISTRY["common::add_fp16_cast"](narrow)
    return narrow


def in_float16(program, x):
    """Return the values of a program that is cast to float16 throughout, sums in float32."""
    results = ReferenceModel(narrowed(program), "fp16").evaluate({"x": x})
    return [value.double().numpy() for value in results.values()]


def check_float16(exact, plain, fused, x, sites):
    """Hold the error in float16 to that of the plain program and four roundings, of the size of the values.

    The plain program's roundings may cancel out by chance, and a loop may enlarge them: its error is also taken with
    the results of its sites one rounding away from what they are. Values that float16 does not hold are left out: the
    plain program may give a number. Where it gives NaN, an overflow has reached a norm: the NaN's error has no bound,
    nor has that of the row around it. A norm that overflows may also give zero, a wrong number without a bound: so
    what reads a value beyond float16 is left out as well.
    """
    found = zip(exact, in_float16(plain, x), in_float16(fused, x), strict=True)
    for index, (expected, before, after) in enumerate(found):
        defined = np.abs(expected) <= LARGEST
        lost = np.isnan(before[np.isfinite(expected)]).any() or not np.isfinite(before[defined]).all()
        if lost:  # the plain program overflows: its own error has no bound
            continue
        size = max(1.0, float(np.abs(expected[defined]).max(initial=0.0)))
        own = error_of(before, expected)
        error = float(np.nan_to_num(np.abs(after - expected)[defined], nan=np.inf).max(initial=0.0))
        if error > own + 4 * FLOAT16 * size:
            if index in beyond_float16(plain, fused, x):
                continue
            others = moved(narrowed(plain), x, sites, FLOAT16, "fp16")
            own = max(error_of(one[index], expected) for one in others)
        assert error <= own + 4 * FLOAT16 * size, f"{error} in float16, {own} without fusing"


def error_of(actual, expected):
    return float(np.abs(actual - expected)[np.abs(expected) <= LARGEST].max(initial=0.0))


def beyond_float16(plain, fused, x) -> Collection[int]:
    """Return which outputs read, directly or not, a value of both programs that float16 does not hold."""
    large: set[str] = set()

    def note(op, _, results):
        large.update(
            name
            for name, value in results.items()
            if torch.is_floating_point(value) and bool((value.abs() > LARGEST).any())
        )

    model = ReferenceModel(fused, "fp64")
    with model.listening(note):
        model.evaluate({"x": x})
    both = {value.name for block in mil.blocks(plain) for op in block.operations for value in op.outputs}
    main = fused["main"]
    large &= both
    for op in main.operations:
        inner = [one for block in op.blocks for one in _ops_within(block)]
        named = {value.name for one in (op, *inner) for value in (*one.get_flattened_inputs(), *one.outputs)}
        if named & large:
            large.update(value.name for value in op.outputs)
    return [index for index, value in enumerate(main.outputs) if value.name in large]


def _ops_within(block):
    for op in block.operations:
        yield op
        for inner in op.blocks:
            yield from _ops_within(inner)

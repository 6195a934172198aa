"""Draws programs around and across norms, for ``test_random_graphs.py``.

A graph is drawn op by op from a pool of values of one shape: norms in several spellings, over several axes, gated,
grouped, and finished in pieces; ordinary ops; look-alikes. What a norm is made of goes into the pool as well, so that
it is shared, read elsewhere, or an output. Numbers are such that a rewrite which is right is exact in float64: gammas
are multiples of 1/16, widths are powers of 4.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb
from hypothesis import strategies as st

from tests.ane_rms.random_kinds import KINDS as MORE

EPSILON = np.float32(1e-5)
NO_GUARD = np.float32(1e-30)
"""In place of the 1e-12 that MIL adds under ``rsqrt`` by default, and ``inverse`` with 1e-4."""


@dataclass(slots=True)
class Draw:
    """What draws a graph: hypothesis's ``draw``, a generator of constants, and what was drawn."""

    draw: Any
    shape: tuple[int, ...]
    generator: np.random.Generator
    pool: list[Any] = field(default_factory=list)
    """Values of ``shape``."""
    roots: list[tuple[Any, Any]] = field(default_factory=list)
    """(x, its inverse root over the last axis)"""
    parts: list[Any] = field(default_factory=list)
    """Every value that a norm outside inner blocks is made of."""
    promised: list[str] = field(default_factory=list)
    """The last op of each plain norm over the last axis of a value that is no constant."""
    kinds: set[str] = field(default_factory=set)
    """Names of what was drawn."""
    exact: bool = True
    """Whether a right rewrite is exact: no guard of MIL's own is dropped."""
    nested: bool = False

    def one(self, *choices):
        """Return one of the choices."""
        return self.draw(st.sampled_from(choices))

    def flip(self):
        """Return yes or no."""
        return self.draw(st.booleans())

    def rarely(self, times=10):
        """Return whether to do what is done once in so many times."""
        return self.draw(st.integers(0, times - 1)) == times - 1

    def commuted(self, build, x, y):
        """Build an op with its operands in either order."""
        return build(x=x, y=y) if self.flip() else build(x=y, y=x)

    def number(self, *shape):
        """Return numbers between 0.5 and 1.5 that are multiplied without a rounding."""
        return (self.generator.integers(8, 25, shape) / 16).astype(np.float32)

    def gamma(self, axes, rank):
        """Return a gamma over ``axes``, a number, or rarely one along all axes."""
        kind = self.one("over axes", "over axes", "number")
        if kind == "number":
            return self.number()[()]
        everywhere = self.rarely()
        shape = [self.shape[axis] if everywhere or axis in axes else 1 for axis in range(rank)]
        return self.number(*(shape if everywhere else shape[min(axes) :]))

    def part(self, value):
        """Note down a value that a norm is made of; the ones of full shape can be drawn from then on."""
        if not self.nested:
            self.parts.append(value)
            if tuple(value.shape) == self.shape:
                self.pool.append(value)
        return value


def squared(x, d):
    kind = d.one("mul", "square", "pow", "abs")
    if kind == "mul":
        return d.part(mb.mul(x=x, y=x))
    if kind == "square":
        return d.part(mb.square(x=x))
    return d.part(mb.pow(x=mb.abs(x=x) if kind == "abs" else x, y=np.float32(2)))


def mean_square(x, axes, d):
    count = math.prod(x.shape[axis] for axis in axes)
    kind = d.one("mean", "mean", "mean", "sum, divided", "sum, multiplied", "sum_square", "expand")
    axes = [axis - x.rank for axis in axes] if d.flip() else list(axes)
    if kind == "mean":
        return d.part(mb.reduce_mean(x=squared(x, d), axes=axes, keep_dims=True))
    if kind == "expand" and x.rank > 1:
        mean = mb.reduce_mean(x=squared(x, d), axes=axes, keep_dims=False)
        return d.part(mb.expand_dims(x=mean, axes=axes))
    if kind == "sum_square":
        total = mb.reduce_sum_square(x=x, axes=axes, keep_dims=True)
    else:
        total = mb.reduce_sum(x=squared(x, d), axes=axes, keep_dims=True)
    if kind == "sum, divided":
        return d.part(mb.real_div(x=total, y=np.float32(count)))
    return d.part(d.commuted(mb.mul, total, np.float32(1 / count)))


def inverse_root(x, axes, d):
    """Return (1 / rms, None) or (None, rms)."""
    shifted = mean_square(x, axes, d)
    if not d.rarely(20):
        shifted = d.part(d.commuted(mb.add, shifted, EPSILON))
    kind = d.one("rsqrt", "rsqrt", "pow", "sqrt", "root pow", "inverse", "1 / sqrt")
    if kind == "rsqrt":
        guarded = d.rarely(5)
        d.exact &= not guarded
        return d.part(mb.rsqrt(x=shifted) if guarded else mb.rsqrt(x=shifted, epsilon=NO_GUARD)), None
    if kind == "pow":
        return d.part(mb.pow(x=shifted, y=np.float32(-0.5))), None
    rms = d.part(mb.pow(x=shifted, y=np.float32(0.5)) if kind == "root pow" else mb.sqrt(x=shifted))
    if kind == "inverse":
        return d.part(mb.inverse(x=rms, epsilon=NO_GUARD)), None
    return (d.part(mb.real_div(x=np.float32(1), y=rms)), None) if kind == "1 / sqrt" else (None, rms)


def drawn_axes(rank, d):
    """Return the last axis, mostly; else some trailing axes, or any single one."""
    kind = d.one("last", "last", "last", "last", "trailing", "single")
    if kind == "last":
        return (rank - 1,)
    first = d.draw(st.integers(0, rank - 1))
    return tuple(range(first, rank)) if kind == "trailing" else (first,)


def norm(x, other, d):
    """Return an RMSNorm of x as drawn: axes, spelling, gate, and up to two gammas before or after."""
    axes = drawn_axes(x.rank, d)
    inverse, rms = inverse_root(x, axes, d)
    last = axes == (x.rank - 1,)
    if last and inverse is not None and not d.nested:
        d.roots.append((x, inverse))
    where = d.one("none", "none", "none", "gamma on the root", "gamma on x", "gate on x", "gate on the root")
    left = x
    if where == "gamma on x":
        left = d.commuted(mb.mul, x, d.gamma(axes, x.rank))
    elif where == "gate on x":
        left = d.commuted(mb.mul, x, mb.sigmoid(x=other))
    elif inverse is not None and where == "gamma on the root":
        inverse = d.commuted(mb.mul, inverse, d.gamma(axes, x.rank))
    elif inverse is not None and where == "gate on the root":
        inverse = d.commuted(mb.mul, inverse, mb.sigmoid(x=other))
    value = mb.real_div(x=left, y=rms) if inverse is None else d.commuted(mb.mul, left, inverse)
    if last and where == "none" and x.val is None and not d.nested:
        d.promised.append(value.op.name)
    for _ in range(d.draw(st.integers(0, 2))):
        value = d.commuted(mb.mul, d.part(value), d.gamma(axes, x.rank))
    return d.commuted(mb.mul, d.part(value), mb.silu(x=other)) if d.rarely(5) else value


def finished(x, other, d):
    """Return a norm of which the inverse root stands already: a value normalised twice, or in another block."""
    roots = [(source, inverse) for source, inverse in d.roots if not d.nested or inverse.val is None]
    if not roots:
        return norm(x, other, d)
    source, inverse = d.one(*roots)
    return d.commuted(mb.mul, d.commuted(mb.mul, source, inverse), d.gamma((source.rank - 1,), source.rank))


def grouped(x, other, d):
    """Return an RMSNorm of each quarter of the last axis, gated before, scaled after."""
    width = d.shape[-1]
    if width % 4:
        return norm(x, other, d)
    gated = mb.mul(x=x, y=mb.silu(x=other)) if d.flip() else x
    apart = mb.reshape(x=gated, shape=[*d.shape[:-1], 4, width // 4])
    inverse, rms = inverse_root(apart, (x.rank,), d)
    apart = mb.real_div(x=apart, y=rms) if inverse is None else d.commuted(mb.mul, apart, inverse)
    return mb.mul(x=mb.reshape(x=apart, shape=list(d.shape)), y=d.gamma((x.rank - 1,), x.rank))


def look_alike(x, other, d):
    """Return something that resembles an RMSNorm of x and is none."""
    last = (x.rank - 1,)

    def scaled(mean, value=x):
        return mb.mul(x=value, y=mb.rsqrt(x=mb.add(x=mean, y=EPSILON), epsilon=NO_GUARD))

    def variance():
        centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=list(last), keep_dims=True))
        return scaled(mean_square(centred, last, d), d.one(x, centred))

    def mean_of(value):
        return scaled(mb.reduce_mean(x=value, axes=list(last), keep_dims=True))

    def root_twice():  # x / rms^2, and the inverse root is a factor two times
        inverse = mb.rsqrt(x=mb.add(x=mean_square(x, last, d), y=EPSILON), epsilon=NO_GUARD)
        return d.commuted(mb.mul, d.commuted(mb.mul, x, inverse), inverse)

    def root_shared():  # the inverse root of one value scales another, and itself as well
        inverse = mb.rsqrt(x=mb.add(x=mean_square(x, last, d), y=EPSILON), epsilon=NO_GUARD)
        return mb.add(x=mb.mul(x=other, y=inverse), y=mb.mul(x=x, y=inverse))

    return d.one(
        variance,
        root_twice,
        root_shared,
        lambda: scaled(mean_square(mb.tanh(x=other), last, d)),
        lambda: mean_of(mb.pow(x=mb.abs(x=x), y=np.float32(3))),
        lambda: mean_of(mb.mul(x=mb.mul(x=x, y=mb.sigmoid(x=other)), y=x)),
        lambda: scaled(mean_square(x, tuple(range(x.rank)), d)),
        lambda: mb.real_div(x=x, y=mb.add(x=mean_square(x, last, d), y=EPSILON)),
        lambda: scaled(mb.reduce_sum(x=squared(x, d), axes=list(last), keep_dims=True)),
        lambda: mb.mul(x=x, y=mb.sqrt(x=mb.add(x=mean_square(x, last, d), y=EPSILON))),
    )()


def ordinary(x, other, d):
    """Return an op that is no part of a norm."""
    kind = d.one("tanh", "add", "gate", "scale", "sub", "relu")
    return {
        "tanh": lambda: mb.tanh(x=x),
        "add": lambda: mb.add(x=x, y=other),
        "gate": lambda: mb.mul(x=x, y=mb.sigmoid(x=other)),
        "scale": lambda: mb.mul(x=x, y=np.float32(0.5)),
        "sub": lambda: mb.sub(x=x, y=other),
        "relu": lambda: mb.relu(x=x),
    }[kind]()


def inner_block(x, other, d):
    """Return a norm inside the branch of a ``cond`` or the body of a ``while_loop``."""
    level = mb.reduce_max(x=d.pool[0], keep_dims=False)
    if x.val is not None:  # coremltools would build the body of a loop twice, each time drawn anew
        x = mb.add(x=x, y=d.pool[0])
    d.nested, build = True, d.one(norm, finished)
    if d.flip():
        pred = mb.greater(x=level, y=np.float32(0))
        value = mb.cond(pred=pred, _true_fn=lambda: build(x, other, d), _false_fn=lambda: mb.tanh(x=x))
    else:
        _, value = mb.while_loop(
            _cond=lambda i, _: mb.less(x=i, y=np.float32(2)),
            _body=lambda i, v: (mb.add(x=i, y=np.float32(1)), build(mb.add(x=v, y=x), other, d)),
            loop_vars=(mb.mul(x=level, y=np.float32(0)), x),
        )
    d.nested = False
    return value


KINDS = [norm] * 8 + [finished] * 2 + [grouped] * 2 + [look_alike] * 4 + [ordinary] * 4 + [inner_block] * 3 + MORE


@st.composite
def programs(draw):
    """Draw (program, what was drawn)."""
    rank, width = draw(st.integers(1, 5)), draw(st.sampled_from([1, 4, 16, 64]))
    shape = (*(draw(st.sampled_from([1, 2, 4])) for _ in range(rank - 1)), width)
    d = Draw(draw, shape, np.random.default_rng(draw(st.integers(0, 2**16))))

    @mb.program(input_specs=[mb.TensorSpec(shape=shape)], opset_version=ct.target.iOS17)
    def program(x):
        d.pool += [x, mb.mul(x=x, y=np.float32(1.5))]
        if d.flip():
            constant = mb.const(val=d.number(*shape) - np.float32(1))
            d.pool += [constant, mb.add(x=x, y=constant)]
        values = []
        for _ in range(draw(st.integers(1, 6))):
            kind = d.one(*KINDS)
            d.kinds.add(kind.__name__)
            values.append(kind(d.one(*d.pool), d.one(*d.pool), d))
            d.pool.append(values[-1])
        kept = draw(st.lists(st.sampled_from([*values, *d.parts]), max_size=3, unique_by=id))
        outputs = [value for value in kept if value is not values[-1]] + [values[-1]]
        return tuple(value if value.val is None and d.flip() else mb.add(x=value, y=np.float32(1)) for value in outputs)

    return program, d

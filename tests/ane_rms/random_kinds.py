"""What else ``random_graphs`` draws around norms: repeated values, run-time factors, casts, ranks, frontends' forms."""

from __future__ import annotations

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

EPSILON = np.float32(1e-5)
NO_GUARD = np.float32(1e-30)


def inverse_root_of(x, axis=-1):
    mean = mb.reduce_mean(x=mb.square(x=x), axes=[axis], keep_dims=True)
    return mb.rsqrt(x=mb.add(x=mean, y=EPSILON), epsilon=NO_GUARD)


def through_half(value):
    """Return ``value`` stored in float16 in between."""
    return mb.cast(x=mb.cast(x=value, dtype="fp16"), dtype="fp32")


def repeated(x, other, d):
    """Return a norm of a value that is computed once for its root and once more to be scaled."""
    kind = d.one("relu", "negative", "sum", "cast", "transpose")
    swapped = [*range(x.rank - 2), x.rank - 1, x.rank - 2] if x.rank > 1 else [0]

    def once():
        return {
            "relu": lambda: mb.relu(x=x),
            "negative": lambda: mb.mul(x=x, y=np.float32(-1)),
            "sum": lambda: d.commuted(mb.add, x, other),
            "cast": lambda: through_half(x),
            "transpose": lambda: mb.transpose(x=x, perm=swapped),
        }[kind]()

    value = d.commuted(mb.mul, once(), inverse_root_of(once()))
    return mb.transpose(x=value, perm=swapped) if kind == "transpose" else value


def run_time_factors(x, other, d):
    """Return a norm that values known at run time only multiply and divide, some near float16's largest number."""
    large = mb.exp(x=mb.add(x=mb.mul(x=mb.tanh(x=other), y=np.float32(0.01)), y=np.float32(11.0)))
    near = mb.exp(x=mb.add(x=mb.mul(x=mb.tanh(x=x), y=np.float32(0.02)), y=np.float32(10.9)))
    inverse = inverse_root_of(x)
    return d.one(
        lambda: mb.mul(x=x, y=mb.mul(x=inverse, y=mb.real_div(x=large, y=near))),
        lambda: mb.real_div(x=mb.mul(x=x, y=inverse), y=mb.real_div(x=near, y=large)),
        lambda: mb.mul(x=mb.real_div(x=x, y=near), y=mb.mul(x=inverse, y=large)),
        lambda: mb.mul(x=mb.mul(x=x, y=mb.sigmoid(x=other)), y=mb.mul(x=inverse, y=mb.tanh(x=other))),
        lambda: mb.mul(x=mb.mul(x=mb.real_div(x=inverse, y=near), y=x), y=large),
        lambda: mb.mul(x=x, y=mb.mul(x=mb.mul(x=inverse, y=mb.sigmoid(x=other)), y=d.gamma((x.rank - 1,), x.rank))),
    )()


def stored_in_half(x, other, d):
    """Return a norm of which one part is stored in float16."""
    at = d.one("x", "mean", "root", "norm", "scaled x")
    value = through_half(x) if at == "x" else x
    mean = mb.reduce_mean(x=mb.square(x=value), axes=[-1], keep_dims=True)
    mean = mb.add(x=through_half(mean) if at == "mean" else mean, y=EPSILON)
    inverse = mb.rsqrt(x=mean, epsilon=NO_GUARD)
    inverse = through_half(inverse) if at == "root" else inverse
    value = d.commuted(mb.mul, through_half(value) if at == "scaled x" else value, inverse)
    value = through_half(value) if at == "norm" else value
    return d.commuted(mb.mul, value, d.gamma((x.rank - 1,), x.rank))


def whole_numbers(x, other, d):
    """Return a norm cut to integers and multiplied there, or one of integers; away from where a cut jumps."""
    if d.flip():
        value = mb.mul(x=x, y=inverse_root_of(x))
        cut = mb.cast(x=mb.add(x=mb.mul(x=value, y=np.float32(2.6)), y=np.float32(0.37)), dtype="int32")
        return mb.cast(x=mb.mul(x=cut, y=np.int32(3)), dtype="fp32")
    cut = mb.cast(x=mb.add(x=mb.mul(x=mb.tanh(x=x), y=np.float32(5.3)), y=np.float32(0.37)), dtype="int32")
    square = mb.cast(x=mb.mul(x=cut, y=cut), dtype="fp32")
    mean = mb.reduce_mean(x=square, axes=[-1], keep_dims=True)
    inverse = mb.rsqrt(x=mb.add(x=mean, y=EPSILON), epsilon=NO_GUARD)
    return mb.mul(x=mb.cast(x=cut, dtype="fp32"), y=inverse)


def raised_rank(x, other, d):
    """Return a norm with a number in it that has one axis more than x."""
    if x.rank == 5:
        return mb.mul(x=x, y=inverse_root_of(x))
    number = np.full((1,) * (x.rank + 1), 0.5, np.float32)
    raised = mb.mul(x=x, y=number)
    value = d.one(
        lambda: mb.mul(x=x, y=inverse_root_of(raised)),
        lambda: mb.mul(x=raised, y=inverse_root_of(raised)),
        lambda: mb.mul(x=raised, y=inverse_root_of(x)),
        lambda: mb.mul(x=x, y=mb.mul(x=inverse_root_of(x), y=number)),
    )()
    return mb.squeeze(x=value, axes=[0])


def as_jax_writes(x, other, d):
    """Return a norm as stablehlo-coreml gives it: axes dropped and put back, arrays of equal elements, a tiled root."""
    kept = [*x.shape[:-1], 1]
    total = mb.reduce_sum(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=False) if x.rank > 1 else None
    total = (
        mb.reduce_sum(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
        if total is None
        else mb.reshape(x=total, shape=kept)
    )
    mean = mb.real_div(x=total, y=np.full(kept, x.shape[-1], np.float32))
    inverse = mb.rsqrt(x=mb.add(x=mean, y=np.full(kept, EPSILON, np.float32)), epsilon=NO_GUARD)
    spread = [*[1] * (x.rank - 1), x.shape[-1]]
    inverse = mb.tile(x=inverse, reps=spread) if d.flip() else inverse
    gamma = np.broadcast_to(d.number(x.shape[-1]), x.shape) if d.flip() else d.number(*spread)
    return mb.mul(x=mb.mul(x=x, y=inverse), y=np.ascontiguousarray(gamma))


def unit_length(x, other, d):
    """Return an L2 norm: by the root of a sum, by a norm that is bounded, times a number or a gamma."""
    total = mb.reduce_sum(x=mb.square(x=x), axes=[-1], keep_dims=True)
    value = d.one(
        lambda: mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=total, y=EPSILON), epsilon=NO_GUARD)),
        lambda: mb.real_div(x=x, y=mb.sqrt(x=mb.add(x=total, y=EPSILON))),
        lambda: mb.mul(x=x, y=mb.sqrt(x=mb.real_div(x=np.float32(1), y=mb.add(x=total, y=EPSILON)))),
    )()
    return mb.mul(x=value, y=d.number()[()]) if d.flip() else value


def centred_elsewhere(x):
    centred = mb.sub(x=x, y=mb.reduce_mean(x=x, axes=[0], keep_dims=True))
    return mb.mul(x=centred, y=inverse_root_of(centred))


def scaled_inside(x, other, d):
    """Return a norm with numbers inside the sum, or one of a value less its mean over another axis."""
    quarter = np.float32(1 / x.shape[-1])
    return d.one(
        lambda: mb.mul(
            x=x,
            y=mb.rsqrt(
                x=mb.add(x=mb.reduce_sum(x=mb.mul(x=mb.square(x=x), y=quarter), axes=[-1], keep_dims=True), y=EPSILON),
                epsilon=NO_GUARD,
            ),
        ),
        lambda: mb.mul(x=x, y=inverse_root_of(mb.mul(x=x, y=np.float32(-0.25)))),
        lambda: centred_elsewhere(x),
    )()


KINDS = [
    repeated,
    repeated,
    run_time_factors,
    run_time_factors,
    stored_in_half,
    stored_in_half,
    whole_numbers,
    raised_rank,
    as_jax_writes,
    unit_length,
    scaled_inside,
]

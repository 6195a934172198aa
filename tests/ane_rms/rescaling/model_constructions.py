"""Builds networks in which a value of one kind of model exceeds float16, for the tests of rescaling.

Continues :mod:`tests.ane_rms.rescaling.constructions` with the parts of particular models: experts, norms on both
sides of a block, softcaps, short convolutions, and constants that exceed float16 by themselves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from tests.ane_rms.rescaling.activation_constructions import ACTIVATION_CONSTRUCTIONS, HUGE, with_mlp
from tests.ane_rms.rescaling.constructions import network
from tests.ane_rms.rescaling.networks import EPSILON, WIDTH, WORDS, Network

if TYPE_CHECKING:
    from collections.abc import Callable


def shared_expert() -> Network:
    """A shared expert is much larger than the routed ones, and a gate makes it small, as in Qwen MoE."""

    def mlp(drawn: Network, x: Any) -> Any:
        routed = drawn.routed(x, [drawn.linear(mb.silu(x=drawn.linear(x, WIDTH)), WIDTH) for _ in range(2)])
        shared = drawn.linear(mb.silu(x=drawn.linear(x, WIDTH)), WIDTH, HUGE)
        gate = mb.mul(x=mb.sigmoid(x=drawn.linear(x, 1)), y=np.float32(1e-3))
        return mb.add(x=routed, y=mb.mul(x=shared, y=gate))

    return with_mlp(network(), mlp)


def gathered_experts() -> Network:
    """The weights of an expert are gathered by an index that is computed, and its output is large."""

    def mlp(drawn: Network, x: Any) -> Any:
        weights = np.stack([drawn.weight(WIDTH, WIDTH, HUGE) for _ in range(4)])
        chosen = mb.reduce_argmax(x=drawn.linear(x, 4), axis=-1, keep_dims=False)
        made = mb.matmul(x=mb.expand_dims(x=x, axes=[1]), y=mb.gather(x=weights, indices=chosen, axis=0))
        return drawn.linear(mb.squeeze(x=made, axes=[1]), WIDTH, 1 / HUGE)

    return with_mlp(network(), mlp)


def sandwich() -> Network:
    """A block's output is large until the norm after it, and the stream is not, as in Gemma 2 and 3."""
    drawn = network(norm_after=True)
    mlp = drawn.mlp

    def larger(x: Any) -> Any:
        drawn.size = HUGE
        made = mlp(x)
        drawn.size = 1.0
        return made

    drawn.mlp = larger
    return drawn


def large_gamma() -> Network:
    """The gamma of a norm is large, and the weight behind it small."""

    def mlp(drawn: Network, x: Any) -> Any:
        gamma = drawn.generator.uniform(1e5, 3e5, WIDTH).astype(np.float32)
        normed = mb.ane_rms_norm(x=x, gamma=gamma, epsilon=np.float32(EPSILON), axes=[-1])
        return drawn.linear(normed, WIDTH, 1e-5)

    return with_mlp(network(), mlp)


def large_bias() -> Network:
    """The bias of the values alone exceeds float16, and goes through attention to a small weight."""

    def attention(drawn: Network, x: Any) -> Any:
        q, k = drawn.linear(x, WIDTH), drawn.linear(x, WIDTH)
        bias = drawn.generator.uniform(1e5, 3e5, WIDTH).astype(np.float32)
        values = mb.linear(x=x, weight=drawn.weight(WIDTH, WIDTH), bias=bias)
        scores = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(WIDTH**-0.5))
        return drawn.linear(mb.matmul(x=mb.softmax(x=scores, axis=-1), y=values), WIDTH, 1e-5)

    drawn = network()
    drawn.attention = lambda x: attention(drawn, x)
    return drawn


def scaled_tied_table() -> Network:
    """The table is in range, and the constant that multiplies the rows takes them out of it; the head is tied."""
    drawn = network(HUGE, tied_head=True, scaled_embedding=True)
    weight, norm, seen = drawn.weight, drawn.norm, list[int]()

    def larger(out: int, given: int, size: float = 1.0) -> np.ndarray:
        seen.append(out)
        return weight(out, given, 6e4 if len(seen) == 1 else size)

    drawn.norm = lambda x, width=WIDTH: mb.mul(x=norm(x, width), y=np.float32(1e-2))
    drawn.weight = larger
    return drawn


def large_tied_table() -> Network:
    """The table of embeddings exceeds float16, and the head reads it behind a small gamma."""
    drawn = network(HUGE, tied_head=True)
    weight, norm, seen = drawn.weight, drawn.norm, list[int]()

    def larger(out: int, given: int, size: float = 1.0) -> np.ndarray:
        seen.append(out)
        return weight(out, given, HUGE if len(seen) == 1 else size)

    drawn.weight, drawn.norm = larger, lambda x, width=WIDTH: mb.mul(x=norm(x, width), y=np.float32(1 / HUGE))
    return with_mlp(drawn, lambda drawn, x: drawn.linear(x, WIDTH, HUGE * HUGE))


def softcapped_scores() -> Network:
    """Scores are large before the softcap divides them, as in Gemma 2."""

    def attention(drawn: Network, x: Any) -> Any:
        q, k, v = drawn.linear(x, WIDTH, 1e3), drawn.linear(x, WIDTH, 1e3), drawn.linear(x, WIDTH)
        capped = mb.tanh(x=mb.real_div(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(1e7)))
        scores = mb.mul(x=capped, y=np.float32(5))
        return drawn.linear(mb.matmul(x=mb.softmax(x=scores, axis=-1), y=v), WIDTH)

    drawn = network()
    drawn.attention = lambda x: attention(drawn, x)
    return drawn


def softcapped_logits() -> Network:
    """The head's output is large before its softcap."""
    drawn = network()

    def outputs(ids: Any) -> Any:
        stream = drawn.block(mb.gather(x=drawn.weight(WORDS, WIDTH), indices=ids, axis=0))
        capped = mb.tanh(x=mb.mul(x=drawn.linear(drawn.norm(stream), WORDS, HUGE), y=np.float32(1 / HUGE)))
        return mb.mul(x=capped, y=np.float32(30))

    drawn.outputs = outputs
    return drawn


def short_convolution() -> Network:
    """A gated short convolution over the tokens is large inside, as in LFM2."""

    def mlp(drawn: Network, x: Any) -> Any:
        before, gate, after = (drawn.linear(x, WIDTH, size) for size in (1e3, 1e3, 1.0))
        gated = mb.expand_dims(x=mb.transpose(x=mb.mul(x=before, y=gate), perm=[1, 0]), axes=[0])
        kernel = drawn.generator.standard_normal((WIDTH, 1, 3)).astype(np.float32)
        mixed = mb.conv(x=gated, weight=kernel, groups=WIDTH, pad_type="custom", pad=[2, 0])
        made = mb.transpose(x=mb.squeeze(x=mixed, axes=[0]), perm=[1, 0])
        return drawn.linear(mb.mul(x=made, y=after), WIDTH, 1 / HUGE)

    return with_mlp(network(), mlp)


def layer_norms() -> Network:
    """Layer norms read the stream, whose first rows are too small for the factor that the second block needs."""
    drawn, seen = network(), list[Any]()
    block, weight = drawn.block, drawn.weight

    def later(stream: Any) -> Any:
        drawn.size = HUGE if seen else 0.02
        seen.append(stream)
        return block(stream)

    def norm(x: Any, width: int = WIDTH) -> Any:
        gamma = np.ones(width, np.float32)
        return mb.layer_norm(x=x, axes=[-1], gamma=gamma, beta=0 * gamma, epsilon=np.float32(1e-5))

    drawn.block, drawn.norm = later, norm
    drawn.weight = lambda out, given, size=1.0: weight(out, given, size * (1.0 if seen else 0.02))
    return drawn


def norm_written_out() -> Network:
    """A norm stands in primitive ops, so that the squares of a large row are values of the program."""
    drawn = network(HUGE)

    def written(x: Any, width: int = WIDTH) -> Any:
        mean = mb.reduce_mean(x=mb.mul(x=x, y=x), axes=[-1], keep_dims=True)
        return mb.mul(x=x, y=mb.rsqrt(x=mb.add(x=mean, y=np.float32(EPSILON)), epsilon=np.float32(0)))

    drawn.norm = written
    return drawn


def queries_by_their_length() -> Network:
    """Queries and keys are large, and divided by their length."""

    def attention(drawn: Network, x: Any) -> Any:
        q, k = (drawn.linear(x, WIDTH, HUGE) for _ in range(2))
        q, k = (mb.real_div(x=one, y=mb.reduce_l2_norm(x=one, axes=[-1], keep_dims=True)) for one in (q, k))
        scores = mb.softmax(x=mb.matmul(x=q, y=k, transpose_y=True), axis=-1)
        return drawn.linear(mb.matmul(x=scores, y=drawn.linear(x, WIDTH)), WIDTH)

    drawn = network()
    drawn.attention = lambda x: attention(drawn, x)
    return drawn


MODEL_CONSTRUCTIONS: dict[str, Callable[[], Network]] = ACTIVATION_CONSTRUCTIONS | {
    make.__name__: make
    for make in (
        shared_expert, gathered_experts, sandwich, large_gamma, large_bias, scaled_tied_table, softcapped_scores,
        softcapped_logits, short_convolution, layer_norms,
    )
}  # fmt: skip

LEFT: dict[str, tuple[Callable[[], Network], str]] = {
    "large_tied_table": (large_tied_table, "from a constant that has other readers"),
    "norm_written_out": (norm_written_out, "rsqrt"),
    "queries_by_their_length": (queries_by_their_length, "real_div"),
}
"""Networks with a region that cannot be closed, and what the reason names."""

"""Builds networks in which one kind of value exceeds float16, for the tests of rescaling.

Each function returns a network drawn by a seed. Its float32 function is sound, and at least one of its values is far
beyond float16.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from tests.ane_rms.rescaling.networks import TOKENS, WIDTH, Network

if TYPE_CHECKING:
    from collections.abc import Callable


def network(size: float = 1.0, **yes: bool) -> Network:
    """Return a network in which everything is drawn as no, but for what is named."""
    return Network(lambda name: bool(yes.get(name.replace(" ", "_"), False)), np.random.default_rng(0), size)


def whole_stream() -> Network:
    """Every writer of the stream is large, by a factor that is no power of two."""
    return network(3.7e5)


def late_layer() -> Network:
    """Only the second block's writers are large: the stream grows from 0.1 to 10^7."""
    return _late(network(), 1e7)


def late_layer_with_biases() -> Network:
    """The same with a bias at every linear."""
    return _late(network(bias=True), 1e7)


def huge_embedding() -> Network:
    """The embeddings are large, and the blocks write as much."""
    drawn = network(1e6)
    weight, drawn_before = drawn.weight, list[int]()

    def larger(out: int, given: int, size: float = 1.0) -> np.ndarray:
        drawn_before.append(out)
        return weight(out, given, size if drawn_before[1:] else 1e6)

    drawn.weight = larger
    return drawn


def tied_table() -> Network:
    """The table is read by the head as well, and the blocks write much more than it holds."""
    return network(1e6, tied_head=True, bias=True)


def parallel_blocks() -> Network:
    """Attention and MLP read one norm, and both write the stream."""
    return network(1e6, parallel=True, bias=True)


def norms_after_blocks() -> Network:
    """Each block ends in a norm whose result is made large, as in Gemma 2 and 3."""
    return network(1e6, norm_after=True)


def mixed_streams() -> Network:
    """Two copies of the stream are mixed by coefficients computed from it, as in AltUp."""
    return network(1e6, mixed=True, bias=True)


def experts() -> Network:
    """Experts share the weight that writes the stream, and are large before they are summed."""
    return network(1e6, two_experts=True, bias=True)


def gated_product() -> Network:
    """The product gate * up inside each MLP is large; the weight after it makes it small again."""
    drawn = network(1e-7)
    return _inner(drawn, lambda out, size: 3e3 if out == 2 * WIDTH else size)


def attention_output() -> Network:
    """The values of attention are large, and so is what it gives; the weight after it makes it small again."""

    def values(drawn: Network, x: Any) -> Any:
        q, k = drawn.linear(x, WIDTH), drawn.linear(x, WIDTH)
        attended = _attended(q, k, drawn.linear(x, WIDTH, 1e6))
        return drawn.linear(attended, WIDTH, 1e-6)

    return _attention(network(), values)


def queries_before_norms() -> Network:
    """Queries and keys are large, and a norm makes them small, as in Qwen 3, Gemma 3 and OLMo 2."""

    def normed(drawn: Network, x: Any) -> Any:
        q, k = (drawn.norm(drawn.linear(x, WIDTH, 1e6)) for _ in range(2))
        return drawn.linear(_attended(q, k, drawn.linear(x, WIDTH)), WIDTH)

    return _attention(network(), normed)


def rotated_queries() -> Network:
    """Queries are large, and turned by an angle that is computed at run time; a constant makes the scores small."""

    def rotated(drawn: Network, x: Any) -> Any:
        angle = mb.reduce_mean(x=drawn.linear(x, WIDTH), axes=[-1], keep_dims=True)
        q, k = (_turned(drawn.linear(x, WIDTH, size), angle) for size in (1e6, 1e-2))
        return drawn.linear(_attended(q, k, drawn.linear(x, WIDTH), 1e-4), WIDTH)

    return _attention(network(), rotated)


def scores() -> Network:
    """The products of queries and keys are large, before a constant makes them small enough for softmax."""

    def scored(drawn: Network, x: Any) -> Any:
        q, k = (drawn.linear(x, WIDTH, 3e3) for _ in range(2))
        products = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(1e-8))
        return drawn.linear(mb.matmul(x=mb.softmax(x=products, axis=-1), y=drawn.linear(x, WIDTH)), WIDTH)

    return _attention(network(), scored)


def one_expert() -> Network:
    """One of two experts gives much more than the other, and its share is small."""
    drawn = network(bias=True)

    def mlp(x: Any) -> Any:
        small, large = (drawn.linear(mb.silu(x=drawn.linear(x, WIDTH)), WIDTH, size) for size in (1.0, 1e6))
        share = mb.mul(x=mb.sigmoid(x=drawn.linear(x, 1)), y=np.float32(1e-3))
        return mb.add(x=small, y=mb.mul(x=large, y=share))

    drawn.mlp = mlp
    return drawn


def norms_only_after() -> Network:
    """Blocks read the raw stream and end in a norm, as in OLMo 2; the stream is large."""
    drawn = network(bias=True)

    def block(stream: Any) -> Any:
        for part in (drawn.attention, drawn.mlp):
            made = drawn.norm(part(mb.mul(x=stream, y=np.float32(1e-6))))
            stream = mb.add(x=stream, y=mb.mul(x=made, y=np.float32(1e6)))
        return stream

    drawn.block = block
    return drawn


def rise_and_fall() -> Network:
    """One block makes the stream large, and the next takes most of that away again, as SmolLM2's last layers do."""
    drawn, seen = network(), list[Any]()

    def block(stream: Any) -> Any:
        part = drawn.linear(drawn.norm(mb.stack(values=[stream], axis=0)), WIDTH, 1e6) if not seen else seen[0]
        part = mb.squeeze(x=part, axes=[0]) if not seen else part
        seen.append(part)
        return mb.add(x=stream, y=part) if len(seen) == 1 else mb.sub(x=stream, y=mb.mul(x=part, y=np.float32(0.9)))

    drawn.block = block
    return drawn


CONSTRUCTIONS: dict[str, Callable[[], Network]] = {
    make.__name__: make
    for make in (
        whole_stream, late_layer, late_layer_with_biases, huge_embedding, tied_table, parallel_blocks,
        norms_after_blocks, mixed_streams, experts, gated_product, attention_output, queries_before_norms,
        rotated_queries, scores, one_expert, norms_only_after, rise_and_fall,
    )
}  # fmt: skip


def _late(drawn: Network, size: float) -> Network:
    blocks, block = [], drawn.block

    def later(stream: Any) -> Any:
        drawn.size = size if blocks else 1.0
        blocks.append(stream)
        return block(stream)

    drawn.block = later
    return drawn


def _inner(drawn: Network, size_of: Callable[[int, float], float]) -> Network:
    linear = drawn.linear
    drawn.linear = lambda x, out, size=1.0: linear(x, out, size_of(out, size))
    return drawn


def _attention(drawn: Network, attention: Callable[[Network, Any], Any]) -> Network:
    drawn.attention = lambda x: attention(drawn, x)
    return drawn


def _attended(q: Any, k: Any, v: Any, share: float = 1.0) -> Any:
    products = mb.mul(x=mb.matmul(x=q, y=k, transpose_y=True), y=np.float32(share * WIDTH**-0.5))
    return mb.matmul(x=mb.softmax(x=products, axis=-1), y=v)


def _turned(x: Any, angle: Any) -> Any:
    half = WIDTH // 2
    first = mb.slice_by_index(x=x, begin=[0, 0], end=[TOKENS, half])
    last = mb.slice_by_index(x=x, begin=[0, half], end=[TOKENS, WIDTH])
    turned = mb.concat(values=[mb.mul(x=last, y=np.float32(-1)), first], axis=-1)
    return mb.add(x=mb.mul(x=x, y=mb.cos(x=angle)), y=mb.mul(x=turned, y=mb.sin(x=angle)))

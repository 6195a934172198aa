"""Builds networks whose activations exceed float16, for the tests of rescaling: products, squares, small weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from tests.ane_rms.rescaling.constructions import network
from tests.ane_rms.rescaling.networks import WIDTH, Network

if TYPE_CHECKING:
    from collections.abc import Callable

HUGE = 1e6


def with_mlp(drawn: Network, mlp: Callable[[Network, Any], Any]) -> Network:
    """Return a network with another MLP."""
    drawn.mlp = lambda x: mlp(drawn, x)
    return drawn


def product_of_activations() -> Network:
    """A product of two activations is large, neither of which has a constant behind it."""

    def mlp(drawn: Network, x: Any) -> Any:
        gated = mb.mul(x=mb.silu(x=drawn.linear(x, WIDTH, 1e3)), y=mb.silu(x=drawn.linear(x, WIDTH, 1e3)))
        return drawn.linear(gated, WIDTH, 1 / HUGE)

    return with_mlp(network(), mlp)


def tiny_weight() -> Network:
    """The weight behind a large product has too small numbers for float16, which the region's factor makes larger."""

    def mlp(drawn: Network, x: Any) -> Any:
        gated = mb.mul(x=mb.silu(x=drawn.linear(x, WIDTH)), y=drawn.linear(x, WIDTH, HUGE))
        return drawn.linear(gated, WIDTH, 1 / HUGE / 100)

    return with_mlp(network(), mlp)


def joined_weights() -> Network:
    """The same with the weights of both factors in one, as in Phi 3, where only one of them is large."""

    def mlp(drawn: Network, x: Any) -> Any:
        weight = np.concatenate([drawn.weight(WIDTH, WIDTH), drawn.weight(WIDTH, WIDTH, HUGE)])
        gate, up = mb.split(x=mb.linear(x=x, weight=weight), num_splits=2, axis=-1)
        return drawn.linear(mb.mul(x=mb.silu(x=gate), y=up), WIDTH, 1 / HUGE / 100)

    return with_mlp(network(), mlp)


def squared_relu() -> Network:
    """The activation is a square, and large, as in Nemotron."""

    def mlp(drawn: Network, x: Any) -> Any:
        squared = mb.square(x=mb.relu(x=drawn.linear(x, WIDTH, 1e3)))
        return drawn.linear(squared, WIDTH, 1 / HUGE)

    return with_mlp(network(), mlp)


def multiplied_by_itself() -> Network:
    """The same square as a product."""

    def mlp(drawn: Network, x: Any) -> Any:
        inner = mb.relu(x=drawn.linear(x, WIDTH, 1e3))
        return drawn.linear(mb.mul(x=inner, y=inner), WIDTH, 1 / HUGE)

    return with_mlp(network(), mlp)


def squared_activation() -> Network:
    """What is squared comes out of an activation that keeps its size."""

    def mlp(drawn: Network, x: Any) -> Any:
        squared = mb.pow(x=mb.silu(x=drawn.linear(x, WIDTH, 1e3)), y=np.float32(2))
        return drawn.linear(squared, WIDTH, 1 / HUGE)

    return with_mlp(network(), mlp)


ACTIVATION_CONSTRUCTIONS: dict[str, Callable[[], Network]] = {
    make.__name__: make
    for make in (
        product_of_activations, tiny_weight, joined_weights, squared_relu, multiplied_by_itself, squared_activation,
    )
}  # fmt: skip

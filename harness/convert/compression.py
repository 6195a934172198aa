"""Compress the weights of a converted model, as apps ship them. Each scheme is a function registered under its name.

Only the weights of matrix products, convolutions and table look-ups are compressed. A norm's gamma and the constants of
its lowering are left uncompressed, because a compressed ``layer_norm`` of ``concat(x, -x)`` could not be recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ConversionError, UnknownNameError
from harness.system.light_registry import Registry
from harness.system.text import squeezed

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.convert.conversion import Converted

WEIGHTED_OPS = ("linear", "matmul", "conv", "gather")
"""MIL ops whose constant operands are compressed. Operands need at least 2,048 elements unless a scheme differs."""

BLOCK = 32
"""Elements that share a scale in ``int4``. A weight whose rows do not divide into such blocks is not compressed."""

PALETTE_FLOOR = 10_000
"""Smallest number of elements that is palettised; coremltools 9.0 needs scikit-learn 1.5.1 or older for fewer."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """A compression scheme."""

    about: str
    apply: Callable[[Any], Any]
    """The function that takes a ``coremltools.models.MLModel`` and returns a smaller one."""
    deployment_target: str = ""
    """Name of the earliest ``ct.target`` to convert for; empty for any."""
    float16_only: bool = False
    """Whether the scheme accepts float16 weights only."""


SCHEMES: Registry[Scheme] = Registry("compression", UnknownNameError)
"""Every scheme by name."""


def scheme(
    about: str, *, deployment_target: str = "", float16_only: bool = False
) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register a function as the scheme of its name; the traits are those of :class:`Scheme`.

    Raises
    ------
    ValueError: if a scheme of that name is registered already.
    """

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        SCHEMES.add(function.__name__, Scheme(about, function, deployment_target, float16_only), function)
        return function

    return register


def compress(converted: Converted, name: str) -> Converted:
    """Return a converted model with compressed weights; its fusion report is carried over.

    Parameters
    ----------
    converted: the model. The functions of a multifunction model are compressed separately and joined again.
    name: a key of :data:`SCHEMES`; empty leaves the model as it is.

    Raises
    ------
    UnknownNameError: for an unknown scheme.
    ConversionError: with coremltools' own reason.
    """
    if not name:
        return converted
    apply = SCHEMES[name].apply
    try:
        return type(converted).of({function: apply(model) for function, model in converted.models.items()})
    except Exception as error:  # coremltools raises errors of every kind; the run continues with the other rows
        raise ConversionError(f"{name}: coremltools: {squeezed(error)}") from error


# coremltools 9.0 needs scikit-learn for float32 weights.
@scheme("a table of 16 values a weight, chosen by k-means", float16_only=True)
def palette4(model: Any) -> Any:
    """Palettise to 4 bits."""
    return _palettised(model, 4)


@scheme("a table of 64 values a weight, chosen by k-means", float16_only=True)
def palette6(model: Any) -> Any:
    """Palettise to 6 bits."""
    return _palettised(model, 6)


@scheme("8-bit integers with one scale an output channel")
def int8(model: Any) -> Any:
    """Quantise linearly, symmetrically, per channel."""
    return _quantised(model, dtype="int8", granularity="per_channel")


@scheme(f"4-bit integers with one scale for {BLOCK} elements", deployment_target="iOS18")
def int4(model: Any) -> Any:
    """Quantise linearly, symmetrically, per block."""
    return _quantised(model, dtype="int4", granularity="per_block", block_size=BLOCK)


def _palettised(model: Any, bits: int) -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpPalettizerConfig(mode="kmeans", nbits=bits, weight_threshold=PALETTE_FLOOR)
    return cto.palettize_weights(model, _of_weights(config))


def _quantised(model: Any, **options: Any) -> Any:
    import coremltools.optimize.coreml as cto

    config = cto.OpLinearQuantizerConfig(mode="linear_symmetric", **options)
    return cto.linear_quantize_weights(model, _of_weights(config))


def _of_weights(config: Any) -> Any:
    import coremltools.optimize.coreml as cto

    return cto.OptimizationConfig(op_type_configs=dict.fromkeys(WEIGHTED_OPS, config))

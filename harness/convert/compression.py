"""Weights made smaller after conversion, as apps ship them: one function a scheme, registered under its name.

Only weights of matrix products, convolutions and table look-ups are compressed. A norm's gamma and the constants of its
lowering stay as they are: compressed, a ``layer_norm`` of ``concat(x, -x)`` could not be told from another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.errors import ConversionError, check_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.convert.conversion import Converted

WEIGHTED_OPS = ("linear", "matmul", "conv", "gather")
"""MIL ops whose constant operands are compressed; of 2,048 elements or more, where a scheme says nothing else."""

BLOCK = 32
"""Elements that share a scale in ``int4``; a weight whose rows do not divide into such blocks stays as it is."""

PALETTE_FLOOR = 10_000
"""Elements a weight must have to be palettised: for fewer, coremltools 9.0 wants scikit-learn 1.5.1 or older."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One way to compress."""

    name: str
    about: str
    apply: Callable[[Any], Any]
    """From a ``coremltools.models.MLModel`` to a smaller one."""
    deployment_target: str = ""
    """Name of the earliest ``ct.target`` to convert for; empty for any."""


PALETTES = ("palette4", "palette6")
"""Schemes of float16 weights alone: for float32 ones too, coremltools 9.0 wants scikit-learn."""

SCHEMES: dict[str, Scheme] = {}
"""Every scheme by name."""


def scheme(about: str, deployment_target: str = "") -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """Register a scheme under its function's name."""

    def register(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        if function.__name__ in SCHEMES:
            raise ValueError(f"a scheme named {function.__name__!r} is registered already")
        SCHEMES[function.__name__] = Scheme(function.__name__, about, function, deployment_target)
        return function

    return register


def compress(converted: Converted, name: str) -> Converted:
    """Return a converted model with compressed weights; its fusion report is carried over.

    Parameters
    ----------
    converted: the model; of several functions, each is compressed before they are joined again.
    name: a key of :data:`SCHEMES`; empty leaves the model as it is.

    Raises
    ------
    UnknownNameError: for an unknown scheme.
    ConversionError: with coremltools' own reason.
    """
    if not name:
        return converted
    apply = SCHEMES[check_name("compression", name, SCHEMES)].apply
    try:
        return type(converted).of({function: apply(model) for function, model in converted.models.items()})
    except Exception as error:  # coremltools raises errors of every kind; the other rows go on
        raise ConversionError(f"{name}: coremltools: {' '.join(str(error).split())}") from error


@scheme("a table of 16 values a weight, chosen by k-means")
def palette4(model: Any) -> Any:
    """Palettise to 4 bits."""
    return _palettised(model, 4)


@scheme("a table of 64 values a weight, chosen by k-means")
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

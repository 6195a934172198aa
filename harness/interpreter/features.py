"""Check the inputs of ``predict`` against the function's declaration, and return outputs of the declared types.

The conversions are those of ``MLModel.predict``: any real array is accepted for a float input and converted,
an integer input takes any array that holds integers of its range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.errors import InputError, UnknownNameError
from harness.interpreter.dtypes import DType, from_numpy, to_numpy

if TYPE_CHECKING:
    import torch

    from harness.interpreter.precision import Precision
    from harness.interpreter.program import Function, Input, Shape


def prepare(function: Function, data: Mapping[str, Any], policy: Precision) -> dict[str, torch.Tensor]:
    """Return the input tensors of a function, checked, converted and stored as the policy says.

    Raises
    ------
    InputError: for a missing or unknown name, a wrong shape or a wrong dtype.
    """
    known = [item.value.name for item in function.inputs]
    if not isinstance(data, Mapping):
        raise InputError(f"expected a dictionary of arrays by input name, got a {type(data).__name__}")
    for name in data:
        if name not in known:
            raise InputError(f"{UnknownNameError('input', str(name), known)}")
    prepared = {}
    for item in function.inputs:
        dtype = item.value.type.dtype
        array = _array(item, data)
        _check_shape(item, array)
        prepared[item.value.name] = policy.entered(from_numpy(_converted(item, array, dtype), dtype), dtype)
    return prepared


def finish(function: Function, outputs: tuple[Any, ...]) -> dict[str, Any]:
    """Return a function's results by output name: numpy arrays of the declared dtypes.

    A classifier's label is a string or an integer, its probabilities are a dictionary by label; an image is an array.
    """
    return {
        value.name: to_numpy(result, value.type.dtype) if hasattr(result, "detach") else result
        for value, result in zip(function.outputs, outputs, strict=True)
    }


def _array(item: Input, data: Mapping[str, Any]) -> np.ndarray:
    name = item.value.name
    if name in data:
        given = _pixels(item, data[name])
        if hasattr(given, "detach"):
            given = given.detach().cpu()
            given = given.float() if given.is_floating_point() and given.element_size() == 2 else given
        try:
            return np.asarray(given)
        except ValueError as error:
            raise InputError(f"input {name!r}: expected {describe(item)}, got no array: {error}") from error
    if item.default is None:
        raise InputError(f"input {name!r} is missing: expected {describe(item)}")
    shape, fill = item.default
    return np.full(shape, fill, item.value.type.dtype.numpy)


MODES = {"RGB": "RGB", "BGR": "RGB", "GRAYSCALE": "L", "GRAYSCALE_FLOAT16": "F"}
"""The mode of ``PIL`` whose pixels a colour space holds."""


def _pixels(item: Input, given: Any) -> Any:
    """Return an image's pixels as the program takes them, shape (1, channels, height, width); an array as it is."""
    if not item.image or not hasattr(given, "convert"):
        return given
    if item.image not in MODES:
        raise InputError(f"input {item.value.name!r}: images of the colour space {item.image} are not supported")
    pixels = np.asarray(given.convert(MODES[item.image]), np.float32)
    if pixels.ndim == 2:
        return pixels[None, None]
    return np.moveaxis(pixels[..., ::-1] if item.image == "BGR" else pixels, -1, 0)[None]


def _converted(item: Input, array: np.ndarray, dtype: DType) -> np.ndarray:
    if array.dtype.kind not in "fiub":
        raise InputError(f"input {item.value.name!r}: expected {dtype.name}, got an array of {array.dtype}")
    if dtype.kind in ("int", "uint") and array.dtype != dtype.numpy and array.size:
        low, high = dtype.bounds
        wide = array.astype(np.float64) if array.dtype.kind == "f" else array
        if not (np.equal(np.trunc(wide), wide).all() and wide.min() >= low and wide.max() <= high):
            raise InputError(
                f"input {item.value.name!r}: expected {dtype.name}, got {array.dtype} values that are not "
                f"integers from {low} to {high}"
            )
    with np.errstate(over="ignore"):  # beyond float16's range is inf, as on the device
        return array.astype(dtype.numpy, copy=False)


def _check_shape(item: Input, array: np.ndarray) -> None:
    if not _accepts(item, array.shape):
        raise InputError(f"input {item.value.name!r}: expected shape {_shapes(item)}, got {_spelled(array.shape)}")


def _accepts(item: Input, shape: tuple[int, ...]) -> bool:
    flexible = item.flexible
    if flexible is not None and flexible.enumerated:
        return shape in flexible.enumerated
    if flexible is not None and flexible.bounds:
        return len(shape) == len(flexible.bounds) and all(
            low <= n and (high is None or n <= high) for n, (low, high) in zip(shape, flexible.bounds, strict=True)
        )
    declared = item.value.type.shape
    if declared is None:
        return True
    return len(shape) == len(declared) and all(d in (None, n) for d, n in zip(declared, shape, strict=True))


def describe(item: Input) -> str:
    """Return the values that an input takes, as text: ``fp16 (1, 1..128, 64)``."""
    return f"{item.value.type.dtype.name} {_shapes(item)}"


def _shapes(item: Input) -> str:
    flexible = item.flexible
    if flexible is not None and flexible.enumerated:
        return " or ".join(_spelled(shape) for shape in flexible.enumerated)
    if flexible is not None and flexible.bounds:
        dims = [
            f"{low}" if low == high else f"{low}.." if high is None else f"{low}..{high}"
            for low, high in flexible.bounds
        ]
        return f"({', '.join(dims)})"
    return _spelled(item.value.type.shape)


def _spelled(shape: Shape | None) -> str:
    if shape is None:
        return "of any rank"
    return f"({', '.join('?' if dim is None else str(dim) for dim in shape)})"

"""Build a program of one lowered RMSNorm, on which a lowering's error, ops and latency are measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import ane_rms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt


def one_norm(
    shape: tuple[int, ...],
    gamma: npt.NDArray[Any] | None,
    epsilon: float,
    *,
    lowering: str,
    dtype: type[np.floating[Any]] = np.float32,
    axes: Sequence[int] = (-1,),
    around: tuple[Callable[[Any], Any], Callable[[Any], Any]] | None = None,
    **options: Any,
) -> Any:
    """Return a program of one norm, converted for the Neural Engine at iOS 17.

    Parameters
    ----------
    shape: shape of its input ``x``.
    gamma: the scale, or None.
    epsilon: added to the mean square.
    lowering: the strategy's name; empty for a program without the norm, of the surrounding ops alone.
    dtype: element type of ``x``, gamma and epsilon.
    axes: normalised axes.
    around: the functions that build the ops before and after the norm, each from a value to a value.
    **options: further options of ``ane_rms.convert``.
    """
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    given = {} if gamma is None else {"gamma": gamma.astype(dtype)}
    before, after = around or (_same, _same)

    spec = mb.TensorSpec(shape, dtype=types.numpy_type_to_builtin_type(dtype))

    @mb.program(input_specs=[spec], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        x = before(x)
        if lowering:
            x = mb.ane_rms_norm(x=x, epsilon=dtype(epsilon), axes=list(axes), name="norm", **given)
        return after(x)

    return ane_rms.convert(
        program,
        lowering=lowering or None,
        compute_units=ct.ComputeUnit.CPU_AND_NE,
        minimum_deployment_target=ct.target.iOS17,
        **options,
    )


def _same(x: Any) -> Any:
    return x

r"""The MIL op ``ane_rms_norm``.

.. math::  y = \gamma \cdot \frac{x}{\sqrt{\operatorname{mean}_{axes}(x^2) + \epsilon}}

It is a dialect op (namespace ``ane_rms``). Core ML does not know it, so a program with one must not reach the device.
The pipeline lowers it (``CPU_AND_NE``) or expands it (other compute units). If neither pass has run, coremltools
itself refuses the program with "Core ML only support core opset. Got unsupported op ...".

Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, https://arxiv.org/abs/1910.07467.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil._deployment_compatibility import AvailableTarget
from coremltools.converters.mil.mil import (
    DefaultInputs,
    InputSpec,
    Operation,
    TensorInputType,
    precondition,
    types,
)
from coremltools.converters.mil.mil.operation import VALUE
from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from ane_rms import mil

if TYPE_CHECKING:
    import numpy.typing as npt

DEFAULT_EPSILON = 1e-5
NAMESPACE = "ane_rms"


def rms_norm(
    x: npt.NDArray[Any], gamma: npt.NDArray[Any] | None, epsilon: float, axes: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Return the value of the op's defining formula, in float64.

    Parameters
    ----------
    x: any shape.
    gamma: of the shape of ``x`` over ``axes``, in ascending order of the axes; or None.
    epsilon: added to the mean square.
    axes: normalised axes, counted from the front or the back.

    Returns
    -------
    An array of the shape of ``x``. A row of zeros gives NaN when ``epsilon`` is 0, as the formula does.
    """
    wide = x.astype(np.float64)
    positive = mil.positive_axes(axes, x.ndim)
    with np.errstate(invalid="ignore", divide="ignore"):
        y: npt.NDArray[np.float64] = wide / np.sqrt(np.mean(wide * wide, axis=positive, keepdims=True) + epsilon)
    if gamma is not None:
        y = y * gamma.astype(np.float64).reshape([n if i in positive else 1 for i, n in enumerate(x.shape)])
    return y


def parameters(x: mil.Var, epsilon: float, gamma: npt.NDArray[Any] | None = None) -> dict[str, Any]:
    """Return the inputs epsilon and gamma of an op on ``x`` that is being built, in the most precise type allowed.

    From iOS 17 that is float32, even beside a float16 ``x``; before, both must be of ``x``'s type.
    """
    wide = mil.takes_float32_parameters()
    given: dict[str, Any] = {"epsilon": np.float32(epsilon) if wide else mil.epsilon_like(x, epsilon)}
    if gamma is None:
        return given
    return {**given, "gamma": np.asarray(gamma, dtype=np.float32) if wide else mil.cast_like(x, gamma)}


@SSAOpRegistry.register_op(namespace=NAMESPACE)
class ane_rms_norm(Operation):  # noqa: N801 - MIL names an op by its class
    r"""Normalise ``x`` by its root mean square over ``axes``, then scale by ``gamma``.

    Parameters
    ----------
    x: tensor<\*?, T> (Required)
    gamma: const tensor<x.shape[axes], U> (Optional)
        * Default: no scale.
    epsilon: const U (Optional)
        * Added to the mean square. Finite, 0 or more. Default 1e-5.
    axes: const<[K], i32> (Optional)
        * Normalised axes, each once. Default [-1].

    Returns
    -------
    tensor<\*?, T>: of the shape and type of ``x``.

    Attributes
    ----------
    T: fp16, fp32
    U: T up to iOS 16; fp16 or fp32 from iOS 17, as for ``layer_norm``.
    """

    input_spec = InputSpec(
        x=TensorInputType(type_domain="T"),
        gamma=TensorInputType(const=True, optional=True, type_domain="U"),
        epsilon=TensorInputType(const=True, optional=True, type_domain="U"),
        axes=TensorInputType(const=True, optional=True, type_domain=types.int32),
    )
    site: Any = None
    """The record of this op's site in the report of the fusion; None if no fusion has processed the program."""

    type_domains = {"T": (types.fp16, types.fp32), "U": (types.fp16, types.fp32)}  # noqa: RUF012 - MIL's convention

    def default_inputs(self) -> Any:
        """Return the values of omitted inputs: no gamma, epsilon 1e-5 in ``x``'s type, the last axis."""
        return DefaultInputs(gamma=None, epsilon=mil.epsilon_like(self.x, DEFAULT_EPSILON), axes=[-1])

    def type_inference(self) -> Any:
        """Check the inputs and return the output's type, which is ``x``'s.

        Raises
        ------
        ValueError: in one sentence, for axes, epsilon, gamma or types that are invalid for an RMSNorm.
        """
        self._check_types()
        axes = self._checked_axes()
        epsilon = float(self.epsilon.val)
        if not (math.isfinite(epsilon) and epsilon >= 0):
            raise self._refuse(f"epsilon must be a finite number, 0 or more; got {epsilon}")
        if self.gamma is not None:
            expected = [self.x.shape[axis] for axis in axes]
            given = list(self.gamma.shape)
            fits = len(given) == len(expected) and all(
                n == m for n, m in zip(given, expected, strict=True) if mil.known(m)
            )
            if not fits:
                raise self._refuse(f"gamma must have shape {expected}, x's over axes {list(axes)}; got {given}")
        return types.tensor(self.x.dtype, tuple(self.x.shape)) if self.x.rank else self.x.dtype

    def _checked_axes(self) -> tuple[int, ...]:
        rank = self.x.rank
        given = [int(axis) for axis in np.atleast_1d(self.axes.val)]
        if not given:
            raise self._refuse("axes is empty; name at least one axis")
        outside = [axis for axis in given if not -rank <= axis < rank]
        if outside:
            raise self._refuse(f"axis {outside[0]} is out of range for x of rank {rank}")
        positive = mil.positive_axes(given, rank)
        if len(set(positive)) < len(positive):
            raise self._refuse(f"axes {given} name an axis twice (x has rank {rank})")
        return positive

    def _check_types(self) -> None:
        version = mil.opset_version(self)
        if version is not None and version >= AvailableTarget.iOS17:
            return
        for name, var in (("gamma", self.gamma), ("epsilon", self.epsilon)):
            if var is not None and var.dtype != self.x.dtype:
                raise self._refuse(
                    f"{name} is {mil.dtype(var)} but x is {mil.dtype(self.x)}; before iOS 17 they must be the same"
                )

    def _refuse(self, why: str) -> ValueError:
        return ValueError(f'op "{self.name}" (ane_rms_norm): {why}.')

    @precondition(allow=VALUE)
    def value_inference(self) -> npt.NDArray[Any]:
        """Return the float64 formula's value, rounded to ``x``'s type."""
        gamma = None if self.gamma is None else np.asarray(self.gamma.val)
        axes = tuple(int(axis) for axis in np.atleast_1d(self.axes.val))
        value = rms_norm(np.asarray(self.x.val), gamma, float(self.epsilon.val), axes)
        with np.errstate(over="ignore"):  # as any other arithmetic in x's type
            return value.astype(types.nptype_from_builtin(self.x.dtype))

"""Trace a ``torch.nn.Module`` that is to be converted, with zeros of its inputs' shapes.

torch is not imported here, because it is loaded already if a module exists.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from coremltools.converters.mil.mil import types


def traced(model: Any, inputs: Any) -> Any:
    """Return ``model`` traced if it is a plain ``torch.nn.Module``; return any other model unchanged.

    The module is traced in evaluation mode, and its mode is restored afterwards.

    Parameters
    ----------
    model: the model to convert.
    inputs: as for ``ct.convert``, one ``ct.TensorType`` or ``ct.ImageType`` for each input. A flexible dimension is
    traced at its default.

    Raises
    ------
    ValueError: for a module without inputs, or with one that has no shape.
    """
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(model, torch.nn.Module) or isinstance(model, torch.jit.ScriptModule):
        return model
    if not inputs:
        raise ValueError(
            f"{type(model).__name__}: a torch.nn.Module is traced with zeros of its inputs' shapes: "
            "give inputs=[ct.TensorType(shape=...)], or trace it yourself"
        )
    zeros = tuple(_zeros(torch, one) for one in inputs)
    was_training, fast = model.training, torch.backends.mha.get_fastpath_enabled()
    model.eval()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.no_grad():
            return torch.jit.trace(model, zeros, check_trace=False)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
        model.train(was_training)


def _zeros(torch: Any, given: Any) -> Any:
    """Return zeros of the shape and type of an input; for a group of inputs, a tuple of them."""
    if isinstance(given, (list, tuple)):
        return tuple(_zeros(torch, one) for one in given)
    shape = getattr(given, "shape", None)
    if shape is None:
        raise ValueError(
            f"input {getattr(given, 'name', None) or '?'}: give its shape, so that the module can be traced"
        )
    default = [n if isinstance(n, (int, np.integer)) else n.default for n in _default(shape)]
    kind = types.nptype_from_builtin(given.dtype) if getattr(given, "dtype", None) is not None else np.float32
    return torch.from_numpy(np.zeros([int(n) for n in default], kind))


def _default(shape: Any) -> Any:
    """Return the sizes of a shape that is fixed, has flexible dimensions, or is one of several."""
    return getattr(shape, "default", None) or getattr(shape, "shape", shape)

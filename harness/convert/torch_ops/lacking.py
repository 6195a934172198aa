"""Translate torch ops that coremltools 9.0 has no translation for."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from coremltools.converters.mil.frontend.torch.ops import _get_kwinputs
from coremltools.converters.mil.mil import Builder

from harness.convert.torch_ops.translation import inputs, op, translation


@op("alias")
def alias(context: Any, node: Any) -> None:
    """``aten.alias(x)``: x itself. torch.export emits it where a module returns its own input."""
    (x,) = inputs(context, node)
    context.add(x, torch_name=node.name)


@op("multiply")
def multiply(context: Any, node: Any) -> None:
    """``torch.multiply(x, y)``: another name of ``torch.mul``."""
    translation("mul")(context, node)


@op("concatenate")
def concatenate(context: Any, node: Any) -> None:
    """``torch.concatenate(tensors, dim)``: another name of ``torch.cat``."""
    translation("cat")(context, node)


@op("where.scalarother")
def where_scalar_other(context: Any, node: Any) -> None:
    """``torch.where(condition, x, 0)``: the same as with two tensors."""
    translation("where")(context, node)


@op("erfinv")
def erfinv(context: Any, node: Any) -> None:
    """``torch.erfinv(x)`` of a constant, computed during conversion because MIL has no such op.

    Raises
    ------
    NotImplementedError: if x is not constant.
    """
    (x,) = inputs(context, node)
    if x.val is None:
        raise NotImplementedError(f"torch.erfinv of a value that is not constant ({node.name})")
    context.add(Builder.const(val=torch.erfinv(torch.as_tensor(x.val)).numpy(), name=node.name))


@op("linalg_solve_triangular")
def linalg_solve_triangular(context: Any, node: Any) -> None:
    """``torch.linalg.solve_triangular(A, B)`` with ones on the diagonal of A, shape (..., n, n).

    Let A = I - M. M is strictly triangular and therefore nilpotent, so A^-1 = (I + M)(I + M^2)(I + M^4) ... up
    to the first power of two not below n. This takes about 2 log2(n) products instead of n steps.

    Raises
    ------
    NotImplementedError: if the diagonal is not declared to be ones, or A stands on the right.
    """
    a, b, upper, left, unitriangular = _solve_arguments(context, node)
    if not (left and unitriangular):
        raise NotImplementedError(f"torch.linalg.solve_triangular other than left, unitriangular ({node.name})")
    size = int(a.shape[-1])
    strict = np.triu(np.ones((size, size), np.float32), 1) if upper else np.tril(np.ones((size, size), np.float32), -1)
    identity = np.eye(size, dtype=np.float32)
    power = Builder.mul(x=a, y=-strict)
    inverse = Builder.add(x=power, y=identity)
    for _ in range(1, (size - 1).bit_length()):
        power = Builder.matmul(x=power, y=power)
        inverse = Builder.matmul(x=inverse, y=Builder.add(x=power, y=identity))
    context.add(Builder.matmul(x=inverse, y=b, name=node.name))


def _solve_arguments(context: Any, node: Any) -> tuple[Any, Any, bool, bool, bool]:
    """Return A, B, upper, left, unitriangular, given by position (TorchScript) or keyword (torch.export)."""
    a, b, *flags = inputs(context, node)
    by_place = dict(zip(("upper", "left", "unitriangular"), flags, strict=False))
    given = []
    for name, default in (("upper", False), ("left", True), ("unitriangular", False)):
        (value,) = _get_kwinputs(context, node, name, default=[by_place.get(name, default)])
        given.append(bool(getattr(value, "val", value)))
    upper, left, unitriangular = given
    return a, b, upper, left, unitriangular

"""Count the RMSNorms that a PyTorch model executes, as the reference that fusion counts are compared with.

Forward hooks record every module that looks like a norm (its class name says so, and it contains no other norm)
each time it runs. Its kind is then decided by behaviour, not by name: it is run on rows x of its own input's
shape. It is an RMSNorm if y_ij = g_j * x_ij * rsqrt(mean_j(x_ij^2) + eps) with one g for all rows, and a
LayerNorm if the same holds for the rows minus their mean.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

Kind = Literal["rms_norm", "layer_norm", "other"]

_RELATIVE_TOLERANCE = 1e-3  # an epsilon of 100 moves the smallest probe rows by 5e-5
_ROWS = 6
_TINY = 1e-5  # rows of this size show an epsilon down to about 1e-11


@dataclass(frozen=True, slots=True)
class NormCall:
    """One execution of a module that looks like a norm."""

    path: str
    """Path of the module, for example ``"model.layers.0.input_layernorm"``."""
    class_name: str
    """The module's class."""
    kind: Kind
    """Which normalisation it computes."""
    shape: tuple[int, ...]
    """The shape of its input."""
    has_gamma: bool
    """Whether it scales channels by weights of its own."""
    epsilon: float | None
    """Epsilon under the root, measured; None unless ``kind`` is ``"rms_norm"``."""


def looks_like_norm(module: torch.nn.Module) -> bool:
    """Whether the name of a module's class says that it is a norm, and that of no module inside it does."""
    inner = (child for child in module.modules() if child is not module)
    return "norm" in type(module).__name__.lower() and not any("norm" in type(m).__name__.lower() for m in inner)


def _call(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor | None:
    """Run a norm on rows x, with ones for every other tensor that it requires (a gate, for example)."""
    parameters = list(inspect.signature(module.forward).parameters.values())
    demanded = [p for p in parameters[1:] if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    result = module.forward(x, *(torch.ones_like(x) for _ in demanded))
    return result if isinstance(result, torch.Tensor) and result.shape == x.shape else None


def _gain(y: torch.Tensor, normalised: torch.Tensor) -> torch.Tensor | None:
    """Return g, one value a channel, if y = g * normalised in every row; else None."""
    g = (y * normalised).sum(0) / normalised.square().sum(0)
    error = (y - g * normalised).norm()
    proportional = torch.isfinite(y).all() and error <= _RELATIVE_TOLERANCE * y.norm() and y.norm() > 0
    return g if bool(proportional) else None


def _rows(shape: tuple[int, ...]) -> torch.Tensor:
    """Return probe rows of a norm's input shape: off-centre, and of sizes from 10^3 to 10^6.

    A checkpoint whose residual stream is scaled by s has an epsilon scaled by s^2, so epsilon may be large.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator) + 0.5
    size = torch.logspace(3, 6, x[..., 0].numel()).reshape(x.shape[:-1])
    return x * size[..., None]


def classify(module: torch.nn.Module, shape: tuple[int, ...]) -> tuple[Kind, float | None]:
    """Return the normalisation that a module computes on an input of a shape, and an RMSNorm's epsilon.

    Parameters
    ----------
    module: called through ``forward``, so that no hook runs.
    shape: shape of its input, channels last.

    Returns
    -------
    The kind, and for an RMSNorm the epsilon under the root (0.0 if none is measurable).
    """
    if len(shape) < 2:
        shape = (_ROWS, *shape)
    elif torch.Size(shape[:-1]).numel() < _ROWS:
        shape = (shape[0] * _ROWS, *shape[1:])
    x = _rows(shape)
    with torch.no_grad():
        y, at_zero = _call(module, x), _call(module, torch.zeros_like(x))
        if y is None or at_zero is None:
            return "other", None
        at_zero = at_zero.nan_to_num(0)  # without an epsilon, a row of zeros gives 0/0
        flat, out = x.flatten(0, -2), (y - at_zero).flatten(0, -2)
        gain = _gain(out, flat * flat.square().mean(-1, keepdim=True).rsqrt())
        if gain is not None and not at_zero.any():
            return "rms_norm", _epsilon(module, x, gain)
        centred = flat - flat.mean(-1, keepdim=True)
        scaled = _gain(out, centred * centred.square().mean(-1, keepdim=True).rsqrt())
        return ("layer_norm", None) if scaled is not None else ("other", None)


def _epsilon(module: torch.nn.Module, x: torch.Tensor, gain: torch.Tensor) -> float:
    """Solve y = g * x / sqrt(mean(x^2) + eps) for eps on tiny rows, in the channel of the largest gain."""
    tiny = x / x.square().mean(-1, keepdim=True).sqrt() * _TINY
    y = _call(module, tiny)
    assert y is not None  # noqa: S101  (the same call has just succeeded on other rows)
    channel = int(gain.abs().argmax())
    xs, ys = (t.flatten(0, -2)[:, channel].double() for t in (tiny, y))
    epsilon = float(((gain[channel].double() * xs / ys) ** 2 - _TINY**2).median())
    return float(f"{epsilon:.3g}") if epsilon > _TINY**2 * 1e-3 else 0.0


def norms_executed(module: torch.nn.Module, inputs: Mapping[str, np.ndarray[Any, Any]]) -> tuple[NormCall, ...]:
    """Run a module once and list every norm it executes, in order; see :func:`counted_run`."""
    return counted_run(module, inputs)[0]


def counted_run(
    module: torch.nn.Module, inputs: Mapping[str, np.ndarray[Any, Any]]
) -> tuple[tuple[NormCall, ...], Any]:
    """Run a module once, and return every norm that it executes, in order, with its output.

    Parameters
    ----------
    module: an eager module; a wrapper's own ``network.`` is left out of the paths.
    inputs: its arguments by name.

    Returns
    -------
    One `NormCall` for each execution: a module that runs twice appears twice. Only those whose ``kind`` is
    ``"rms_norm"`` are RMSNorms.
    """
    calls: list[tuple[str, torch.nn.Module, tuple[int, ...]]] = []

    def hook(path: str) -> Any:
        def note(norm: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], _output: object) -> None:
            x = next(value for value in (*args, *kwargs.values()) if isinstance(value, torch.Tensor))
            calls.append((path, norm, tuple(x.shape)))

        return note

    handles = [
        norm.register_forward_hook(hook(path.removeprefix("network.")), with_kwargs=True)
        for path, norm in module.named_modules()
        if looks_like_norm(norm)
    ]
    try:
        with torch.no_grad():
            output = module(**{name: torch.from_numpy(value) for name, value in inputs.items()})
    finally:
        for handle in handles:
            handle.remove()
    return tuple(_describe(path, norm, shape) for path, norm, shape in calls), output


def _describe(path: str, norm: torch.nn.Module, shape: tuple[int, ...]) -> NormCall:
    kind, epsilon = classify(norm, shape)
    has_gamma = any(True for _ in norm.parameters())
    return NormCall(path, type(norm).__name__, kind, shape, has_gamma, epsilon)

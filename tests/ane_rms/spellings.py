"""The catalogue of RMSNorm spellings met in the wild, and of forms that resemble one and are not.

A spelling is data: to add one, add a case. ``x`` has shape (..., 64), ``w`` shape (64,); the weights are seeded around
1. Sources are named where a form belongs to a project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - as every torch user writes it

if TYPE_CHECKING:
    from collections.abc import Callable

D = 64
EPS = 1e-6


@dataclass(frozen=True)
class Spelling:
    """One way to write RMSNorm."""

    function: Callable[[Any, Any], Any]
    found: str
    """What the report calls it."""
    epsilon: float = EPS
    has_gamma: bool = True
    exact: bool = True
    gamma: Callable[[Any], Any] = lambda w: w
    """The gamma that must result, from the weight."""


def _ms(x: Any) -> Any:
    return x.pow(2).mean(-1, keepdim=True)


def _t(x: Any) -> Any:
    return x.transpose(-1, -2)


def _outside(x: Any, w: Any) -> Any:
    return w * (x / (x.norm(dtype=torch.float32, dim=-1, keepdim=True) * (x.shape[-1] ** -0.5) + EPS))


def _form_d(x: Any, w: Any) -> Any:
    variance = x.to(torch.float32).pow(2).mean(-1, keepdim=True)
    return w * (x * torch.rsqrt(variance + EPS))


def _through_half(x: Any, w: Any) -> Any:
    h = x.float()
    return w * (h * torch.rsqrt(_ms(h) + EPS)).to(x.dtype)


SPELLINGS: dict[str, Spelling] = {
    # the four of the original work: mean of x * x, sqrt, division
    "original, eps and gamma": Spelling(
        lambda x, w: w * (x / torch.sqrt(torch.mean(x * x, -1, keepdim=True) + EPS)), "mean_sqrt_div"
    ),
    "original, gamma": Spelling(
        lambda x, w: w * (x / torch.sqrt(torch.mean(x * x, -1, keepdim=True))), "mean_sqrt_div", epsilon=0.0
    ),
    "original, bare": Spelling(
        lambda x, _: x / torch.sqrt(torch.mean(x * x, -1, keepdim=True)),
        "mean_sqrt_div",
        0.0,
        has_gamma=False,
    ),
    "original, eps": Spelling(
        lambda x, _: x / torch.sqrt(torch.mean(x * x, -1, keepdim=True) + EPS),
        "mean_sqrt_div",
        has_gamma=False,
    ),
    # the mean over channels, taken where they are another axis
    "root of the transposed": Spelling(
        lambda x, w: w * x * _t(torch.rsqrt(_t(x).pow(2).mean(-2, keepdim=True) + EPS)), "mean_rsqrt_mul"
    ),
    "mean of the transposed": Spelling(
        lambda x, w: w * x / torch.sqrt(_t(_t(x).pow(2).mean(-2, keepdim=True)) + EPS), "mean_sqrt_div"
    ),
    # transformers 5.23, forms A to H
    "A: gamma * (...).to": Spelling(_through_half, "mean_rsqrt_mul"),
    "B: norm(x.float()) * (1 + w)": Spelling(
        lambda x, w: (x.float() * torch.rsqrt(_ms(x.float()) + EPS)) * (1.0 + w.float()),
        "mean_rsqrt_mul",
        gamma=lambda w: 1 + w,
    ),
    "C: (gamma * ...).to": Spelling(
        lambda x, w: (w * (x.float() * torch.rsqrt(_ms(x.float()) + EPS))).to(x.dtype), "mean_rsqrt_mul"
    ),
    "D: variance in float32 (T5)": Spelling(_form_d, "mean_rsqrt_mul"),
    "E: no gamma (Llama4 L2Norm)": Spelling(
        lambda x, _: (x.float() * torch.rsqrt(_ms(x.float()) + EPS)).type_as(x),
        "mean_rsqrt_mul",
        has_gamma=False,
    ),
    "F: norm(x.float()).type_as(x) * w": Spelling(
        lambda x, w: (x.float() * torch.rsqrt(_ms(x.float()) + EPS)).type_as(x) * w, "mean_rsqrt_mul"
    ),
    "G: float32 gamma (Helium)": Spelling(
        lambda x, w: (w.to(torch.float32) * (x.float() * torch.rsqrt(_ms(x.float()) + EPS))).to(x.dtype),
        "mean_rsqrt_mul",
    ),
    "H: pow(-0.5) (Gemma3n)": Spelling(lambda x, w: x * torch.pow(_ms(x) + EPS, -0.5) * w, "mean_pow_mul"),
    "H: x / sqrt (ImageGPT)": Spelling(lambda x, w: x / torch.sqrt(_ms(x) + EPS) * w, "mean_sqrt_div"),
    "J: torch.nn.functional.rms_norm": Spelling(lambda x, w: F.rms_norm(x, (D,), w, EPS), "ane_rms_norm"),
    # the same algebra in other orders
    "1 / sqrt": Spelling(lambda x, w: x * (1 / torch.sqrt(_ms(x) + EPS)) * w, "mean_sqrt_inverse_mul"),
    "sqrt().reciprocal()": Spelling(
        lambda x, w: torch.sqrt(_ms(x) + EPS).reciprocal() * x * w, "mean_sqrt_inverse_mul"
    ),
    "pow(0.5)": Spelling(lambda x, w: x / (_ms(x) + EPS).pow(0.5) * w, "mean_pow_div"),
    "eps + mean": Spelling(lambda x, w: x * torch.rsqrt(EPS + _ms(x)) * w, "mean_rsqrt_mul"),
    "rsqrt first": Spelling(lambda x, w: torch.rsqrt(_ms(x) + EPS) * x * w, "mean_rsqrt_mul"),
    "gamma on the root": Spelling(lambda x, w: x * (torch.rsqrt(_ms(x) + EPS) * w), "mean_rsqrt_mul"),
    "gamma on x": Spelling(lambda x, w: (x * w) * torch.rsqrt(_ms(x) + EPS), "mean_rsqrt_mul"),
    "gamma first": Spelling(lambda x, w: w * (torch.rsqrt(_ms(x) + EPS) * x), "mean_rsqrt_mul"),
    "square()": Spelling(lambda x, w: x * torch.rsqrt(x.square().mean(-1, keepdim=True) + EPS) * w, "mean_rsqrt_mul"),
    "x ** 2": Spelling(lambda x, w: x * torch.rsqrt((x**2).mean(-1, keepdim=True) + EPS) * w, "mean_rsqrt_mul"),
    "abs().pow(2)": Spelling(
        lambda x, w: x * torch.rsqrt(x.abs().pow(2).mean(-1, keepdim=True) + EPS) * w, "mean_rsqrt_mul"
    ),
    "mean then unsqueeze": Spelling(
        lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1).unsqueeze(-1) + EPS) * w, "mean_rsqrt_mul"
    ),
    "sum / d": Spelling(lambda x, w: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) / D + EPS) * w, "sum_rsqrt_mul"),
    "sum * (1 / d)": Spelling(
        lambda x, w: x * torch.rsqrt(x.pow(2).sum(-1, keepdim=True) * (1 / D) + EPS) * w, "sum_rsqrt_mul"
    ),
    "rsqrt without eps": Spelling(lambda x, w: x * torch.rsqrt(_ms(x)) * w, "mean_rsqrt_mul", epsilon=1e-12),
    "two gammas": Spelling(
        lambda x, w: x * torch.rsqrt(_ms(x) + EPS) * w * (w + 1),
        "mean_rsqrt_mul",
        gamma=lambda w: w * (w + 1),
    ),
    "gamma and a number": Spelling(
        lambda x, w: x * torch.rsqrt(_ms(x) + EPS) * w * 0.5, "mean_rsqrt_mul", gamma=lambda w: w / 2
    ),
    "divided by gamma": Spelling(
        lambda x, w: x * torch.rsqrt(_ms(x) + EPS) / w, "mean_rsqrt_mul", gamma=lambda w: 1 / w
    ),
    "x scaled under the square": Spelling(
        lambda x, w: x * torch.rsqrt((x / 16).pow(2).mean(-1, keepdim=True) + EPS / 256) * (w / 16),
        "mean_rsqrt_mul",
    ),
    # L2 norms
    "norm * d**-0.5": Spelling(
        lambda x, w: x / (x.norm(dim=-1, keepdim=True) * D**-0.5) * w, "l2_norm_div", epsilon=0.0
    ),
    "eps outside the root": Spelling(_outside, "l2_norm_div_epsilon_outside", epsilon=EPS**2, exact=False),
    "F.normalize (x-transformers)": Spelling(
        lambda x, w: F.normalize(x, dim=-1) * D**0.5 * w, "l2_norm_div", epsilon=1e-24 / D, exact=False
    ),
    "vector_norm, floor (ExecuTorch)": Spelling(
        lambda x, w: x * D**0.5 / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min((D * EPS) ** 0.5) * w,
        "l2_norm_div",
        epsilon=2.0**-24,
        exact=False,
    ),
}


@dataclass(frozen=True)
class LookAlike:
    """A form that resembles RMSNorm and is none."""

    function: Callable[[Any, Any], Any]
    reason: str
    """A pattern of the reason given; empty where no site must be claimed at all."""
    shape: tuple[int, ...] = (2, 8, D)


def _rescaled_by_element(x: Any, w: Any) -> Any:
    m = torch.sigmoid(x) + 0.5
    return x / (m * torch.sqrt(_ms(x / m) + EPS)) * w


def _rescaled_by_largest(x: Any, w: Any) -> Any:
    m = x.amax(-1, keepdim=True)
    return x / (m * torch.sqrt(_ms(x / m) + EPS)) * w


def _global_response(x: Any, w: Any) -> Any:
    size = torch.norm(x, dim=-2, keepdim=True)
    return w * (x * (size / (size.mean(-1, keepdim=True) + EPS))) + x


def _hand_written_layer_norm(x: Any, w: Any) -> Any:
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + EPS) * w


LOOK_ALIKES: dict[str, LookAlike] = {
    "root transposed with x": LookAlike(
        lambda x, w: _t(_t(x) * _t(torch.rsqrt(_ms(x) + EPS))) * w, r"the transposed mean is over axes \[-2\]"
    ),
    "root transposed without x": LookAlike(
        lambda x, w: x * _t(torch.rsqrt(_ms(x) + EPS)) * w, "goes into `transpose`", shape=(1, D, D)
    ),
    "mean over axis 0": LookAlike(
        lambda x, w: x / torch.sqrt(torch.mean(x * x, 0, keepdim=True) + EPS) * w, r"axes \[-3\]"
    ),
    "mean over axes [0, 1]": LookAlike(
        lambda x, w: x / torch.sqrt(torch.mean(x * x, [0, 1], keepdim=True) + EPS) * w, r"axes \[-3, -2\]"
    ),
    "mean over everything": LookAlike(lambda x, w: x / torch.sqrt(torch.mean(x * x) + EPS) * w, r"axes \[-3, -2, -1\]"),
    "keepdim=False": LookAlike(
        lambda x, w: x * torch.rsqrt(x.pow(2).mean(-1) + EPS) * w, "keepdim=True", shape=(1, D, D)
    ),
    "pow(3)": LookAlike(lambda x, w: x * torch.rsqrt(x.pow(3).mean(-1, keepdim=True) + EPS) * w, r"x\*\*3"),
    "mean of |x|": LookAlike(lambda x, w: x * torch.rsqrt(x.abs().mean(-1, keepdim=True) + EPS) * w, "`abs`"),
    "mean of another value": LookAlike(
        lambda x, w: x * torch.rsqrt(_ms(torch.relu(x)) + EPS) * w, "not the value whose mean square"
    ),
    "product of two values": LookAlike(
        lambda x, w: x * torch.rsqrt((x * torch.relu(x)).mean(-1, keepdim=True) + EPS) * w,
        "two different values",
    ),
    "eps computed": LookAlike(lambda x, w: x * torch.rsqrt(_ms(x) + x[..., :1].abs()) * w, "computed at run time"),
    "eps per element": LookAlike(lambda x, w: x * torch.rsqrt(_ms(x) + w * EPS), r"shape \[64\]"),
    "timm: torch.var": LookAlike(
        lambda x, w: x * torch.rsqrt(torch.var(x, dim=-1, keepdim=True) + EPS) * w, "variance"
    ),
    "biased torch.var": LookAlike(
        lambda x, w: x * torch.rsqrt(torch.var(x, dim=-1, keepdim=True, unbiased=False) + EPS) * w, "variance"
    ),
    "mean(x^2) - mean(x)^2": LookAlike(
        lambda x, w: x * torch.rsqrt(_ms(x) - x.mean(-1, keepdim=True) ** 2 + EPS) * w, "subtracted"
    ),
    "large eps outside the root": LookAlike(
        lambda x, w: w * (x / (x.norm(dim=-1, keepdim=True) * D**-0.5 + 1e-2)), "deviates by up to"
    ),
    "rescaled element by element": LookAlike(_rescaled_by_element, "not the value whose mean square"),
    "rescaled by its largest value, not magnitude": LookAlike(_rescaled_by_largest, "not the value whose mean square"),
    "global response norm (diffusers)": LookAlike(_global_response, "goes into `reduce_mean`"),
    "hand-written LayerNorm (Cohere)": LookAlike(_hand_written_layer_norm, ""),
    "torch.nn.functional.layer_norm": LookAlike(lambda x, w: F.layer_norm(x, (D,), w), ""),
    "softmax scale": LookAlike(lambda x, w: torch.softmax(x * D**-0.5, -1) * w, ""),
    "standard deviation alone": LookAlike(lambda x, w: x.std(-1, keepdim=True) + w, ""),
    "multiplied by the RMS": LookAlike(lambda x, w: x * torch.sqrt(_ms(x) + EPS) * w, "multiplied by the root"),
}

"""RMSNorm modules in the form that other libraries give them, written anew in this project's words.

Each is data: the library it follows, a module, what must fuse and what must be refused, and why. ``D`` is the
normalised width; weights are seeded around 1 by the test. To add one, add a class and a case.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812 - as every torch user writes it
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable

D = 64
HEADS = 4
EPS = 1e-6
ROOT = math.sqrt(D)


class Form(nn.Module):
    """A norm as a function of its weight and inputs; ``shape`` is the weight's."""

    def __init__(self, function: Callable[..., Any], shape: tuple[int, ...] = (D,)) -> None:
        super().__init__()
        self.function = function
        self.weight = nn.Parameter(torch.ones(shape))

    def forward(self, *inputs: Any) -> Any:
        """Apply the function."""
        return self.function(self.weight, *inputs)


def mean_square(x: Any, dim: Any = -1) -> Any:
    """Return the mean square, the axis kept."""
    return x.pow(2).mean(dim, keepdim=True)


def standard(x: Any, eps: float = EPS, dim: Any = -1) -> Any:
    """Return ``x * rsqrt(mean(x^2) + eps)``."""
    return x * torch.rsqrt(mean_square(x, dim) + eps)


# --- one function a form: (weight, x, ...) -> y ----------------------------------------------------------------------


def scaled_unit_vector(w: Any, x: Any) -> Any:
    """x-transformers, lucidrains: the unit vector, times sqrt(d), times gamma."""
    return F.normalize(x, dim=-1) * ROOT * w


def scaled_unit_vector_offset(w: Any, x: Any) -> Any:
    """x-transformers with ``unit_offset``."""
    return F.normalize(x, dim=-1) * ROOT * (w + 1.0)


def floored_rms(w: Any, x: Any) -> Any:
    """x-transformers before 2023: the RMS from below bounded by a tiny number."""
    return x / (torch.norm(x, dim=-1, keepdim=True) * D**-0.5).clamp(min=1e-8) * w


def multihead_rescaled(w: Any, x: Any) -> Any:
    """lucidrains' q/k norm: one gamma a head, between the unit vector and sqrt(d)."""
    return F.normalize(x, dim=-1) * w * ROOT


def multihead_after(w: Any, x: Any) -> Any:
    """One gamma a head after ``nn.RMSNorm`` without one."""
    return F.rms_norm(x, (D,)) * (w + 1.0)


def adaptive(w: Any, x: Any, condition: Any) -> Any:
    """A gamma computed from a condition, after the norm."""
    return F.normalize(x, dim=-1) * ROOT * (condition * w + 1.0)


def adaptive_on_the_root(w: Any, x: Any, condition: Any) -> Any:
    """k-diffusion: a gamma computed from a condition, multiplied to the inverse root first."""
    return x * ((condition * w + 1.0) * torch.rsqrt(mean_square(x) + EPS))


def weight_on_the_root(w: Any, x: Any) -> Any:
    """k-diffusion: gamma is multiplied to the inverse root first."""
    return x * (w * torch.rsqrt(torch.mean(x.float() ** 2, dim=-1, keepdim=True) + EPS)).to(x.dtype)


def heads_on_the_root(w: Any, x: Any) -> Any:
    """One gamma a head, multiplied to the inverse root first."""
    return x * (w * torch.rsqrt(mean_square(x) + EPS))


def from_variance(w: Any, x: Any) -> Any:
    """timm's ``rms_norm`` of 2023, its ``simple_norm`` since: unbiased variance, which subtracts the mean."""
    return x * torch.rsqrt(torch.var(x, dim=-1, keepdim=True) + EPS) * w


def half_of_the_row(w: Any, x: Any) -> Any:
    """Zhang and Sennrich's partial RMSNorm: the RMS of the first half of the row."""
    part = x[..., : D // 2]
    return w * (x / (part.norm(2, dim=-1, keepdim=True) * (D // 2) ** -0.5 + 1e-8))


def outside_the_root(w: Any, x: Any) -> Any:
    """Zhang and Sennrich's own code, StripedHyena: epsilon is added to the RMS."""
    return w * (x / (x.norm(2, dim=-1, keepdim=True) * D ** (-1.0 / 2) + 1e-8))


def type_as_before_gamma(w: Any, x: Any) -> Any:
    """torchtune, Llama's reference, Flux, mlx-lm."""
    return standard(x.float()).type_as(x) * w


def unit_offset(w: Any, x: Any) -> Any:
    """litgpt with ``add_unit_offset``, Gemma's reference."""
    wide = x.float()
    return ((1 + w) * (wide * torch.rsqrt(torch.mean(wide * wide, dim=-1, keepdim=True) + EPS))).to(x.dtype)


def with_bias(w: Any, x: Any) -> Any:
    """diffusers with ``bias``."""
    return x * torch.rsqrt(mean_square(x.to(torch.float32)) + EPS) * w + 0.25


def through_bfloat16(w: Any, x: Any) -> Any:
    """diffusers with a weight of half precision: the row is rounded before gamma."""
    return (x * torch.rsqrt(mean_square(x.float()) + EPS)).to(w.dtype) * w


def manual_of_apex(w: Any, x: Any) -> Any:
    """apex, Megatron: the axes as a tuple."""
    return w * (x * torch.rsqrt(x.to(torch.float32).pow(2).mean((-1,), keepdim=True) + EPS))


def reciprocal_root(w: Any, x: Any) -> Any:
    """state-spaces' reference: 1 / sqrt."""
    return x.float() * (1 / torch.sqrt(x.float().square().mean(dim=-1, keepdim=True) + EPS)) * w


def gated_before(w: Any, x: Any, z: Any) -> Any:
    """Mamba-2 with ``norm_before_gate=False``."""
    return standard(x.float() * F.silu(z.float())).to(x.dtype) * w


def gated_after(w: Any, x: Any, z: Any) -> Any:
    """Mamba-2 with ``norm_before_gate=True``, Qwen3-Next."""
    return (w * standard(x.float())) * F.silu(z.float())


def gated_inside(w: Any, x: Any, z: Any) -> Any:
    """The gate in the middle of the product."""
    return x * F.silu(z) * torch.rsqrt(mean_square(x) + EPS) * w


def grouped(w: Any, x: Any) -> Any:
    """state-spaces' ``group_size``: each group of the row by itself, then one gamma for all of it."""
    apart = x.reshape(*x.shape[:-1], HEADS, D // HEADS)
    return (apart * (1 / torch.sqrt(mean_square(apart) + EPS))).reshape(x.shape) * w


def grouped_gated(w: Any, x: Any, z: Any) -> Any:
    """Zamba2, Nemotron-H, Bamba: gate, groups, gamma."""
    return grouped(w, x * F.silu(z))


def per_head(w: Any, x: Any) -> Any:
    """Qwen3, Chameleon: q/k norm over the head's width of a projection."""
    heads = x.view(*x.shape[:-1], HEADS, D // HEADS)
    return (w * standard(heads)).transpose(1, 2)


def channels(w: Any, x: Any) -> Any:
    """timm's ``rms_norm2d``, SANA: the channel axis of (B, C, H, W)."""
    return standard(x, dim=1) * w.reshape(1, -1, 1, 1)


def channels_divided(w: Any, x: Any) -> Any:
    """DC-AE: square, mean, sqrt, division over the channels."""
    return x / torch.sqrt(torch.square(x.float()).mean(dim=1, keepdim=True) + EPS) * w.view(1, -1, 1, 1)


def channels_unit_vector(w: Any, x: Any) -> Any:
    """denoising-diffusion-pytorch, Wan, Qwen-Image: the unit vector over the channels."""
    return F.normalize(x, dim=1) * w * (x.shape[1] ** 0.5)


def channels_moved(w: Any, x: Any) -> Any:
    """diffusers' DC-AE: the channels are moved to the end and back."""
    return (standard(x.permute(0, 2, 3, 1)) * w).permute(0, 3, 1, 2)


def two_axes(w: Any, x: Any) -> Any:
    """x-metaformer: the last two axes."""
    return x.div(torch.sqrt(x.pow(2).mean((-1, -2), keepdims=True) + EPS)) * w


def einsum_gamma(w: Any, x: Any) -> Any:
    """A course's solutions: gamma by einsum."""
    return torch.einsum("bsd,d->bsd", x / mean_square(x).add(EPS).sqrt(), w)


def sum_and_epsilon_over_d(w: Any, x: Any) -> Any:
    """A course's solutions: epsilon is divided by d as well."""
    return x / torch.sqrt(1 / D * (x.pow(2).sum(-1, keepdim=True) + EPS)) * w


def einsum_square(w: Any, x: Any) -> Any:
    """The sum of squares by einsum."""
    return w * x * torch.rsqrt(torch.einsum("bsd,bsd->bs", x, x).unsqueeze(-1) / D + EPS)


def dot_square(w: Any, x: Any) -> Any:
    """The sum of squares by a product of a row and a column."""
    return w * x * torch.rsqrt((x.unsqueeze(-2) @ x.unsqueeze(-1)).squeeze(-1) / D + EPS)


def l2_of_delta_rule(w: Any, x: Any) -> Any:
    """flash-linear-attention, Qwen3-Next's q and k: a unit vector, not an RMSNorm."""
    return x * torch.rsqrt((x * x).sum(dim=-1, keepdim=True) + EPS) + w


def global_response(w: Any, x: Any) -> Any:
    """ConvNeXt-V2: the share of a channel's norm in the mean of all."""
    size = torch.norm(x, p=2, dim=1, keepdim=True)
    return w * (x * (size / (size.mean(dim=-1, keepdim=True) + EPS))) + x


def mean_without_root(w: Any, x: Any) -> Any:
    """A bug met in the wild: the root is forgotten."""
    return x / (mean_square(x) + EPS) * w


def clipped(w: Any, x: Any) -> Any:
    """The RMS of a clipped row scales the row itself."""
    return x * torch.rsqrt(mean_square(x.clamp(-3, 3)) + EPS) * w


def residual_first(w: Any, x: Any, residual: Any) -> Any:
    """Fused add and norm: the sum is normalised."""
    total = x + residual
    return standard(total.float()).to(x.dtype) * w + total


@dataclass(frozen=True)
class Case:
    """One form: what fuses, what is refused and why."""

    library: str
    function: Callable[..., Any]
    fused: int = 1
    has_gamma: bool = True
    missed: str = ""
    """A pattern of the reason; empty where nothing may be claimed missed."""
    shape: tuple[int, ...] = (2, 8, D)
    weight: tuple[int, ...] = (D,)
    inputs: int = 1
    axes: str = "last"
    exact: bool = True
    wide: bool = True
    """Whether torch computes what is expected in float64; False where the module fixes float32 or takes its epsilon."""


SPATIAL, HEADED = (2, D, 4, 3), (2, HEADS, 8, D)
LAST = "only the last axis is fused"

CASES: dict[str, Case] = {
    "RMSNorm": Case("x-transformers", scaled_unit_vector, exact=False),
    "RMSNorm, unit_offset": Case("x-transformers", scaled_unit_vector_offset, exact=False),
    "RMSNorm, early": Case("x-transformers", floored_rms, exact=False),
    "SimpleRMSNorm": Case("x-transformers", lambda _, x: F.normalize(x, dim=-1) * ROOT, has_gamma=False, exact=False),
    "ScaleNorm": Case("x-transformers", lambda w, x: F.normalize(x, dim=-1) * w, weight=(1,), exact=False),
    "ScaleNorm, early": Case("x-transformers", floored_rms, weight=(1,), exact=False),
    "MultiheadRMSNorm": Case(
        "lucidrains", multihead_rescaled, has_gamma=False, shape=HEADED, weight=(HEADS, 1, D), exact=False
    ),
    "MultiheadRMSNorm of nn.RMSNorm": Case(
        "titans", multihead_after, has_gamma=False, shape=HEADED, weight=(HEADS, 1, D), wide=False
    ),
    "AdaptiveRMSNorm": Case("lucidrains", adaptive, has_gamma=False, inputs=2, exact=False),
    "AdaRMSNorm": Case("k-diffusion", adaptive_on_the_root, has_gamma=False, inputs=2),
    "rms_norm, scale first": Case("k-diffusion", weight_on_the_root),
    "scale a head first": Case("k-diffusion", heads_on_the_root, has_gamma=False, shape=HEADED, weight=(HEADS, 1, 1)),
    "rms_norm": Case("timm", lambda w, x: standard(x) * w),
    "simple_norm": Case("timm", from_variance, fused=0, missed="variance"),
    "rms_norm2d": Case("timm", channels, fused=0, missed=LAST, shape=SPATIAL),
    "rms_norm2d, any": Case("timm", channels, shape=SPATIAL, axes="any"),
    "fast_rms_norm": Case("timm", lambda w, x: F.rms_norm(x, (D,), w, EPS)),
    "RMSNorm of Zhang": Case("rmsnorm_torch", outside_the_root, exact=False),
    "pRMSNorm": Case("rmsnorm_torch", half_of_the_row, fused=0, missed="not the value whose mean square"),
    "torchtune.RMSNorm": Case("torchtune", type_as_before_gamma),
    "L2Norm": Case("torchtune", lambda _, x: standard(x.float()).type_as(x), has_gamma=False),
    "litgpt.RMSNorm": Case("litgpt", unit_offset),
    "diffusers.RMSNorm": Case("diffusers", with_bias),
    "MochiRMSNorm": Case("diffusers", lambda w, x: (x * torch.rsqrt(mean_square(x.float()) + EPS) * w).to(x.dtype)),
    "diffusers, weight cast": Case("diffusers", through_bfloat16),
    "GlobalResponseNorm": Case("diffusers", global_response, fused=0, missed="goes into `reduce_mean`"),
    "LpNorm": Case("diffusers", lambda _, x: F.normalize(x, p=2, dim=-1), exact=False),
    "DC-AE": Case("efficientvit", channels_divided, fused=0, missed=LAST, shape=SPATIAL),
    "DC-AE, any": Case("efficientvit", channels_divided, shape=SPATIAL, axes="any"),
    "DC-AE, moved": Case("diffusers", channels_moved, shape=SPATIAL),
    "RMS_norm of images": Case(
        "Wan", channels_unit_vector, fused=0, missed=LAST, shape=SPATIAL, weight=(1, D, 1, 1), exact=False
    ),
    "RMS_norm of images, any": Case(
        "Wan", channels_unit_vector, shape=SPATIAL, weight=(1, D, 1, 1), axes="any", exact=False
    ),
    "two axes": Case("x-metaformer", two_axes, fused=0, missed=LAST, weight=(8, D)),
    "two axes, any": Case("x-metaformer", two_axes, weight=(8, D), axes="any"),
    "manual_rms_norm": Case("apex", manual_of_apex),
    "rms_norm_ref": Case("state-spaces", reciprocal_root),
    "DeepSeek": Case("DeepSeek-V3", lambda w, x: F.rms_norm(x.float(), (D,), w, EPS).type_as(x), wide=False),
    "no gamma, no eps": Case("nanochat", lambda _, x: F.rms_norm(x, (x.size(-1),)), has_gamma=False, wide=False),
    "T5LayerNorm": Case("T5", lambda w, x: w * (x * torch.rsqrt(mean_square(x.to(torch.float32)) + EPS))),
    "gated before": Case("mamba_ssm", gated_before, inputs=2),
    "gated after": Case("mamba_ssm", gated_after, inputs=2),
    "gated inside": Case("mamba_ssm", gated_inside, has_gamma=False, inputs=2),
    "grouped": Case("mamba_ssm", grouped, has_gamma=False),
    "grouped and gated": Case("Zamba2", grouped_gated, has_gamma=False, inputs=2),
    "q/k norm": Case("Qwen3", per_head, weight=(D // HEADS,)),
    "add and norm": Case("vLLM", residual_first, inputs=2),
    "gamma by einsum": Case("CS336", einsum_gamma, has_gamma=False),
    "epsilon over d": Case("CS336", sum_and_epsilon_over_d),
    "squares by einsum": Case("CS336", einsum_square),
    "squares by a product": Case("CS336", dot_square),
    "l2norm": Case("fla", l2_of_delta_rule),
    "no root": Case("in the wild", mean_without_root, fused=0),
    "clipped": Case("in the wild", clipped, fused=0, missed="not the value whose mean square"),
}

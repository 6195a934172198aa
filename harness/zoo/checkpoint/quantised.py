"""Recognise quantised weights by names, element types and shapes; only float weights can be converted.

The configuration alone is no proof: an exporter may omit its key, or write it under another name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.zoo.checkpoint.headers import Tensor

FLOATS = ("F64", "F32", "F16", "BF16")
KEYS = ("quantization_config", "quantization", "compression_config", "quant_config")
"""Keys of ``config.json`` for the settings of quantisers: Hugging Face's, MLX's, older ones."""
FILES = {
    "quantize_config.json": "GPTQ",
    "quant_config.json": "AWQ",
    "hf_quant_config.json": "ModelOpt",
    "quanto_qmap.json": "quanto",
}
"""Files that quantisers write beside the weights."""
NAMES = (
    ("g_idx", "GPTQ"),
    ("qweight", "GPTQ or AWQ"),
    ("SCB", "bitsandbytes int8"),
    ("absmax", "bitsandbytes 4-bit"),
    ("quant_map", "bitsandbytes 4-bit"),
    ("bitsandbytes__nf4", "bitsandbytes 4-bit"),
    ("bitsandbytes__fp4", "bitsandbytes 4-bit"),
    ("weight_packed", "compressed-tensors"),
    ("weight_scale_inv", "float8"),
    ("weight_scale", "float8 or int8"),
    ("W_q", "HQQ"),
    ("codebooks", "AQLM"),
    ("_blocks", "MXFP4"),
    ("_data", "quanto"),
)
"""Suffixes of the names of quantisers' tensors."""


def quantisation(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the method of quantisation and the evidence for it; "" for float weights.

    A null or empty setting is ignored. If a file's contents are not known (pickle files), only the names and the
    configuration are examined.
    """
    for name, tensor in tensors.items():
        if method := _of_tensor(name, tensor, tensors):
            return f"{method} ({name}, {tensor.dtype} {list(tensor.shape)})"
    text = config.get("text_config")
    for place in (config, text if isinstance(text, dict) else {}):
        for key in KEYS:
            if settings := place.get(key):
                named = settings.get("quant_method") if isinstance(settings, dict) else None
                return f"{named or ('MLX' if key == 'quantization' else 'no method named')} (config.json: {key})"
    for name, method in FILES.items():
        if (folder / name).is_file() and _any_code(tensors):
            return f"{method} ({name})"
    return ""


def _of_tensor(name: str, tensor: Tensor, tensors: Mapping[str, Tensor]) -> str:
    """Return the quantisation method that a tensor belongs to; "" if it may belong to a float model."""
    if tensor.dtype.startswith(("F8_", "F6_")) or tensor.dtype == "F4":
        scales = any(other.startswith(name) and other != name for other in tensors)
        return "float8" if scales else "float8 without scales"
    if tensor.dtype in FLOATS and not name.endswith((".weight_scale", ".weight_scale_inv", ".SCB", ".absmax")):
        return ""
    if tensor.dtype == "U32" and name.endswith(".weight"):
        return "MLX"
    for end, method in NAMES:
        if name.endswith((f".{end}", end if end.startswith("_") else f".{end}")) and tensor.dtype != "I64":
            return _gptq_or_awq(name, tensors) if end == "qweight" else method
    if name.endswith((".weight", ".bias")) and tensor.dtype not in FLOATS:
        return f"{tensor.dtype} codes"
    return ""


def _gptq_or_awq(name: str, tensors: Mapping[str, Tensor]) -> str:
    return "GPTQ" if name.removesuffix("qweight") + "g_idx" in tensors else "GPTQ or AWQ"


def _any_code(tensors: Mapping[str, Tensor]) -> bool:
    """Whether there is a tensor of codes, or the tensors are not known."""
    return not tensors or any(tensor.dtype not in (*FLOATS, "I64", "BOOL") for tensor in tensors.values())

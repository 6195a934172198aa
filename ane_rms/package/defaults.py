"""List MIL's defaults of omitted inputs that the grammar reads.

coremltools serialises most of these inputs, but other tools may omit them.

Source: coremltools 9.0, the op definitions under ``coremltools/converters/mil/mil/ops/defs``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

_KEEP = {"keep_dims": np.bool_(False)}

DEFAULTS: dict[str, dict[str, Any]] = {
    "rsqrt": {"epsilon": np.float32(1e-12)},
    "inverse": {"epsilon": np.float32(1e-4)},
    "log": {"epsilon": np.float32(1e-45)},
    "layer_norm": {"epsilon": np.float32(1e-5)},
    "instance_norm": {"epsilon": np.float32(1e-5)},
    "l2_norm": {"epsilon": np.float32(1e-6)},
    "conv": {"groups": np.int32(1)},
    "gather": {"axis": np.int32(0), "batch_dims": np.int32(0)},
    "concat": {"interleave": np.bool_(False)},
    "matmul": {"transpose_x": np.bool_(False), "transpose_y": np.bool_(False)},
    "ane_rms_norm": {"epsilon": np.float32(1e-5), "axes": np.array([-1], np.int32)},
    "clip": {"alpha": np.float32(np.finfo(np.float32).min), "beta": np.float32(np.finfo(np.float32).max)},
    **dict.fromkeys(("reduce_mean", "reduce_sum", "reduce_sum_square", "reduce_l2_norm", "reduce_max"), _KEEP),
}
"""Defaults by op and input. An omitted input without an entry is None."""

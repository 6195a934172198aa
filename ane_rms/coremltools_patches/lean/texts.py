"""Run passes without the text of the program that they write for a debug log, which takes half their time."""

from __future__ import annotations

import logging
from typing import Any

from coremltools import _logger as logger
from coremltools.converters.mil.mil.passes.defs.optimize_normalization import fuse_layernorm_or_instancenorm
from coremltools.converters.mil.mil.passes.defs.optimize_repeat_ops import _TransposeOptimization

from ane_rms.coremltools_patches.in_every_thread import InEveryThread


def patches() -> list[InEveryThread]:
    """Return the replacements."""
    return [
        InEveryThread(
            _TransposeOptimization,
            "apply_transform",
            "1596536ee2afc674",
            _cancel_transposes,
            "reduce_transposes writes the program out as text for a log that is not shown",
        ),
        InEveryThread(
            fuse_layernorm_or_instancenorm,
            "apply",
            "5c9e3cf36fa0826f",
            _fuse_norms,
            "fuse_layernorm_or_instancenorm writes the program out as text for a log that is not shown",
        ),
    ]


def _is_shown(drawing: bool) -> bool:  # noqa: FBT001 - coremltools' own flag
    return drawing or logger.isEnabledFor(logging.DEBUG)


def _cancel_transposes(original: Any) -> Any:
    def apply_transform(self: Any) -> None:
        if _is_shown(self._DEBUG):
            original(self)
            return
        self._verify_cancellable_transposes()
        for transpose in self.transpose_op_to_cancel_ops:
            self._remove_transpose_ops(transpose)
        self.block.set_outputs([sink.x for sink in self.output_sink_ops])
        self.block.remove_ops(list(self.output_sink_ops))
        for op in self.block.operations:
            op.type_value_inference(overwrite_output=True)

    return apply_transform


def _fuse_norms(original: Any) -> Any:
    def apply(self: Any, prog: Any) -> None:
        if _is_shown(self._DEBUG):
            original(self, prog)
            return
        for function in prog.functions.values():
            while self._fuse_layernorm_or_instancenorm_block(function):
                pass

    return apply

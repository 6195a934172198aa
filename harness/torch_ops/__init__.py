"""Torch ops that coremltools lacks or mistakes, translated from outside and only while the harness converts.

    with harness.torch_ops.registered():
        coremltools.convert(...)

``lacking`` has the ops coremltools has no translation for, ``mends`` those whose translation fails or gives
other values than torch, ``complex_numbers`` both kinds for complex tensors. To add one, write the function in
one of them under `registry.op` or `registry.mend`; tests/harness/test_torch_ops.py holds each against torch.
"""

from __future__ import annotations

from harness.torch_ops import complex_numbers, lacking, mends, registry
from harness.torch_ops.registry import names, registered

__all__ = ["complex_numbers", "lacking", "mends", "names", "registered", "registry"]

"""Translate torch ops that coremltools lacks or translates incorrectly, only while the harness converts.

    with harness.convert.torch_ops.registered():
        coremltools.convert(...)

``lacking`` has the ops coremltools has no translation for, ``mends`` those whose translation fails or gives
other values than torch, ``complex_numbers`` both kinds for complex tensors. To add one, write the function in
one of them under `translation.op` or `translation.mend`; tests/harness/convert/test_torch_ops.py compares each
with torch.
"""

from __future__ import annotations

from harness.convert.torch_ops import complex_numbers, lacking, mends, translation
from harness.convert.torch_ops.translation import names, registered

__all__ = ["complex_numbers", "lacking", "mends", "names", "registered", "translation"]

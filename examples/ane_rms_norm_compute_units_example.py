"""For which compute units a norm is fused: CPU_AND_NE. The other four cases leave the program as it was.

Run: python examples/ane_rms_norm_compute_units_example.py
"""

from __future__ import annotations

from running import CONVERSION, claim

# isort: split

from typing import Any

import coremltools as ct
import torch
from rms_norms import MeanAndRoot

import ane_rms

SHAPE = (1, 128, 512)

CASES: dict[str, dict[str, Any]] = {
    **{unit.name: {"compute_units": unit} for unit in ct.ComputeUnit},
    "unset": {},
}


def main() -> dict[str, tuple[int, bool]]:
    """Return, by case: how many sites are fused, and whether the program is the one ct.convert makes."""
    traced = torch.jit.trace(MeanAndRoot(SHAPE[-1]).eval(), torch.zeros(SHAPE))
    inputs = [ct.TensorType(name="x", shape=SHAPE)]
    results = {}
    print(f"{'compute units':15}{'fused':7}program")
    for name, units in CASES.items():
        through_us = ane_rms.convert(traced, inputs=inputs, **units, **CONVERSION)
        plain = ct.convert(traced, inputs=inputs, **units, **CONVERSION)
        fused = len(ane_rms.report(through_us).fused)
        same = through_us.get_spec().mlProgram == plain.get_spec().mlProgram
        results[name] = fused, same
        print(f"{name:15}{fused:<7}{'as ct.convert makes it' if same else 'fused and lowered'}")
        expected = (1, False) if name == "CPU_AND_NE" else (0, True)
        claim(results[name] == expected, f"{name}: only CPU_AND_NE changes the program")
    return results


if __name__ == "__main__":
    main()

"""Find the first op at which a program goes wrong under a float16 policy.

The program is run twice on the same tokens: under the policy, and with every value kept in float32. Its ops run in the
same order both times. The output is lost at the first op whose value is sound in float32 and wrong under the policy.
Only a few figures of each value are kept, so a large model's trace takes little memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ane_rms import mil
from ane_rms.passes.strategies import STRATEGIES
from harness.interpreter.precision import POLICIES
from harness.measure import metrics
from harness.measure.feed import MASKED, feed
from harness.measure.model_precision import executors_of
from harness.records.outcomes import FINE_REL_L2, NOT_FINITE, outcome_of, rank

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.convert.conversion import Converted
    from harness.interpreter.program import Op
    from harness.measure.model_precision import Trial

SAMPLED = 4096
"""Number of elements kept of each value, evenly spaced."""

NORMAL = 6.2e-5
"""Float16's smallest normal number; a row below it may become zeros without being counted as lost."""

ACCUMULATING = ("layer_norm", "l2_norm", "reduce_mean", "reduce_sum", "reduce_sum_square", "reduce_l2_norm")
"""Ops whose sums may exceed float16 although their inputs and results do not."""


@dataclass(frozen=True, slots=True)
class FirstSite:
    """The op at which a program goes wrong."""

    name: str
    """The value's name in the program."""
    op_type: str
    module: str
    """Path of the torch module it came from; empty if coremltools does not know it."""
    fault: str
    """``infinite``, ``NaN``, ``zeros`` or ``deviation``."""
    largest: float
    """Largest magnitude of the value in float32."""

    def sentence(self, policy: str, left: str = "") -> str:
        """Return the finding and its mend as one clause.

        Parameters
        ----------
        policy: that of the run.
        left: why ``--rescale auto`` left values above float16 as they are; empty if it did not.
        """
        layer = next((f"layer {part}, " for part in self.module.split(".") if part.isdecimal()), "")
        place = f"{layer}{self.module} ({self.op_type} {self.name})" if self.module else f"{self.op_type} {self.name}"
        what = {
            "infinite": "its value is infinite",
            "NaN": "its value is NaN",
            "zeros": "rows of its value are all zeros",
            "deviation": "its value leaves float32's",
        }[self.fault]
        reached, mend = f"{self.largest:,.4g}", self.mend(policy, left)
        return f"it goes wrong first at {place}: {what}, in float32 it reaches {reached}; {mend}"

    def mend(self, policy: str, left: str = "") -> str:
        """Return the mend to try."""
        if self.op_type in ACCUMULATING and POLICIES[policy].narrow:
            names = " or ".join(name for name, one in STRATEGIES.items() if one.rescales_rows)
            return f"a sum exceeds float16 within this op: --lowering {names} keeps it in range"
        if self.largest < NORMAL:
            return "float16's smallest normal number is 6.1e-05: larger weights keep the values above it"
        if left:
            return f"float16 ends at 65,504, and --rescale auto does not change it: {left}"
        return "float16 ends at 65,504: --rescale auto keeps the values below it"


@dataclass(slots=True)
class _Trace:
    """A few figures of each float value that the ops of one run made, in order."""

    entries: list[tuple[Op, str, dict[str, Any]]]

    def __call__(self, op: Op, _inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        for name, value in outputs.items():
            if isinstance(value, torch.Tensor) and value.is_floating_point() and value.numel():
                self.entries.append((op, name, _figures(value)))


def _figures(value: torch.Tensor) -> dict[str, Any]:
    magnitude = value.abs()
    rows = magnitude.amax(-1) if value.dim() else magnitude
    flat = value.reshape(-1)
    return {
        "nan": bool(value.isnan().any()),
        "infinite": bool(value.isinf().any()),
        "largest": float(torch.nan_to_num(magnitude, nan=0.0, posinf=0.0).max()),
        "rows": rows.reshape(-1).float(),
        "sample": flat[:: max(1, flat.numel() // SAMPLED)].float(),
    }


def first_site(trial: Trial, model: Converted | str, policy: str) -> FirstSite | None:
    """Return the first op that goes wrong on the run whose output is worst; None if no op does.

    Parameters
    ----------
    trial: the runs, with float32 PyTorch's logits.
    model: the converted model, whose ops record their torch modules, or a package's path, which has no modules.
    policy: the executor's precision policy.
    """
    number, outcome = _worst_run(trial, model, policy)
    narrow, wide = (_traced(trial, model, one, number) for one in (policy, "fp32"))
    pairs = [(op, name, a, b) for (op, name, a), (_, other, b) in zip(narrow, wide, strict=False) if name == other]
    found = _first(pairs, finite_alone=outcome == NOT_FINITE) or _first(pairs, finite_alone=False)
    if found is None:
        return None
    op, name, fault, largest = found
    modules = {} if isinstance(model, str) else _modules(model)
    return FirstSite(name, op.op_type, modules.get(name, ""), fault, largest)


def _worst_run(trial: Trial, model: Converted | str, policy: str) -> tuple[int, str]:
    executors = executors_of(trial, model, policy)
    outcomes = []
    for tokens, logits in zip(trial.runs, trial.expected, strict=True):
        positions, actual = feed(executors, trial.shape, tokens)
        outcomes.append(outcome_of(metrics.measure(logits[positions], actual)))
    number = int(np.argmax([rank(outcome) for outcome in outcomes]))
    return number, outcomes[number]


def _traced(trial: Trial, model: Converted | str, policy: str, number: int) -> list[tuple[Op, str, dict[str, Any]]]:
    from contextlib import ExitStack

    executors = executors_of(trial, model, policy)
    trace = _Trace([])
    with ExitStack() as stack:
        for executor in executors.values():
            stack.enter_context(executor.listening(trace))
        feed(executors, trial.shape, trial.runs[number])
    return trace.entries


def _first(pairs: list[tuple[Op, str, Any, Any]], *, finite_alone: bool) -> tuple[Op, str, str, float] | None:
    for op, name, narrow, wide in pairs:
        if wide["nan"] or wide["infinite"] or wide["largest"] >= MASKED:
            continue
        fault = _fault(narrow, wide, finite_alone=finite_alone)
        if fault:
            return op, name, fault, wide["largest"]
    return None


def _fault(narrow: Mapping[str, Any], wide: Mapping[str, Any], *, finite_alone: bool) -> str:
    if narrow["nan"]:
        return "NaN"
    if narrow["infinite"]:
        return "infinite"
    if finite_alone:
        return ""
    if narrow["rows"].shape == wide["rows"].shape and bool(((narrow["rows"] == 0) & (wide["rows"] > NORMAL)).any()):
        return "zeros"
    a, b = wide["sample"].double(), narrow["sample"].double()
    size = float(a.norm())
    return "deviation" if a.shape == b.shape and size > 0 and float((b - a).norm()) > FINE_REL_L2 * size else ""


def _modules(model: Converted) -> dict[str, str]:
    """Return the torch module of each value. An op without one, made by a pass, has that of the op before it."""
    from harness.convert.conversion import iterate_ops

    found: dict[str, str] = {}
    for one in model.models.values():
        program = one._mil_program  # noqa: SLF001 - the only way to the program of a converted model
        last = ""
        for function in program.functions.values() if program is not None else ():
            for op in iterate_ops(function):
                if op.op_type == "const":
                    continue
                last = mil.module_path(op) or last
                found.update((output.name, last) for output in op.outputs)
    return found

"""Name the op at which a program of unfused norms collapses, at the cost of two partial runs.

The sum of squares of an unfused norm overflows float16 from 256 a value on: the first value that is infinite under the
policy, although the op's inputs are finite and float32 holds the value, is where the output is lost. Each run ends at
that op. The search of :mod:`harness.measure.first_site` over whole traces is done only
if no value overflows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from harness.interpreter.program import references
from harness.measure.feed import MASKED, feed
from harness.measure.model_precision import executors_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy as np

    from harness.convert.conversion import Converted
    from harness.interpreter.program import Op
    from harness.measure.model_precision import Trial
    from harness.records.schema import SiteRecord
    from harness.runtime.reference import ReferenceExecutor

SQUARING = ("square", "pow", "reduce_mean", "reduce_sum", "reduce_sum_square", "reduce_l2_norm")
"""The ops that take and add a norm's squares; `mul` of a value with itself does as well."""

WITHIN = {*SQUARING, "add", "cast", "inverse", "maximum", "mul", "real_div", "rsqrt", "sqrt"}
"""The ops that a norm is made of."""


class _FoundError(Exception):
    """Ends a run at an op. It is raised by a listener and never leaves this module."""

    def __init__(self, op: Op, value: torch.Tensor) -> None:
        super().__init__(op.name)
        self.op, self.value = op, value


class _Overflow:
    """Ends a run at the first op that makes an infinite value from finite ones."""

    def __init__(self, masks: set[str]) -> None:
        self._masks = masks

    def __call__(self, op: Op, inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        lost = next((value for value in outputs.values() if not _finite(value)), None)
        if lost is not None and op.name not in self._masks and all(map(_finite, _flat(inputs))):
            raise _FoundError(op, lost)


class _At:
    """Ends a run at an op of a given name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, op: Op, _inputs: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        if op.name == self._name:
            raise _FoundError(op, next(iter(outputs.values())))


def collapse_sentence(trial: Trial, model: Converted | str, policy: str, sites: Sequence[SiteRecord]) -> str:
    """Return the sentence on the first op that breaks; it says so if no op breaks by itself.

    Parameters
    ----------
    trial: the runs, with float32 PyTorch's logits.
    model: the converted model, or a package's path.
    policy: the executor's precision policy.
    sites: the program's norms, each with the name of its result.
    """
    from harness.measure.first_site import first_site  # needs the converter, which a cached row does without

    executors, wide = executors_of(trial, model, policy), executors_of(trial, model, "fp32")
    for tokens in trial.runs:
        found = _overflow(executors, wide, trial, tokens)
        if found is not None:
            op, largest = found
            return f"collapses first at {_place(executors, op, sites)} (in float32 it reaches {largest:,.4g})"
    site = first_site(trial, model, policy)
    return f"collapses: {site.sentence(policy) if site else 'no op of the program leaves float32 by itself'}"


def _overflow(
    narrow: Mapping[str, ReferenceExecutor],
    wide: Mapping[str, ReferenceExecutor],
    trial: Trial,
    tokens: np.ndarray[Any, Any],
) -> tuple[Op, float] | None:
    """Return the first op whose result overflows, and its largest magnitude in float32; None if none does."""
    masks: set[str] = set()
    while (found := _stopped(narrow, trial, tokens, _Overflow(masks))) is not None:
        held = _stopped(wide, trial, tokens, _At(found.op.name))
        largest = float(held.value.abs().max()) if held is not None else float("nan")
        if largest < MASKED:
            return found.op, largest
        masks.add(found.op.name)  # an attention mask, or a value that float32 does not hold either
    return None


def _stopped(
    executors: Mapping[str, ReferenceExecutor], trial: Trial, tokens: np.ndarray[Any, Any], listener: _Overflow | _At
) -> _FoundError | None:
    """Run the tokens until the listener ends the run; None if it does not."""
    from contextlib import ExitStack

    with ExitStack() as stack:
        for executor in executors.values():
            stack.enter_context(executor.listening(listener))
        try:
            feed(executors, trial.shape, tokens)
        except _FoundError as found:
            return found
    return None


def _place(executors: Mapping[str, ReferenceExecutor], op: Op, sites: Sequence[SiteRecord]) -> str:
    """Return the op's place and its fault, with the norm that it belongs to if it makes the norm's squares."""
    site = _norm_of(executors, op, sites) if _squares(op) else None
    if site is None:
        return f"{op.op_type} {op.name}: its value overflows float16"
    layer = next((f"layer {part}, " for part in site.module.split(".") if part.isdecimal()), "")
    norm = site.module or f"norm {site.name}"  # torch.export names no modules
    return f"{layer}{norm} ({op.op_type} {op.name}): the norm's sum of squares overflows float16"


def _squares(op: Op) -> bool:
    read = list(references(op))
    return op.op_type in SQUARING or (op.op_type == "mul" and len(read) > len(set(read)))


def _norm_of(executors: Mapping[str, ReferenceExecutor], op: Op, sites: Sequence[SiteRecord]) -> SiteRecord | None:
    """Return the first norm whose result is computed from the op's by nothing but the ops of a norm."""
    by_name = {site.name: site for site in sites}
    reached = {op.name}
    for executor in executors.values():
        for later in executor.operations():
            if later.op_type in WITHIN and not reached.isdisjoint(references(later)):
                reached.add(later.name)
                if later.name in by_name:
                    return by_name[later.name]
    return None


def _flat(inputs: Mapping[str, Any]) -> Iterator[Any]:
    for value in inputs.values():
        yield from value if isinstance(value, tuple | list) else (value,)


def _finite(value: Any) -> bool:
    return not (isinstance(value, torch.Tensor) and value.is_floating_point()) or bool(value.isfinite().all())

"""What the passes cost: their share of a conversion, and how that grows with the number of layers.

The model is transformers' Llama at the zoo's small width, which is hard on the passes: they work on ops, while most of
what a wide model costs coremltools is spent on its weights. Ratios within one run, never absolute times. Run with
``pytest -m "bench and slow"``.
"""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

import ane_rms
from ane_rms.pipeline import EXPAND, FUSE, LOWER, RESCALE, RESTORE
from harness.convert import torch_ops
from harness.export import export
from harness.zoo.catalog import load_zoo
from tests.mil_tools import NE, options

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.bench, pytest.mark.slow]

OURS = (FUSE, RESCALE, LOWER, EXPAND, RESTORE)
SHARE = 0.02
RESCALE_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of one conversion: each of our passes, and all of it."""

    passes: dict[str, float]
    total: float

    @property
    def ours(self) -> float:
        """Our passes together."""
        return sum(self.passes.values())

    @property
    def share(self) -> float:
        """Our passes as a share of all."""
        return self.ours / self.total


@contextmanager
def timed_passes() -> Iterator[defaultdict[str, float]]:
    """Add up the CPU seconds that each of our passes takes."""
    spent: defaultdict[str, float] = defaultdict(float)
    with pytest.MonkeyPatch.context() as patch:
        for name in OURS:
            kind = PASS_REGISTRY.passes[name]

            def timed(self, program, apply=kind.apply, name=name):
                start = time.process_time()
                apply(self, program)
                spent[name] += time.process_time() - start

            patch.setattr(kind, "apply", timed)
        yield spent


def conversions(layers: int, times: int, **more: Any) -> list[Cost]:
    """Return what converting one Llama of so many layers costs, again and again."""
    llama = load_zoo()["llama"]
    exported = export(msgspec.structs.replace(llama, quick=llama.quick | {"num_hidden_layers": layers}))
    costs = []
    for _ in range(times):
        with timed_passes() as spent, torch_ops.registered():
            start = time.process_time()
            converted = ane_rms.convert(exported.program, inputs=exported.ct_inputs(), **options(NE), **more)
            total = time.process_time() - start
        assert len(ane_rms.report(converted).fused) == 2 * layers + 1
        costs.append(Cost(dict(spent), total))
    return costs


def test_the_passes_are_a_small_share_of_a_conversion(capsys):
    conversions(2, 1)  # warm
    costs = conversions(16, 5)
    middle = sorted(costs, key=lambda cost: cost.share)[len(costs) // 2]
    with capsys.disabled():
        parts = ", ".join(f"{name.split('::')[1]} {one / middle.total:.2%}" for name, one in middle.passes.items())
        print(f"\n16 layers: {middle.share:.2%} of the conversion ({parts})")  # noqa: T201 - the figure is the result
    assert statistics.median(cost.share for cost in costs) < SHARE


@pytest.mark.parametrize("lean", [False, True])
def test_a_rescale_by_a_factor_is_a_small_share_of_a_conversion(lean, capsys):
    conversions(2, 1, lean=lean, rescale=0.125)  # warm
    costs = conversions(16, 7, lean=lean, rescale=0.125)
    share = statistics.median(cost.passes[RESCALE] / cost.total for cost in costs)
    with capsys.disabled():
        print(f"\n16 layers, lean {lean}: the rescale is {share:.2%} of the conversion")  # noqa: T201
    assert share < RESCALE_SHARE


def test_their_cost_grows_linearly(capsys):
    counts = (8, 16, 32, 64, 128)
    conversions(2, 1)
    spent = [min(cost.ours for cost in conversions(layers, 2)) for layers in counts]
    exponent = float(np.polyfit(np.log(counts), np.log(spent), 1)[0])
    with capsys.disabled():
        per_layer = ", ".join(f"{n}: {one / n / (spent[0] / 8):.2f}" for n, one in zip(counts, spent, strict=True))
        print(f"\ncost a layer against 8 layers: {per_layer}; exponent {exponent:.2f}")  # noqa: T201
    assert exponent < 1.15

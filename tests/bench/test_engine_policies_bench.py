"""Time of the Neural Engine's policies over that of ``fp16``, on one layer of a small language model.

Rounds are interleaved in one process, and the median of the rounds' ratios is held against the limit. Run with
``pytest -s -m bench tests/bench/test_engine_policies_bench.py``, which prints the ratios.
"""

from __future__ import annotations

import statistics
import sys
import time
from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.interpreter import ReferenceModel

pytestmark = pytest.mark.bench

LIMIT = 2.0
ROUNDS = 15


def layer(width: int, inner: int) -> Any:
    """Return a program of a norm, attention with a rotary half, and a gated product."""
    generator = np.random.default_rng(0)

    def weight(*shape: int) -> Any:
        return (generator.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float16)

    @mb.program(input_specs=[mb.TensorSpec((1, 32, width), dtype=types.fp16)], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        row = mb.concat(values=[x, mb.mul(x=x, y=np.float16(-1))], axis=-1)
        normal = mb.layer_norm(x=row, axes=[-1], epsilon=np.float16(1e-5))
        normal = mb.slice_by_index(x=normal, begin=[0, 0, 0], end=[1, 32, width])
        query, key, value = (mb.linear(x=normal, weight=weight(width, width)) for _ in range(3))
        half = mb.slice_by_index(x=query, begin=[0, 0, width // 2], end=[1, 32, width])
        first = mb.slice_by_index(x=query, begin=[0, 0, 0], end=[1, 32, width // 2])
        turned = mb.concat(values=[mb.mul(x=half, y=np.float16(-1)), first], axis=-1)
        scores = mb.softmax(x=mb.matmul(x=turned, y=key, transpose_y=True))
        x = mb.add(x=x, y=mb.matmul(x=scores, y=value))
        gate = mb.sigmoid(x=mb.linear(x=x, weight=weight(inner, width)))
        return mb.linear(x=mb.mul(x=gate, y=mb.linear(x=x, weight=weight(inner, width))), weight=weight(width, inner))

    return program


@pytest.mark.parametrize("policy", ["ane-m1", "ane-m5"])
@pytest.mark.parametrize(("width", "inner"), [(64, 128), (576, 1536)])
def test_a_policy_takes_at_most_twice_the_time_of_float16(policy, width, inner):
    program = layer(width, inner)
    x = np.random.default_rng(1).standard_normal((1, 32, width)).astype(np.float16)
    models = [ReferenceModel(program, name) for name in ("fp16", policy)]
    ratios = []
    for _ in range(ROUNDS):
        seconds = []
        for model in models:
            begin = time.perf_counter()
            model.predict({"x": x})
            seconds.append(time.perf_counter() - begin)
        ratios.append(seconds[1] / seconds[0])
    ratio = statistics.median(ratios)
    sys.stdout.write(f"\n{policy} at width {width}: {ratio:.2f} times fp16 (limit {LIMIT})\n")
    assert ratio <= LIMIT, f"{policy} takes {ratio:.2f} times as long as fp16"

"""The names and numbers of shapes."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.plan import shapes
from harness.plan.shapes import Shape


@pytest.mark.parametrize(
    ("text", "kind", "length"),
    [("prefill", "prefill", 32), ("prefill:64", "prefill", 64), ("decode:1", "decode", 1), ("both:2", "both", 2)],
)
def test_a_shape_is_read(text, kind, length):
    shape = shapes.parse(text)
    assert (shape.kind, shape.length) == (kind, length)
    assert shapes.parse(str(shape)) == shape


@pytest.mark.parametrize(
    "text",
    [
        *("prefil", "", ":64", "prefill:", "prefill:0", "prefill:-1", "prefill:6.4", "both:1", "decode:32769"),
        *("decode:1:2", "prefill: 64", "prefill:\u0663", "prefill:99999999999999999999"),
    ],
)
def test_anything_else_is_refused_in_a_line(text):
    with pytest.raises(HarnessError) as error:
        shapes.parse(text)
    assert "\n" not in str(error.value)


def test_what_each_function_takes():
    assert Shape("prefill", 9).queries() == {"main": 9}
    assert Shape("decode", 9).queries() == {"main": 1}
    assert Shape("both", 9).queries() == {"prefill": 4, "decode": 1}

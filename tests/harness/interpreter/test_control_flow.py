"""cond, while_loop and lists, from both loaders, against plain Python."""

from __future__ import annotations

from typing import Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.interpreter import ReferenceModel


def both(program: Any) -> list[ReferenceModel]:
    """Load a program live and as a package."""
    package = ct.convert(program, compute_precision=ct.precision.FLOAT32, skip_model_load=True)
    return [ReferenceModel(program), ReferenceModel(package)]


@pytest.mark.parametrize(("sign", "expected"), [(1.0, [11.0, 12.0]), (-1.0, [2.0, 4.0])])
def test_cond_takes_one_branch(sign: float, expected: list[float]) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2,)), mb.TensorSpec((1,))])
    def prog(x: Any, s: Any) -> Any:
        positive = mb.squeeze(x=mb.greater(x=s, y=0.0))
        return mb.cond(pred=positive, _true_fn=lambda: mb.add(x=x, y=10.0), _false_fn=lambda: mb.mul(x=x, y=2.0))

    for model in both(prog):
        (result,) = model.predict({"x": np.array([1.0, 2.0]), "s": np.array([sign])}).values()
        np.testing.assert_array_equal(result, expected)


def test_while_loop_carries_values() -> None:
    @mb.program(input_specs=[mb.TensorSpec((1,), dtype=types.int32), mb.TensorSpec((2,))])
    def prog(n: Any, x: Any) -> Any:
        def cond(i: Any, total: Any) -> Any:
            del total
            return mb.squeeze(x=mb.less(x=i, y=n))

        def body(i: Any, total: Any) -> Any:
            return mb.add(x=i, y=1), mb.add(x=total, y=x)

        _, total = mb.while_loop(_cond=cond, _body=body, loop_vars=(np.array([0], np.int32), mb.mul(x=x, y=0.0)))
        return total

    for model in both(prog):
        for count in (0, 1, 5):
            (result,) = model.predict({"n": np.array([count]), "x": np.array([1.5, -2.0])}).values()
            np.testing.assert_allclose(result, [1.5 * count, -2.0 * count])


def test_lists_are_written_and_gathered() -> None:
    @mb.program(input_specs=[mb.TensorSpec((2,))])
    def prog(x: Any) -> Any:
        ls = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(2,))
        ls = mb.list_write(ls=ls, index=0, value=x)
        ls = mb.list_write(ls=ls, index=2, value=mb.mul(x=x, y=3.0))
        ls = mb.list_scatter(ls=ls, indices=[1], value=mb.expand_dims(x=mb.add(x=x, y=1.0), axes=[0]))
        return mb.list_gather(ls=ls, indices=[2, 0, 1]), mb.list_read(ls=ls, index=1), mb.list_length(ls=ls)

    for model in both(prog)[:1]:
        gathered, read, length = model.predict({"x": np.array([1.0, 2.0])}).values()
        np.testing.assert_array_equal(gathered, [[3.0, 6.0], [1.0, 2.0], [2.0, 3.0]])
        np.testing.assert_array_equal(read, [2.0, 3.0])
        assert length == 3


def test_select_broadcasts(run_op: Any) -> None:
    cond = np.array([[True], [False]])
    result = run_op(
        "select", cond=run_op.variable(cond), a=np.array([1.0, 2.0], np.float32), b=np.float32(9.0), out="fp32"
    )
    assert result.tolist() == [[1.0, 2.0], [9.0, 9.0]]

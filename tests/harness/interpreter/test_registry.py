"""Registration, look-up by opset, and the checks made before anything runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness.errors import ExecutorError, UnsupportedOpError
from harness.interpreter.registry import find, impl


def test_a_second_registration_is_an_error() -> None:
    find("relu", 18, "here")
    with pytest.raises(ValueError, match="relu since iOS13 is registered already"):
        impl("relu")(lambda x: x)


def test_the_newest_version_up_to_the_opset_is_found() -> None:
    assert find("reshape", 16, "here").function.__name__ == "reshape"
    assert find("reshape", 17, "here").function.__name__ == "reshape_from_the_right"
    assert find("reshape", 18, "here").function.__name__ == "reshape_from_the_right"
    with pytest.raises(UnsupportedOpError, match="quantize"):
        find("quantize", 16, "here")


def test_an_unknown_op_names_its_place_and_its_neighbours(run_op: Any) -> None:
    x = run_op.variable(np.zeros(2, np.float32))
    with pytest.raises(UnsupportedOpError, match=r"op 'y0' \(reduce_men\) of function 'main': unknown op.*reduce_mean"):
        run_op("reduce_men", x=x)


def test_parameters_are_checked_at_load_time(run_op: Any) -> None:
    x = run_op.variable(np.zeros(2, np.float32))
    with pytest.raises(ExecutorError, match="unknown parameter foo; missing parameter y"):
        run_op("add", x=x, foo=1.0)


def test_an_op_that_cannot_take_its_values_is_named(run_op: Any) -> None:
    x, y = (run_op.variable(np.zeros(n, np.float32)) for n in (2, 3))
    with pytest.raises(ExecutorError, match=r"op 'y0' \(add\): The size of tensor"):
        run_op("add", x=x, y=y)

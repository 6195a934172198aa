"""One norm's error by width, and the option that names the widths."""

from __future__ import annotations

import numpy as np
import pytest

from harness.cli.regimes import _widths
from harness.errors import ArgumentError
from harness.measure.input_regimes import REGIMES, measure, wide_rows


def test_each_width_is_measured_with_float16s_own_rounding_before_it():
    found = list(measure(["l2_norm"], ["ane-m1"], [8, 64]))
    assert [(one.lowering, one.width) for one in found] == [
        ("(rounding)", 8), ("l2_norm", 8), ("(rounding)", 64), ("l2_norm", 64)
    ]  # fmt: skip
    for one in found:
        assert all(error is not None and error < 0.01 for error in one.by_regime.values()), one


@pytest.mark.parametrize("regime", REGIMES)
def test_rows_of_every_regime_fit_float16(regime):
    assert np.isfinite(wide_rows(regime, 64).astype(np.float16)).all()


@pytest.mark.parametrize("given", ["7", "32769", "64,wide", "-64", "64,"])
def test_a_width_out_of_range_is_named(given):
    with pytest.raises(ArgumentError, match="--width"):
        _widths(given)


def test_widths_are_taken_once_each():
    assert _widths("64,128,64") == [64, 128]
    assert _widths(None) == [2048]

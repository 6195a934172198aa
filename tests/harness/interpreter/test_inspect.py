"""Where two programs part, what collapsed, and saved intermediates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.errors import OutputError
from harness.interpreter import ReferenceModel
from harness.interpreter.inspect import compare, record

if TYPE_CHECKING:
    from pathlib import Path

ROW = np.full((2, 64), 0.5, np.float16)
ROW[0, 3] = 300.0


def rms_program(*, broken: bool = False) -> Any:
    """Return an RMSNorm in separate float16 ops, with one factor wrong on demand."""

    @mb.program(input_specs=[mb.TensorSpec((2, 64), dtype=types.fp16)], opset_version=ct.target.iOS17)
    def prog(x: Any) -> Any:
        square = mb.mul(x=x, y=x, name="square")
        mean = mb.reduce_mean(x=square, axes=[-1], keep_dims=True, name="mean")
        root = mb.rsqrt(x=mb.mul(x=mean, y=np.float16(4.0 if broken else 1.0), name="scaled"), name="root")
        return mb.mul(x=x, y=root, name="y")

    return prog


def test_a_collapsed_row_and_its_overflow_are_counted() -> None:
    records = {r.name: r for r in record(ReferenceModel(rms_program(), "fp16"), {"x": ROW}).records}
    assert records["square"].statistics.overflows == 1
    assert records["mean"].statistics.overflows == 0  # its input was infinite already
    assert records["y"].statistics.collapsed_rows == 1
    assert records["y"].statistics.dtype == "float16"
    assert records["square"].statistics.nans == 0


def test_the_first_op_that_differs_is_found() -> None:
    model, broken = ReferenceModel(rms_program(), "fp32"), ReferenceModel(rms_program(broken=True), "fp32")
    found = compare(model, broken, {"x": ROW})
    assert found.parted is not None
    assert found.parted.first.name == "scaled"
    assert found.parted.rel_l2 == pytest.approx(3.0)  # 4 m instead of m
    assert [d.first.name for d in found.worst] == ["scaled", "root", "y"]
    assert [d.first.name for d in found.pairs] == ["square", "mean", "scaled", "root", "y"]
    assert found.unpaired == ()


def test_equal_models_do_not_part() -> None:
    model = ReferenceModel(rms_program(), "fp16")
    assert compare(model, model, {"x": ROW}, tolerance=0.0).parted is None


def test_policies_part_where_float16_overflows() -> None:
    wide, narrow = ReferenceModel(rms_program(), "fp32"), ReferenceModel(rms_program(), "fp16")
    found = compare(wide, narrow, {"x": ROW})
    assert found.parted is not None
    assert (found.parted.first.name, found.parted.second.statistics.overflows) == ("square", 1)


def test_values_under_other_names_are_paired_by_type_and_shape() -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 64), dtype=types.fp16)], opset_version=ct.target.iOS17)
    def renamed(x: Any) -> Any:
        return mb.mul(x=x, y=x, name="elsewhere")

    found = compare(ReferenceModel(rms_program()), ReferenceModel(renamed), {"x": ROW})
    assert [(d.first.name, d.second.name) for d in found.pairs] == [("square", "elsewhere")]
    assert set(found.unpaired) == {"mean", "scaled", "root", "y"}


def test_intermediates_are_saved(tmp_path: Path) -> None:
    recorder = record(ReferenceModel(rms_program(), "fp16"), {"x": ROW})
    recorder.save(tmp_path / "values.npz")
    with np.load(tmp_path / "values.npz") as saved:
        assert set(saved) == {"square", "mean", "scaled", "root", "y"}
        np.testing.assert_array_equal(saved["square"][1], np.full(64, 0.25))
    with pytest.raises(OutputError, match="cannot be written"):
        recorder.save(tmp_path / "missing" / "values.npz")

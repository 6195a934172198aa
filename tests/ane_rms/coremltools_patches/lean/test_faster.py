"""The faster functions: the answers, errors and constants of coremltools' own."""

from __future__ import annotations

import numpy as np
import pytest
import sympy
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from coremltools.converters.mil.mil.ops.defs.iOS15.control_flow import Const
from coremltools.converters.mil.mil.types import symbolic, type_mapping

from ane_rms.coremltools_patches.lean import leaner

SYMBOL = sympy.Symbol("s")
VALUES = [
    0,
    True,
    2.5,
    "s",
    None,
    np.float32(1),
    np.int64(3),
    np.bool_(1),
    (),
    (1, 2),
    (1, SYMBOL),
    [SYMBOL],
    SYMBOL,
    SYMBOL + 1,
    np.zeros((2, 3)),
    np.zeros(()),
    np.array(SYMBOL),
    np.array([1, SYMBOL]),
    ((1, 2), (3, SYMBOL)),
    ["a", ("b", 1)],
    {"a": SYMBOL},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_symbols_are_found_alike(value):
    expected = symbolic.any_symbolic(value)
    with leaner():
        assert symbolic.any_symbolic(value) is expected


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "i1", "i4", "i8", "u2", "?", "c8", "O", "U3"])
def test_element_types_are_found_alike(dtype):
    expected = type_mapping.numpy_type_to_builtin_type(np.dtype(dtype))
    with leaner():
        for _ in range(2):
            assert type_mapping.numpy_type_to_builtin_type(np.dtype(dtype)) is expected


def test_types_below_a_byte_are_told_from_the_byte_that_holds_them():
    held = types.np_uint4_dtype
    with leaner():
        assert type_mapping.numpy_type_to_builtin_type(np.dtype("u1")) is types.uint8
        assert type_mapping.numpy_type_to_builtin_type(held) is types.uint4
        assert type_mapping.numpy_type_to_builtin_type(np.dtype("u1")) is types.uint8


CONSTANTS = [
    True,
    3,
    -(2**40),
    2**40,
    0.1,
    1e300,
    "fp16",
    np.float16(1),
    np.float32(0.1),
    np.float64(0.1),
    np.int32(3),
    np.int64(2**40),
    np.bool_(0),
    np.uint8(3),
    np.arange(3),
    np.arange(3) * 0.1,
    np.float32([[1]]),
    np.zeros((0, 2), np.float16),
    np.array(2.0),
    np.ones(3, ">f4"),
    [1, 2],
    (1.5, 2),
    np.array([True]),
    np.complex64([1j]),
]


def made(value):
    """Return what a program holds of a constant: its type, and its value with the value's own type."""
    with np.errstate(over="ignore"):

        @mb.program(input_specs=[mb.TensorSpec(shape=(1,))])
        def main(x):
            mb.const(val=value, name="c")
            return mb.identity(x=x)

    var = next(op for op in main["main"].operations if op.op_type == "const").outputs[0]
    return type(var), var.sym_type, type(var.val), getattr(var.val, "dtype", None), str(var.val), var.name


@pytest.mark.parametrize("value", CONSTANTS, ids=repr)
def test_a_constant_has_the_same_type_and_value(value):
    expected = made(value)
    with leaner():
        assert made(value) == expected


def test_a_constant_is_refused_alike():
    one = made(1)  # noqa: F841 - coremltools' first program sets up its tables
    for _ in range(2):
        with leaner(), pytest.raises(ValueError, match="Unknown value for constant"):
            Const._get_type_val(object.__new__(Const), object())
    with pytest.raises(ValueError, match="Unknown value for constant"):
        Const._get_type_val(object.__new__(Const), object())


def chain():
    @mb.program(input_specs=[mb.TensorSpec(shape=(1, 4))])
    def main(x):
        y = mb.add(x=x, y=x)
        z = mb.mul(x=y, y=np.float32(2))
        return mb.sub(x=z, y=y)

    return main["main"]


def op_of(block, kind):
    return next(op for op in block.operations if op.op_type == kind)


def forget_a_use(block):
    op_of(block, "add").outputs[0]._child_ops.pop()


def note_a_use_too_many(block):
    op_of(block, "add").outputs[0]._child_ops.append(op_of(block, "sub"))


def note_a_use_that_is_none(block):
    op_of(block, "mul").outputs[0]._child_ops.append(op_of(block, "add"))


def use_before_it_is_made(block):
    add, sub = op_of(block, "add"), op_of(block, "sub")
    add._input_vars["y"], sub_y = sub.outputs[0], add.x
    sub_y._child_ops.remove(add)
    sub.outputs[0]._child_ops.append(add)


def forget_the_block_of_an_output(block):
    block.outputs[0].consuming_blocks.clear()


def name_a_block_that_has_it_not(block):
    op_of(block, "add").outputs[0].consuming_blocks.append(block)


def forget_an_internal_value(block):
    block._internal_vars.pop()


def lose_an_output(block):
    op_of(block, "mul")._output_vars = None


BREAKS = [
    forget_a_use,
    note_a_use_too_many,
    note_a_use_that_is_none,
    use_before_it_is_made,
    forget_the_block_of_an_output,
    name_a_block_that_has_it_not,
    forget_an_internal_value,
    lose_an_output,
]


def said(block):
    try:
        block.validate(force_validate=True)
    except Exception as error:  # noqa: BLE001 - whatever coremltools raises is compared
        return type(error).__name__, str(error)
    return "", ""


@pytest.mark.parametrize("break_", BREAKS, ids=lambda break_: break_.__name__)
def test_a_broken_block_is_refused_alike(break_):
    block = chain()
    break_(block)
    expected = said(block)
    assert expected[0]
    with leaner():
        assert said(block) == expected


def test_a_sound_block_passes_without_coremltools_own_walk(monkeypatch):
    block = chain()
    with leaner():
        monkeypatch.setattr(type(block), "_check_vars_visibility_in_block", None)
        block.validate(force_validate=True)


def test_ops_without_scopes_are_refused_alike():
    block = chain()
    block._add_essential_scope_source("a source")
    with pytest.raises(ValueError, match="missing essential scopes a source"):
        block.validate(force_validate=True, check_essential_scope=True)
    with leaner(), pytest.raises(ValueError, match="missing essential scopes a source"):
        block.validate(force_validate=True, check_essential_scope=True)

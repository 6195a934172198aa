"""Formulas are integer arithmetic on known names, and nothing else gets through."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.zoo import formula

VALUES = {"L": 28, "A": 6}

EXPRESSIONS = st.recursive(
    st.sampled_from(["L", "A"]) | st.integers(0, 99).map(str),
    lambda inner: st.tuples(inner, st.sampled_from(["+", "-", "*", "//"]), inner).map(
        lambda parts: f"({' '.join(parts)})"
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("2*L + 1", 57), ("2*L + 2*A + 1", 69), ("(L - A)//2", 11), (" L ", 28), ("L - 4*7", 0)],
)
def test_evaluates(text: str, expected: int) -> None:
    assert formula.evaluate(text, VALUES) == expected


@given(EXPRESSIONS)
def test_agrees_with_python(text: str) -> None:
    try:
        expected = eval(text, {"__builtins__": {}}, dict(VALUES))  # noqa: S307  (made of arithmetic only, above)
    except ZeroDivisionError:
        expected = -1
    if expected < 0:
        with pytest.raises(formula.FormulaError):
            formula.evaluate(text, VALUES)
    else:
        assert formula.evaluate(text, VALUES) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected a formula"),
        ("2*L +", "expected a formula"),
        ("L = 1", "expected a formula"),
        ("2*M", "unknown count 'M', known are A, L"),
        ("__import__('os')", "expected names, integers"),
        ("L.real", "expected names, integers"),
        ("L[0]", "expected names, integers"),
        ("2**L", "expected names, integers"),
        ("L/2", "expected names, integers"),
        ("1.5*L", "expected names, integers"),
        ("True + L", "expected names, integers"),
        ("lambda: 1", "expected names, integers"),
        ("L if A else 1", "expected names, integers"),
        ("1 // (L - 28)", "division by zero"),
        ("A - L", "negative"),
        ("\0", "expected a formula"),
        ("(" * 1000 + "L" + ")" * 1000, "at most 200 characters"),
    ],
)
def test_refuses(text: str, said: str) -> None:
    with pytest.raises(formula.FormulaError) as caught:
        formula.evaluate(text, VALUES)
    assert said in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_a_number_or_a_formula_error(text: str) -> None:
    with contextlib.suppress(formula.FormulaError):
        assert formula.evaluate(text, VALUES) >= 0


def test_names() -> None:
    assert formula.names("2*L + A//2") == {"L", "A"}


def test_count_reads_an_integer_field() -> None:
    assert formula.count("num_layers", {"num_layers": 12}.__getitem__) == 12


def test_count_counts_a_value() -> None:
    types = {"layer_types": ["conv", "full_attention", "conv"]}
    assert formula.count("layer_types == conv", types.__getitem__) == 2


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("layer_types", "expected layer_types to be an integer, got ['conv']"),
        ("num_layers == 3", "expected num_layers to be a list, got 12"),
        ("flag", "expected flag to be an integer, got True"),
    ],
)
def test_count_refuses_the_wrong_kind(rule: str, said: str) -> None:
    fields = {"layer_types": ["conv"], "num_layers": 12, "flag": True}
    with pytest.raises(formula.FormulaError) as caught:
        formula.count(rule, fields.__getitem__)
    assert said in str(caught.value)

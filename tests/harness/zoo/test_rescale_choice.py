"""How a rescale is spelled."""

from __future__ import annotations

import pytest

from harness.errors import HarnessError
from harness.zoo.rescale_choice import factor, parse


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("auto", "auto"),
        ("off", "off"),
        ("0.125", "2^-3"),
        ("1/8", "2^-3"),
        ("2^-3", "2^-3"),
        ("2**4", "2^4"),
        ("1", "2^0"),
    ],
)
def test_spellings(text, choice):
    assert parse(text, "--rescale") == choice


def test_a_factor_is_a_number():
    assert factor("2^-3") == 0.125


@pytest.mark.parametrize("text", ["0.3", "0", "-2", "nan", "inf", "1/0", "", "2^-100", "on", "1e400"])
def test_anything_else_is_one_line(text):
    with pytest.raises(HarnessError, match=r"^--rescale .*: expected .*power of two") as error:
        parse(text, "--rescale")
    assert "\n" not in str(error.value)

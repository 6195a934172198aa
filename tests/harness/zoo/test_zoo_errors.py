"""A zoo file that cannot be used is refused in one line: the file, the key, what was expected."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import ZooFileError
from harness.zoo import catalog
from tests.fuzz import fuzz

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """\
title = "Llama 3"
architecture = "LlamaForCausalLM"
config_class = "LlamaConfig"
published = "meta-llama/Llama-3.2-1B"
tier = "quick"
norms = "2*L + 1"
gamma_seed = 1

[full]
hidden_size = 2048
num_hidden_layers = 16
num_attention_heads = 32

[quick]
hidden_size = 128
num_hidden_layers = 2
num_attention_heads = 4
"""

CASES = {
    "syntax": ("hidden_size = 128", "hidden_size =", "not valid TOML: Invalid value (at line 15, column 14)"),
    "twice": (
        "tier =",
        'title = "x"\ntier =',
        "not valid TOML: Cannot overwrite a value (at line 5, column 12)",
    ),
    "missing": ("gamma_seed = 1", "", "gamma_seed: missing"),
    "missing table": (GOOD[GOOD.index("[quick]") :], "", "quick: missing"),
    "table not opened": ("[full]", "", "hidden_size: no such key"),
    "type": ("gamma_seed = 1", "gamma_seed = '1'", "gamma_seed: expected an integer, got '1'"),
    "bool for integer": ("gamma_seed = 1", "gamma_seed = true", "gamma_seed: expected an integer, got True"),
    "rescale": (
        "tier =",
        'rescale = "3"\ntier =',
        "rescale: 3: expected auto, off, or a power of two such as 0.125 or 2^-3",
    ),
    "bool": ("tier =", "control = 1\ntier =", "control: expected true or false, got 1"),
    "string": ('"LlamaConfig"', "7", "config_class: expected a string, got 7"),
    "table": ("gamma_seed = 1", "gamma_seed = 1\ncounts = 1", "counts: expected a table, got 1"),
    "count rule": ("[full]", "[counts]\nA = 3\n[full]", "counts.A: expected a string, got 3"),
    "tier": ('"quick"', '"fast"', "tier: expected 'quick' or 'nightly', got 'fast'"),
    "unknown key": ("gamma_seed", "gama_seed", "gama_seed: no such key; did you mean gamma_seed?"),
    "unknown table": ("[full]", "[ful]", "ful: no such key; did you mean full?"),
    "key": ("tier =", "key = 'x'\ntier =", "key: no such key"),
    "size as text": ("= 128", "= '64k'", "quick.hidden_size: expected an integer, got '64k'"),
    "size as float": ("= 128", "= 128.0", "quick.hidden_size: expected an integer, got 128.0"),
    "size as bool": ("= 128", "= true", "quick.hidden_size: expected an integer, got True"),
    "zero": ("= 2048", "= 0", "full.hidden_size: expected a positive integer, got 0"),
    "negative": ("= 128", "= -64", "quick.hidden_size: expected a positive integer, got -64"),
    "no layers": (
        "num_hidden_layers = 2\n",
        "num_hidden_layers = 0\n",
        "quick.num_hidden_layers: expected a positive",
    ),
    "unknown count": ("2*L + 1", "2*M + 1", "norms: unknown count 'M', known are L"),
    "code": ("2*L + 1", "__import__('os')", "norms: expected names, integers and + - * //, got"),
    "half a formula": ("2*L + 1", "2*L +", "norms: expected a formula such as '2*L + 1', got '2*L +'"),
    "control": ("tier =", "control = true\ntier =", "norms: expected '0' for a control, got '2*L + 1'"),
}


def write(tmp_path: Path, text: str) -> Path:
    folder = tmp_path / "models"
    folder.mkdir(exist_ok=True)
    path = folder / "llama.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ZooFileError) as caught:
        catalog.load_spec(path)
    return str(caught.value)


def test_the_file_the_cases_start_from_is_good(tmp_path: Path) -> None:
    assert catalog.load_spec(write(tmp_path, GOOD)).expected_norms() == 5


@pytest.mark.parametrize("case", CASES)
def test_refused_in_one_line(tmp_path: Path, case: str) -> None:
    old, new, said = CASES[case]
    assert old in GOOD
    message = refusal(write(tmp_path, GOOD.replace(old, new, 1)))
    assert message.startswith(f"models/llama.toml: {said}")
    assert "\n" not in message


def test_not_utf8(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.write_bytes(GOOD.encode().replace(b"Llama 3", b"Llam\xe1 3"))
    assert refusal(path) == "models/llama.toml: not UTF-8: invalid continuation byte at byte 13"


def test_not_there(tmp_path: Path) -> None:
    assert refusal(tmp_path / "models" / "nope.toml") == "models/nope.toml: No such file or directory"


def test_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(ZooFileError, match=r"holds no <key>\.toml"):
        catalog.load_zoo(tmp_path)


@fuzz(200)
@given(data=st.data())
def test_a_damaged_file_loads_or_is_refused_in_one_line(tmp_path: Path, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(GOOD)))
    end = data.draw(st.integers(start, min(len(GOOD), start + 20)))
    patch = data.draw(st.sampled_from(["", "0", "-1", "'x'", "[]", "{}", "=", "\n", "null", "[a]\n", "1979-05-27"]))
    path = write(tmp_path, GOOD[:start] + patch + GOOD[end:])
    with contextlib.suppress(ZooFileError):
        catalog.load_spec(path)
        return
    message = refusal(path)
    assert message.startswith("models/llama.toml: ")
    assert "\n" not in message


CONFIG_CASES = {
    "class": ('"LlamaConfig"', '"LamaConfig"', "config_class: transformers has no 'LamaConfig'"),
    "field": (
        "[quick]\nhidden_size",
        "[quick]\nhiden_size",
        "quick.hiden_size: LlamaConfig has no such field",
    ),
    "suggestion": ("[quick]\nhidden_size", "[quick]\nhiden_size", "; did you mean hidden_size?"),
    "heads": ("num_attention_heads = 4", "num_attention_heads = 3", "quick: Class validation error"),
    "type": (
        "[quick]",
        "[quick]\nrms_norm_eps = 'x'",
        "Field 'rms_norm_eps' expected float, got str (value: 'x')",
    ),
}


@pytest.mark.parametrize("case", CONFIG_CASES)
def test_config_refused_in_one_line(tmp_path: Path, case: str) -> None:
    old, new, said = CONFIG_CASES[case]
    assert old in GOOD
    spec = catalog.load_spec(write(tmp_path, GOOD.replace(old, new, 1)))
    with pytest.raises(ZooFileError) as caught:
        spec.config("quick")
    message = str(caught.value)
    assert message.startswith("models/llama.toml: ")
    assert said in message
    assert "\n" not in message


def test_count_of_a_field_the_configuration_lacks(tmp_path: Path) -> None:
    text = GOOD.replace("2*L", "2*A").replace("[full]", '[counts]\nA = "layer_types == conv"\n[full]')
    spec = catalog.load_spec(write(tmp_path, text))
    with pytest.raises(ZooFileError, match=r"models/llama\.toml: norms: .*layer_types"):
        spec.expected_norms()

"""The zoo's own files, and what is read out of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import torch
import transformers

from harness.errors import UnknownNameError, ZooFileError
from harness.zoo import catalog

if TYPE_CHECKING:
    from pathlib import Path

ZOO = catalog.load_zoo()
NORMS = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3", "olmo2", "granite"}
NORMS |= {"smollm3", "glm4", "exaone4", "helium"}
CONTROLS = {"olmo", "stablelm", "cohere", "nemotron"}

# Parameters of the published checkpoints, tied weights counted once, as their model cards give them.
PUBLISHED_PARAMETERS = {
    "apertus": 8_053_338_176,
    "bitnet": 2_412_820_480,
    "cohere": 8_028_033_024,
    "cohere2": 8_028_033_024,
    "deepseek_v2": 15_706_484_224,
    "ernie4_5": 360_748_032,
    "exaone4": 1_279_391_488,
    "falcon_h1": 521_411_104,
    "gemma": 2_506_172_416,
    "gemma2": 2_614_341_888,
    "gemma3_text": 268_098_176,
    "glm": 9_399_951_360,
    "glm4": 9_400_279_040,
    "gpt_neox": 162_322_944,
    "gpt_oss": 20_914_757_184,
    "granite": 2_533_531_648,
    "helium": 2_172_643_840,
    "lfm2": 354_483_968,
    "llama": 1_235_814_400,
    "mamba": 129_135_360,
    "mamba2": 7_285_403_648,
    "ministral": 8_019_808_256,
    "mistral": 7_248_023_552,
    "mixtral": 46_702_792_704,
    "olmo": 1_176_764_416,
    "olmo2": 1_484_916_736,
    "olmo3": 7_298_011_136,
    "olmoe": 6_919_161_856,
    "phi": 2_779_683_840,
    "phi3": 3_821_079_552,
    "phi3_longrope": 3_821_079_552,
    "qwen2": 494_032_768,
    "qwen2_moe": 14_315_784_192,
    "qwen3": 596_049_920,
    "qwen3_moe": 30_532_122_624,
    "seed_oss": 36_151_104_512,
    "smollm2": 134_515_008,
    "smollm3": 3_075_098_624,
    "stablelm": 1_644_515_328,
    "starcoder2": 3_030_371_328,
    "t5_decoder": 60_506_624,
    "vaultgemma": 1_038_741_120,
}


def test_quick_tier() -> None:
    quick = catalog.select(ZOO, tier="quick")
    assert {spec.key for spec in quick if not spec.control} == NORMS
    assert {spec.key for spec in quick if spec.control} == CONTROLS


def test_sorted_by_key() -> None:
    assert list(ZOO) == sorted(ZOO)


def test_seeds_differ() -> None:
    seeds = [spec.gamma_seed for spec in ZOO.values()]
    assert len(set(seeds)) == len(seeds)


def test_select_keeps_the_order_asked_for_and_drops_repeats() -> None:
    assert [spec.key for spec in catalog.select(ZOO, ["qwen3", "llama", "qwen3"])] == ["qwen3", "llama"]


def test_select_everything() -> None:
    assert catalog.select(ZOO) == list(ZOO.values())


def test_select_unknown_model() -> None:
    with pytest.raises(UnknownNameError, match=r"unknown model 'lama'\. Did you mean llama"):
        catalog.select(ZOO, ["lama"])


def test_select_unknown_tier() -> None:
    with pytest.raises(UnknownNameError, match="unknown tier 'weekly'"):
        catalog.select(ZOO, tier="weekly")


def test_unknown_size() -> None:
    with pytest.raises(UnknownNameError, match="unknown size 'tiny'"):
        ZOO["llama"].fields("tiny")


def test_expected_norms_by_size_and_by_configuration() -> None:
    spec = ZOO["llama"]
    assert spec.expected_norms() == 2 * 2 + 1
    assert spec.expected_norms("full") == 2 * 16 + 1
    assert spec.expected_norms(transformers.LlamaConfig(num_hidden_layers=7)) == 2 * 7 + 1


def test_null_means_none() -> None:
    assert ZOO["mistral"].fields("full")["sliding_window"] is None
    assert ZOO["mistral"].fields("quick")["sliding_window"] == 8


def test_installed_models_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalog, "__file__", str(tmp_path / "harness" / "zoo" / "catalog.py"))
    assert catalog.models_folder() == tmp_path / "models"
    (tmp_path / "harness" / "_models").mkdir(parents=True)
    assert catalog.models_folder() == tmp_path / "harness" / "_models"


def test_a_file_whose_name_is_no_key_is_refused_and_accents_are_one_character(tmp_path: Path) -> None:
    content = (catalog.models_folder() / "llama.toml").read_bytes()
    for name in ("llama 2", "mode\u0300le"):
        (tmp_path / f"{name}.toml").write_bytes(content)
    bad: dict[str, ZooFileError] = {}
    assert list(catalog.load_zoo(tmp_path, bad.__setitem__)) == ["mod\u00e8le"]
    assert "llama 2.toml: its name is not a model's key" in str(bad["llama 2"])


@pytest.mark.quick
@pytest.mark.parametrize("key", ZOO)
def test_full_configuration_is_accepted(key: str) -> None:
    spec = ZOO[key]
    assert spec.expected_norms(spec.config("full")) == spec.expected_norms("full")
    assert spec.expected_norms("full") >= spec.expected_norms("quick")


@pytest.mark.parametrize("key", PUBLISHED_PARAMETERS)
def test_full_configuration_is_the_published_one(key: str) -> None:
    spec = ZOO[key]
    with torch.device("meta"):
        model = getattr(transformers, spec.architecture)(spec.config("full"))
    assert sum(parameter.numel() for parameter in model.parameters()) == PUBLISHED_PARAMETERS[key]


@pytest.mark.parametrize("key", ZOO)
def test_quick_configuration_is_small(key: str) -> None:
    config = ZOO[key].config("quick")
    assert config.vocab_size == 512
    assert config.hidden_size % 32 == 0
    assert 64 <= config.hidden_size <= 256


@pytest.mark.parametrize("key", sorted(ZOO))
def test_building_a_configuration_leaves_the_entry_as_it_is(key):
    """transformers fills in tables where they lie; digests of an entry would differ after its first use."""
    spec = ZOO[key]
    before = msgspec.json.encode(spec)
    spec.config("quick")
    spec.config("full")
    assert msgspec.json.encode(spec) == before

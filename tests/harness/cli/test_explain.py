"""``explain``: the sites of a zoo model or of a package, fused or missed and why."""

from __future__ import annotations

import json

import coremltools as ct
import pytest

import ane_rms
from tests.harness.command_line import harness


def test_explain_gives_three_kinds_of_miss_with_name_shape_and_module(tmp_path, snapshot):
    import torch

    from tests.ane_rms.spellings import LOOK_ALIKES
    from tests.mil_tools import NE, Norm, inputs, options, torch_program

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cubed = Norm(LOOK_ALIKES["pow(3)"].function)
            self.centred = Norm(LOOK_ALIKES["timm: torch.var"].function)
            self.first = Norm(LOOK_ALIKES["mean over axis 0"].function)

        def forward(self, x):
            return self.first(self.centred(self.cubed(x)))

    path = tmp_path / "three.mlpackage"
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    ane_rms.convert(torch_program(Model(), (2, 8, 64)), inputs=inputs((2, 8, 64)), **arguments).save(str(path))
    done = harness("explain", path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.replace(str(tmp_path), "FOLDER") == snapshot


def test_calibration_warns_of_inputs_beyond_float16(own_zoo, monkeypatch):
    import harness.export

    build = harness.export.build

    def loud(spec, **more):
        network = build(spec, **more)
        network.model.embed_tokens.weight.data *= 1e6
        return network

    monkeypatch.setattr(harness.export, "build", loud)
    from harness.explain.fusion import of_model

    found = of_model("llama", calibrate=True)
    assert "in calibration, float16 ends at 65,504" in found.report.warnings[0].reason
    assert max(peak for _, peak, _, _ in found.peaks) > 65_504
    assert all(peak == after > 0 for _, peak, after, _ in found.peaks), "nothing was scaled"


def test_calibration_shows_the_peaks_of_a_checkpoint(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 96, "hidden_size": 64, "intermediate_size": 80, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2}
    network = LlamaForCausalLM(LlamaConfig(**sizes, **heads, max_position_embeddings=64)).eval()
    network.save_pretrained(tmp_path / "small")
    done = harness("explain", "--checkpoint", tmp_path / "small", "--calibrate", "--format", "json")
    assert done.returncode == 0, done.stderr
    first, *others = json.loads(done.stdout)["peaks"]
    embedded = network.model.embed_tokens.weight.abs()
    assert (embedded - first["peak"]).abs().min() < 1e-6, "the first norm's input is some rows of the embedding"
    assert len(others) > 5
    assert all(row["of_the_ceiling"] == row["peak"] / row["ceiling"] > 0 for row in others)


@pytest.mark.parametrize("option", [["--calibrate"], ["--rescale", "auto"], ["--for-ane"]])
def test_what_needs_a_conversion_is_refused_for_a_package(tmp_path, option):
    (tmp_path / "some.mlpackage").mkdir()
    done = harness("explain", tmp_path / "some.mlpackage", *option)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert f"{option[0]}: only for a zoo model or a checkpoint" in done.stderr


def test_explain_lists_the_sites_of_a_model():
    done = harness("explain", "qwen3", "--frontend", "export")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| fused   | mean_rsqrt_mul") == 9
    assert "9 fused, 0 missed (converted for CPU_AND_NE, layer_norm)" in done.stdout


def test_explain_reads_packages_of_ours_and_of_others(tmp_path):
    from tests.ane_rms.spellings import LOOK_ALIKES, SPELLINGS
    from tests.mil_tools import NE, Norm, inputs, options, torch_program

    def both(x, w):
        return LOOK_ALIKES["pow(3)"].function(SPELLINGS["H: pow(-0.5) (Gemma3n)"].function(x, w), w)

    program = torch_program(Norm(both), (2, 8, 64))
    arguments = options(NE, minimum_deployment_target=ct.target.iOS17)
    ane_rms.convert(program, inputs=inputs((2, 8, 64)), **arguments).save(str(tmp_path / "ours.mlpackage"))
    ct.convert(program, inputs=inputs((2, 8, 64)), **arguments).save(str(tmp_path / "theirs.mlpackage"))
    for name, note in (
        ("ours", "converted for CPU_AND_NE, layer_norm"),
        ("theirs", "not converted through ane_rms"),
    ):
        done = harness("explain", tmp_path / f"{name}.mlpackage")
        assert done.returncode == 0, done.stderr
        assert "mean_pow_mul" in done.stdout
        assert "x**3" in done.stdout
        assert "1 fused, 1 missed" in done.stdout
        assert note in done.stdout


def test_explain_for_all_units_says_what_would_fuse_and_fuses_with_for_ane():
    idle = harness("explain", "llama", "--units", "ALL")
    assert "0 fused, 0 missed (converted for ALL: the passes did not act)" in idle.stdout
    assert "compute_units=ALL: the passes did not act, and 5 RMSNorms stand as written" in " ".join(idle.stdout.split())
    acting = harness("explain", "llama", "--units", "unset", "--for-ane")
    assert "5 fused, 0 missed (converted for unset compute units, layer_norm)" in acting.stdout
    refused = harness("explain", "llama", "--units", "NPU")
    assert refused.returncode == 2
    assert "unknown compute unit 'NPU'" in refused.stderr

"""The counts of a model whose own code lowers its norms: they are lowered, not fused, and none is wrong for it."""

from __future__ import annotations

import pytest
import torch
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from harness.convert.conversion import Lean, convert, difference
from harness.convert.norm_counts import count, verdict
from harness.explain.fusion import of_package
from harness.export import export
from harness.plan.variants import VARIANTS
from harness.zoo import catalog


def in_one_op(self, x):
    row = torch.cat([x, -x], -1)
    return self.weight * torch.nn.functional.layer_norm(row, row.shape[-1:], None, None, 1e-6)[..., : x.shape[-1]]


def in_primitives(self, x):
    row = torch.cat([x, -x], -1)
    centred = row - row.mean(-1, keepdim=True)
    unit = centred * torch.rsqrt(centred.pow(2).mean(-1, keepdim=True) + 1e-6)
    return self.weight * unit.chunk(2, -1)[0]


@pytest.mark.parametrize("forward", [in_one_op, in_primitives])
def test_norms_lowered_by_hand_are_counted_as_lowered(forward, monkeypatch, tmp_path):
    monkeypatch.setattr(LlamaRMSNorm, "forward", forward)
    spec = catalog.load_zoo()["llama"]
    exported = export(spec)
    plain = convert(exported, VARIANTS["off"])
    for name, lowering in (("off", ""), ("on", "layer_norm"), ("cpu", "")):
        made = plain if name == "off" else convert(exported, VARIANTS[name])
        counts = count(made, exported, variant=VARIANTS[name], lowering=lowering)
        assert (counts.fused, counts.missed, counts.lowered) == (0, 0, spec.expected_norms())
        assert verdict(counts, made, plain, variant=VARIANTS[name], lowering=lowering, control=False) == ""
    plain.model.save(str(tmp_path / "plain.mlpackage"))
    assert len(of_package(tmp_path / "plain.mlpackage").lowered) == spec.expected_norms()


def test_norms_that_the_passes_lowered_do_not_belong_in_a_plain_program():
    exported = export(catalog.load_zoo()["llama"])
    fused = convert(exported, VARIANTS["on"])
    counts = count(fused, exported, variant=VARIANTS["off"], lowering="")
    said = verdict(counts, fused, fused, variant=VARIANTS["off"], lowering="", control=False)
    assert said == "5 norms fused, none should be for CPU_AND_NE"


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_weight_of_another_value_makes_another_program(in_memory):
    """The variant ``cpu`` must give plain ct.convert's program, whether its weights are in a file or in memory."""
    exported = export(catalog.load_zoo()["llama"])
    made = [convert(exported, VARIANTS["cpu"], lean=Lean(kept={} if in_memory else None)) for _ in range(2)]
    assert [bool(one.kept) for one in made] == [in_memory] * 2
    assert difference(*made) == ""
    weight = exported.module.network.model.layers[1].mlp.up_proj.weight
    with torch.no_grad():
        weight[3, 4] += 1
    made.append(convert(exported, VARIANTS["cpu"], lean=Lean(kept={} if in_memory else None)))
    assert difference(made[0], made[2]) == "the weights differ"

"""A check of one's own, for the plugin that comes with ``ane-rms[harness]``.

Run: pytest --zoo llama,qwen3 --variant on examples/own_repository
"""

from __future__ import annotations


def test_every_norm_is_fused(fusion_report):
    assert [f"{miss.name}: {miss.reason}" for miss in fusion_report.missed] == []


def test_the_logits_are_not_zeros(reference_model, exported):
    (logits,) = reference_model.predict(exported.inputs).values()
    assert abs(logits).max() > 0

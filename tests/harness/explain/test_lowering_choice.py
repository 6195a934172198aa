"""``lowering="auto"`` on the zoo's quick models: the form that docs/engine.md's table says, by family, with its reason.

Every axis of a quick model fits every family when doubled, so that the form is ``layer_norm`` unless calibration has
measured the rows' norms; then it is ``reduce_l2_norm`` up to half of 65,504.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

import ane_rms
from ane_rms import neural_engine
from ane_rms.report import Site
from harness.convert.conversion import convert
from harness.explain.fusion import Explained
from harness.explain.lowering_choice import automatic
from harness.export import export
from harness.plan.variants import VARIANTS
from harness.zoo.catalog import load_zoo
from tests.mil_tools import op_types

FAMILIES = neural_engine.families()
QUICK = sorted(key for key, spec in load_zoo(unusable=lambda _key, _error: None).items() if spec.tier == "quick")


def forms(explained: Explained) -> dict[str, dict[str, int]]:
    """Return the number of sites of each lowering, by family."""
    found: dict[str, dict[str, int]] = {family: {} for family in FAMILIES}
    for names, lowering, count, reason in automatic(explained, FAMILIES):
        assert reason
        for family in names.split(", "):
            found[family][lowering] = found[family].get(lowering, 0) + count
    return found


@pytest.mark.slow
@pytest.mark.parametrize("key", QUICK)
def test_a_quick_model_takes_the_tables_form_on_every_family(key):
    model = convert(export(load_zoo()[key]), VARIANTS["on"], lowering="auto").model
    report = ane_rms.report(model)
    sites = len(report.fused)
    assert op_types(model).count("layer_norm") >= sites
    assert sum(one.form == "layer_norm" for one in report.lowered) == 0  # none written by hand
    assert all(2 * int(site.shape[site.axes[-1]]) <= 16384 for site in report.fused)
    expected = {"layer_norm": sites} if sites else {}
    assert forms(Explained(report)) == dict.fromkeys(FAMILIES, expected)
    expected = {"reduce_l2_norm": sites} if sites else {}
    assert forms(Explained(report, row_norm=32_752.0)) == dict.fromkeys(FAMILIES, expected)
    expected = {"layer_norm": sites} if sites else {}
    assert forms(Explained(report, row_norm=32_753.0)) == dict.fromkeys(FAMILIES, expected)


def site(width: int) -> Site:
    return Site("norm", "", (1, width), (-1,), 1e-5, has_gamma=True, deviation_bound=0.0)


@pytest.mark.parametrize(
    ("width", "row_norm", "before_a16", "from_a16"),
    [
        (2048, None, "layer_norm", "layer_norm"),
        (8192, None, "layer_norm", "layer_norm"),
        (8193, None, "l2_norm", "layer_norm"),
        (32768, None, "l2_norm", "layer_norm"),
        (16368, 100.0, "reduce_l2_norm", "reduce_l2_norm"),
        (16369, 100.0, "l2_norm", "reduce_l2_norm"),
    ],
)
def test_families_part_where_their_extents_do(width, row_norm, before_a16, from_a16):
    report = replace(ane_rms.FusionReport(), fused=(site(width),))
    found = forms(Explained(report, row_norm=row_norm))
    assert found == {
        "m1": {before_a16: 1}, "m2": {before_a16: 1}, "m3": {before_a16: 1}, "m4": {from_a16: 1}, "m5": {from_a16: 1}
    }  # fmt: skip

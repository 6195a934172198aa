"""The data file of families: complete, sourced, and one entry a chip."""

from __future__ import annotations

import msgspec
import pytest

from harness.engine import families
from harness.engine.families import Figure
from harness.errors import UnknownNameError
from harness.interpreter.precision import POLICIES

FAMILIES = ("m1", "m2", "m3", "m4", "m5")


def figures(value):
    """Yield every figure below a record."""
    if isinstance(value, Figure):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from figures(one)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from figures(getattr(value, name))


def test_every_figure_names_known_sources():
    data = families.load()
    found = list(figures(data))
    assert len(found) > 80
    for figure in found:
        for source in figure.source.split(", "):
            assert source in data.sources, source


def test_derived_figures_are_marked():
    data = families.load()
    assert not any(figure.measured for figure in figures(data.families["m3"].costs))
    assert not data.families["m4"].numerics["flush_products"].measured
    assert data.families["m1"].numerics["flush_products"].measured
    assert data.families["m5"].costs.peak_flops.measured


def test_families_are_those_of_the_policies():
    policies = {f"ane-{key}{twin}" for key in FAMILIES for twin in ("", "-pessimistic")}
    assert tuple(families.load().families) == FAMILIES
    assert policies == {name for name in POLICIES if name.startswith("ane-")}


def test_a_tier_has_what_came_before_it():
    data = families.load()
    reach = {
        tier: [key for key, one in data.families.items() if data.reaches(one, tier)] for tier in (*data.tiers, None)
    }
    assert reach["A13"] == ["m1", "m2", "m3", "m4", "m5"]
    assert reach["A15"] == ["m3", "m4", "m5"]
    assert reach[None] == []


@pytest.mark.parametrize(
    ("op", "since"),
    [
        ("scatter", None),
        ("one_hot", None),
        ("band_part", None),
        ("non_zero", None),
        ("reduce_prod", None),
        ("logical_and", None),
        ("topk", "A14"),
        ("resize", "A14"),
        ("sin", "A15"),
        ("cos", "A15"),
        ("layer_norm", "A13"),
        ("reduce_l2_norm", "A13"),
    ],
)
def test_support_is_that_of_the_published_matrix(op, since):
    assert families.load().support.ops[op].since == since


def test_an_unknown_family_is_named_with_its_neighbours():
    with pytest.raises(UnknownNameError, match="m9"):
        families.choose(["m9"])
    assert families.choose([]) == list(FAMILIES)
    assert families.choose(["m5", "m1", "m5"]) == ["m5", "m1"]

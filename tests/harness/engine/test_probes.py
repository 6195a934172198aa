"""The probes: complete, sourced, and what the policies make of them."""

from __future__ import annotations

import numpy as np
import pytest

from harness.engine import families, probes
from harness.engine.probes import PROBES, Answer, Probe
from harness.interpreter import ReferenceModel
from harness.report import formats
from harness.report.probe_table import document

LEFT_OUT = "matmul: 4,096 and 1,024 ones"
"""The first stage of sums, which the policies leave out."""


@pytest.mark.parametrize("family", ["m1", "m2", "m3", "m4", "m5"])
@pytest.mark.parametrize("probe", PROBES, ids=lambda probe: probe.name)
def test_a_policy_gives_what_is_published(probe: Probe, family):
    (values,) = ReferenceModel(probes.program(probe), f"ane-{family}").predict({"x": probe.array}).values()
    if probe.name == LEFT_OUT:
        assert values.item() == 5120
    else:
        np.testing.assert_array_equal(values.ravel(), np.array(probe.expected(family)))


def test_probes_name_known_sources_and_families():
    data = families.load()
    for probe in PROBES:
        assert set(probe.source.split(", ")) <= set(data.sources)
        assert {*probe.measured_on, *probe.by_family} <= set(data.families)


@pytest.mark.parametrize(
    ("chip", "family"), [("Apple M1", "m1"), ("Apple M4 Pro", "m4"), ("Apple M5", "m5"), ("Intel Core i7", None)]
)
def test_the_family_of_a_chip(chip, family):
    assert probes.family_of_chip(chip) == family


def table(answers, kind):
    return formats.github(document(answers, kind))


def test_the_table_says_where_a_device_differs():
    first, second = PROBES[:2]
    text = table([("m1", [Answer(first, (32752.0,)), Answer(second, (65504.0,))])], "measured")
    lines = text.splitlines()
    assert "measured" in lines[0]
    assert lines[2].rstrip(" |").endswith("agrees")
    assert lines[3].rstrip(" |").endswith("differs")


def test_a_probe_that_did_not_run_has_its_reason():
    assert "killed: signal 9" in table([("m1", [Answer(PROBES[0], (), "killed: signal 9")])], "measured")


def test_the_sign_of_zero_counts():
    zero = next(probe for probe in PROBES if probe.name == "sqrt(-1)")
    assert "differs" in table([("m1", [Answer(zero, (-0.0,))])], "measured")

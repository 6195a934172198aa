"""The report: in the package's metadata, through saving and loading, and refused when it is none."""

from __future__ import annotations

import coremltools as ct
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ane_rms
from ane_rms.report import METADATA_KEY, Miss
from ane_rms.symbols import with_own_symbols
from tests.ane_rms.spellings import LOOK_ALIKES, SPELLINGS, D
from tests.mil_tools import NE, UNITS, Norm, inputs, options, torch_program

SHAPE = (2, 8, D)
ARGUMENTS = options(NE, minimum_deployment_target=ct.target.iOS17)


def two_sites(x, w):
    return LOOK_ALIKES["timm: torch.var"].function(SPELLINGS["A: gamma * (...).to"].function(x, w), w)


@pytest.fixture(scope="module")
def model():
    return ane_rms.convert(torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS)


def test_it_survives_saving_and_loading(model, tmp_path):
    path = tmp_path / "model.mlpackage"
    model.save(str(path))
    kept = ane_rms.report(path)
    assert kept == ane_rms.report(str(path)) == ane_rms.report(model)
    assert kept == ane_rms.report(ct.models.MLModel(str(path), skip_model_load=True))
    assert [site.spelling for site in kept.fused] == ["mean_rsqrt_mul"]
    assert ["variance" in miss.reason for miss in kept.missed] == [True]
    assert (kept.compute_units, kept.lowering) == ("CPU_AND_NE", "layer_norm")


def test_it_is_in_a_package_that_convert_itself_wrote(tmp_path):
    path = tmp_path / "direct.mlpackage"
    model = ane_rms.convert(
        torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), package_dir=str(path), **ARGUMENTS
    )
    assert ane_rms.report(path) == ane_rms.report(model)
    assert len(ane_rms.report(path).fused) == 1


def test_a_model_of_plain_coremltools_is_read_from_its_program(tmp_path):
    plain = ct.convert(torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS)
    plain.save(str(tmp_path / "plain.mlpackage"))
    for one in (plain, tmp_path / "plain.mlpackage"):
        found = ane_rms.report(one)
        assert ([site.spelling for site in found.fused], len(found.missed)) == (["mean_rsqrt_mul"], 1)
        assert (found.acting, found.compute_units, found.lowered) == (False, "", ())
    with pytest.raises(FileNotFoundError, match="no such package"):
        ane_rms.report(tmp_path / "absent.mlpackage")


def test_metadata_of_another_program_give_way_to_the_program(tmp_path):
    plain = ct.convert(torch_program(Norm(lambda x, w: x * w), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS)
    told = ane_rms.convert(torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS)
    plain.user_defined_metadata[METADATA_KEY] = told.user_defined_metadata[METADATA_KEY]
    plain.save(str(tmp_path / "changed.mlpackage"))
    found = ane_rms.report(tmp_path / "changed.mlpackage")
    assert (found.fused, found.lowered) == ((), ())
    assert "tell of 1 norms and the program holds 0" in found.warnings[0].reason


def test_it_prints_as_a_table(model):
    lines = str(ane_rms.report(model)).splitlines()
    assert lines[0].split() == ["site", "form", "axes", "epsilon", "gamma", "shape", "remark"]
    assert "mean_rsqrt_mul" in lines[2]
    assert "missed" in lines[3]
    assert lines[-1] == "1 fused, 1 missed (converted for CPU_AND_NE, layer_norm)"


@pytest.mark.parametrize("units", [unit for unit in UNITS if unit is not NE], ids=str)
def test_a_conversion_that_did_not_act_says_so(units):
    arguments = options(units, minimum_deployment_target=ct.target.iOS17)
    found = ane_rms.report(ane_rms.convert(torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), **arguments))
    (said,) = found.warnings
    name = "unset" if units is None else units.name
    assert said.reason == (
        f"compute_units={name}: the passes did not act, and 1 RMSNorm stands as written that would fuse: "
        "they act for CPU_AND_NE, or with for_ane=True"
    )
    assert not found.acting
    acted = ane_rms.report(
        ane_rms.convert(torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), for_ane=True, **arguments)
    )
    assert (acted.acting, len(acted.fused)) == (True, 1)


def test_a_module_path_is_given_where_coremltools_knows_it():
    import torch

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.input_norm = Norm(SPELLINGS["A: gamma * (...).to"].function)

        def forward(self, x):
            return x + self.input_norm(x)

    report = ane_rms.report(ane_rms.convert(torch_program(Block(), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS))
    assert [site.module for site in report.fused] == ["input_norm"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not a fusion report"),
        ("[]", "no version"),
        ('{"version": 1}', "not a fusion report"),
        ('{"version": 99}', "version 99, this ane_rms reads up to 1: update ane_rms"),
        ('{"version": 1, "fused": [{"name": "a", "surprise": 1}], "missed": []}', "surprise"),
        ('{"version": 1, "fused": [{"name": "a"}], "missed": []}', "not a fusion report"),
    ],
)
def test_what_is_no_report_is_refused(text, message, model):
    with pytest.raises(ValueError, match=message):
        ane_rms.FusionReport.from_json(text)
    kept = model.user_defined_metadata[METADATA_KEY]
    try:
        model.user_defined_metadata[METADATA_KEY] = text
        with pytest.raises(ValueError, match=message):
            ane_rms.report(model)
    finally:
        model.user_defined_metadata[METADATA_KEY] = kept


sites = st.builds(
    ane_rms.Site,
    name=st.text(),
    spelling=st.text(),
    shape=st.lists(st.integers(1, 9) | st.text(min_size=1)).map(tuple),
    axes=st.lists(st.integers(-5, -1)).map(tuple),
    epsilon=st.floats(0, 1),
    has_gamma=st.booleans(),
    deviation_bound=st.floats(0, 1),
    module=st.text(),
)
misses = st.builds(
    ane_rms.Miss,
    name=st.text(),
    op_type=st.text(),
    reason=st.text(),
    shape=st.lists(st.integers(1, 9)).map(tuple),
    module=st.text(),
)


lowered = st.builds(
    ane_rms.LoweredSite,
    name=st.text(),
    form=st.text(),
    shape=st.lists(st.integers(1, 9) | st.text(min_size=1)).map(tuple),
    axes=st.lists(st.integers(-5, -1)).map(tuple),
    epsilon=st.floats(0, 1),
    has_gamma=st.booleans(),
    module=st.text(),
)


@given(
    st.builds(
        ane_rms.FusionReport,
        st.lists(sites).map(tuple),
        st.lists(misses).map(tuple),
        st.text(),
        st.text(),
        lowered=st.lists(lowered).map(tuple),
        acting=st.booleans(),
    )
)
def test_json_keeps_every_field(report):
    assert ane_rms.FusionReport.from_json(report.to_json()) == report


def test_unknown_sizes_are_numbered_in_the_reports_own_order():
    """Whatever was converted before in the process; a symbol with a name of the user's keeps it."""
    norm = torch_program(Norm(SPELLINGS["A: gamma * (...).to"].function), (2, 8, D))
    for symbol, expected in ((None, "is0"), ("words", "words")):
        size = ct.RangeDim(1, 16, default=8, symbol=symbol)
        asked = [ct.TensorType("x", (2, size, D))]
        report = ane_rms.report(ane_rms.convert(norm, inputs=asked, **options(NE)))
        assert [site.shape for site in report.fused] == [(2, expected, D)]


def test_a_size_in_a_sentence_is_the_one_of_the_shape():
    miss = Miss("r", "rsqrt", "the result has shape ['is7', 4], x has ['is7', 'is9']", shape=("is9", 1))
    found = with_own_symbols(ane_rms.FusionReport(missed=(miss,))).missed[0]
    assert (found.shape, found.reason) == (("is0", 1), "the result has shape ['is1', 4], x has ['is1', 'is0']")

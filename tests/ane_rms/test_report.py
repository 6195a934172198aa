"""The report: in the package's metadata, through saving and loading, and refused when it is none."""

from __future__ import annotations

import coremltools as ct
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ane_rms
from ane_rms.report import METADATA_KEY
from tests.ane_rms.spellings import LOOK_ALIKES, SPELLINGS, D
from tests.mil_tools import NE, Norm, inputs, options, torch_program

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


def test_a_model_of_plain_coremltools_has_none(tmp_path):
    plain = ct.convert(torch_program(Norm(two_sites), SHAPE), inputs=inputs(SHAPE), **ARGUMENTS)
    with pytest.raises(ValueError, match="holds no fusion report: convert it with ane_rms"):
        ane_rms.report(plain)
    plain.save(str(tmp_path / "plain.mlpackage"))
    with pytest.raises(ValueError, match=r"plain\.mlpackage holds no fusion report"):
        ane_rms.report(tmp_path / "plain.mlpackage")
    with pytest.raises(FileNotFoundError, match="no such package"):
        ane_rms.report(tmp_path / "absent.mlpackage")


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


@given(st.builds(ane_rms.FusionReport, st.lists(sites).map(tuple), st.lists(misses).map(tuple), st.text(), st.text()))
def test_json_keeps_every_field(report):
    assert ane_rms.FusionReport.from_json(report.to_json()) == report

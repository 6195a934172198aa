"""The patches: they fit coremltools as it is, are undone, and are left out where coremltools is another."""

from __future__ import annotations

import logging

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY, register_pass

import ane_rms
from ane_rms.coremltools_patches.lean import cast, leaner, patches, type_info
from ane_rms.coremltools_patches.lean.ops_and_values import Scopes
from ane_rms.coremltools_patches.lean.spill import Spill
from tests.ane_rms.coremltools_patches.lean.test_constants import check, constant, program
from tests.mil_tools import options

PATCHES = patches.all_patches(Spill())
CPU = ct.ComputeUnit.CPU_ONLY


def state():
    found = {patch.name: getattr(patch.owner, patch.attribute) for patch in PATCHES}
    found["own"] = [patch.owner.__dict__.get(patch.attribute) for patch in PATCHES]
    return found | {"cast": PASS_REGISTRY.passes[cast.NAME]}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_coremltools_holds_what_a_patch_was_written_against(patch):
    assert patch.fits, (
        f"coremltools changed {patch.name}: read it anew, then renew its digest in coremltools_patches/lean/patches.py"
    )


def test_coremltools_holds_the_cast_that_ours_follows():
    assert cast.is_known(), (
        "coremltools changed its float16 cast: read it anew, then KNOWN in ane_rms/coremltools_patches/lean/cast.py"
    )


def test_everything_is_undone():
    before = state()
    with leaner():
        within = state()
        assert all(within[name] != before[name] for name in before)
    assert state() == before


def test_everything_is_undone_after_an_error():
    before = state()
    with pytest.raises(ValueError, match="must be of type list"), leaner():
        ct.convert(program([constant("normal", (2,))]), inputs=3)
    assert state() == before


def test_nested_uses_are_undone_in_order():
    before = state()
    with leaner(), leaner():
        pass
    assert state() == before


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_a_changed_coremltools_is_left_alone(patch, monkeypatch, caplog):
    original = getattr(patch.owner, patch.attribute)

    def changed(*given, **more):
        return original(*given, **more)

    stand_in = staticmethod(changed) if patch.attribute == "get_cast_value" else changed
    monkeypatch.setattr(patch.owner, patch.attribute, stand_in)
    with caplog.at_level(logging.WARNING, logger="coremltools"), leaner():
        assert patch.owner.__dict__[patch.attribute] is stand_in, "replaced nevertheless"
    assert patch.name in caplog.text
    check([constant("normal", (20, 20))])


def test_a_changed_cast_is_left_alone(monkeypatch, caplog):
    monkeypatch.setitem(cast.KNOWN, "is_valid_op", "another text")
    with caplog.at_level(logging.WARNING, logger="coremltools"), leaner():
        assert PASS_REGISTRY.passes[cast.NAME] is not cast.LeanFP16Cast
    assert cast.NAME in caplog.text
    check([constant("normal", (20, 20))])


def test_a_cast_of_somebody_else_is_left_alone(monkeypatch):
    class Other(cast.quantization.add_fp16_cast):
        pass

    monkeypatch.setitem(PASS_REGISTRY.passes, cast.NAME, Other)
    with leaner():
        assert PASS_REGISTRY.passes[cast.NAME] is Other


@pytest.mark.parametrize("name", type_info.KNOWN)
def test_a_changed_question_about_types_is_asked_each_time(name, monkeypatch, caplog):
    monkeypatch.setitem(type_info.KNOWN, name, "another text")
    owners = {memo.owner: vars(memo.owner)[name] for memo in type_info.memos() if memo.attribute == name}
    with caplog.at_level(logging.WARNING, logger="coremltools"), leaner():
        assert {owner: vars(owner)[name] for owner in owners} == owners, "replaced nevertheless"
    assert [line for line in caplog.messages if f"{name} is not the one known" in line] == caplog.messages
    assert len(caplog.messages) == 1
    check([constant("normal", (20, 20))])


def test_changed_scopes_are_copied_as_coremltools_does(monkeypatch, caplog):
    monkeypatch.setattr(Scopes, "known", "another text")
    original = vars(Scopes.owner)["scopes"]
    with caplog.at_level(logging.WARNING, logger="coremltools"), leaner():
        assert vars(Scopes.owner)["scopes"] is original
    assert ["Var.scopes" in line for line in caplog.messages] == [True]
    check([constant("normal", (20, 20))])


@pytest.fixture
def breaking_pass(monkeypatch):
    """A pass, not coremltools' own, that leaves the program invalid."""
    monkeypatch.setattr(PASS_REGISTRY, "passes", dict(PASS_REGISTRY.passes))

    @register_pass(namespace="tests")
    class takes_away_a_consumer(AbstractGraphPass):  # noqa: N801 - named as passes are
        def apply(self, prog):
            op = next(op for op in prog["main"].operations if op.op_type == "mul")
            op.x._child_ops.remove(op)

    return "tests::takes_away_a_consumer"


def test_the_program_is_validated_after_a_pass_of_somebody_else(breaking_pass):
    pipeline = ct.PassPipeline()
    pipeline.insert_pass(3, breaking_pass)
    arguments = options(CPU, pass_pipeline=pipeline, minimum_deployment_target=ct.target.iOS17)
    with pytest.raises(Exception, match="should be consumed by op"):
        ane_rms.convert(program([constant("normal", (2,))]), lean=True, **arguments)
    mb.name_count.clear()


def test_it_is_also_validated_where_passes_cannot_be_noted(breaking_pass, monkeypatch):
    """Without the patch that tells which pass has run, no validation may be left out."""
    original = AbstractGraphPass.__call__

    def changed(*given, **more):
        return original(*given, **more)

    monkeypatch.setattr(AbstractGraphPass, "__call__", changed)
    test_the_program_is_validated_after_a_pass_of_somebody_else(breaking_pass)


def test_a_returned_program_has_been_validated(monkeypatch):
    """Even one that a pass of coremltools' own left invalid."""
    kind = PASS_REGISTRY.passes["common::dead_code_elimination"]
    monkeypatch.setattr(PASS_REGISTRY, "passes", dict(PASS_REGISTRY.passes))

    class Broken(kind):
        def apply(self, prog):
            super().apply(prog)
            op = next((op for op in prog["main"].operations if op.op_type == "mul"), None)
            if op is not None and op in op.x.child_ops:
                op.x._child_ops.remove(op)

    Broken.__module__ = kind.__module__
    PASS_REGISTRY.passes["common::dead_code_elimination"] = Broken
    arguments = options(CPU, convert_to="milinternal", pass_pipeline=ct.PassPipeline(["common::dead_code_elimination"]))
    with pytest.raises(Exception, match="should be consumed by op"):
        ane_rms.convert(program([constant("normal", (2,))]), lean=True, **arguments)
    mb.name_count.clear()


def test_weights_derived_from_compressed_ones_stay_so():
    """What derives from a compressed weight must not be folded into a constant."""

    def compressed():
        @mb.program(input_specs=[mb.TensorSpec(shape=(1, 64))], opset_version=ct.target.iOS16)
        def main(x):
            levels = np.linspace(-1, 1, 16, dtype=np.float32)
            weight = mb.constexpr_lut_to_dense(
                indices=np.arange(2048, dtype=np.uint8), lut=levels, shape=np.uint32([64, 64])
            )
            return mb.relu(x=mb.linear(x=x, weight=mb.transpose(x=weight, perm=[1, 0])))

        return main

    from tests.ane_rms.coremltools_patches.lean.identity import assert_lean_is_plain

    model = assert_lean_is_plain(compressed, **options(CPU, minimum_deployment_target=ct.target.iOS16))
    assert isinstance(model, ct.models.MLModel), model

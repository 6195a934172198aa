"""Each replacement leaves a coremltools alone that is not the one it was written for, and says so in one line."""

from __future__ import annotations

import inspect
import logging
from types import SimpleNamespace

import coremltools as ct
import pytest
from coremltools.converters.mil.mil import Block, Builder, Var, builder
from coremltools.converters.mil.mil import program as mil_program
from coremltools.converters.mil.mil.passes.defs import quantization
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY

from ane_rms.coremltools_patches import bfloat16, isolation, removals, symbol_numbers, torch_frontend
from ane_rms.coremltools_patches.guard import Holder, Patch, digest, replacing
from ane_rms.coremltools_patches.in_every_thread import InEveryThread
from ane_rms.coremltools_patches.lean import cast, patches, type_info
from ane_rms.coremltools_patches.lean.ops_and_values import Scopes
from ane_rms.coremltools_patches.lean.spill import Spill
from ane_rms.coremltools_patches.lending import Loan, torch_ops
from ane_rms.coremltools_patches.symbol_numbers import SymbolNumbers
from ane_rms.coremltools_patches.thread_state import OwnContainer


def another(*_args, **_kwargs):
    """Stand for a function of another coremltools."""


def of_ours():
    """Return every replacement of a conversion that is lean."""
    own = isolation.Entry(lambda _: False)
    loans = [one for one in (cast.loan(),) if one is not None]
    lean = [*patches.all_patches(Spill()), *type_info.memos(), Scopes(), *loans]
    return [
        *isolation._functions(), *isolation._containers({}), own, SymbolNumbers(), removals.NotedRemovals(),
        *bfloat16.patches(), *lean,
    ]  # fmt: skip


def name_of(one):
    return f"{getattr(one.owner, '__name__', type(one.owner).__name__).rpartition('.')[2]}.{one.attribute}"


@pytest.mark.parametrize("one", of_ours(), ids=name_of)
def test_what_is_another_is_left_alone(one, monkeypatch, caplog):
    before = inspect.getattr_static(one.owner, one.attribute)
    assert one.objection(before) == ""
    monkeypatch.setattr(one.owner, one.attribute, another)
    with caplog.at_level(logging.WARNING, logger="coremltools"), replacing([one]):
        assert inspect.getattr_static(one.owner, one.attribute) is another
    assert [record.message.startswith("ane_rms: ") for record in caplog.records] == [True]


def test_a_function_whose_work_a_stand_in_does_is_asked_about_as_well(monkeypatch):
    owner = SimpleNamespace(__name__="owner", asked=another, read=digest)
    known = {"read": digest(digest)}
    one = InEveryThread(owner, "asked", digest(another), lambda original: original, "a test", known)
    assert one.objection(another) == ""
    assert one.fits
    monkeypatch.setattr(owner, "read", another)
    assert one.objection(another) == "owner.asked is not the one known; converting without this: a test"
    assert not one.fits


@pytest.mark.parametrize("name", symbol_numbers.NUMBERING)
def test_the_numbers_of_symbols_stay_if_they_are_read_by_another_function(name, monkeypatch):
    monkeypatch.setattr(mil_program, name, another)
    with replacing([SymbolNumbers()]):
        assert type(mil_program.k_num_internal_syms) is int


def test_a_setter_of_another_text_stays(monkeypatch):
    theirs = property(Var.scopes.fget, another)
    monkeypatch.setattr(Var, "scopes", theirs)
    with replacing([Scopes()]):
        assert Var.scopes is theirs


@pytest.mark.parametrize("name", cast.KNOWN)
def test_a_cast_of_which_a_method_is_another_stays(name, monkeypatch):
    monkeypatch.setattr(quantization.FP16ComputePrecision, name, another)
    assert cast.loan() is None


def test_another_cast_in_the_registry_stays(monkeypatch):
    monkeypatch.setitem(PASS_REGISTRY.passes, cast.NAME, another)
    assert cast.loan() is None


@pytest.mark.parametrize("name", ["__enter__", "__exit__"])
def test_the_functions_about_the_current_block_are_replaced_all_or_none(name, monkeypatch):
    assert len(isolation._functions()) > 2
    monkeypatch.setattr(Block, name, another)
    assert isolation._functions() == []


@pytest.mark.parametrize("translation", [another, None])
def test_another_translation_of_rms_norm_or_none_stays(translation, monkeypatch):
    table = {name: one for name, one in torch_ops().name_to_func_mapping.items() if name != "rms_norm"}
    if translation is not None:
        table["rms_norm"] = translation
    monkeypatch.setattr(torch_ops(), "name_to_func_mapping", table)
    with torch_frontend.reading_rms_norm(any_axes=False):
        assert torch_ops().name_to_func_mapping is table


def test_no_table_is_lent_to():
    owner = SimpleNamespace(table=[1])
    with replacing([Loan(owner, "table", {"a": 2})]):
        assert owner.table == [1]


def test_containers_are_those_of_coremltools():
    kinds = {"name_count": dict, "_BEFORE_OP_STACK": list}
    for owner, name in ((Builder, "name_count"), (builder, "_BEFORE_OP_STACK")):
        assert isinstance(getattr(owner, name), kinds[name])
        assert OwnContainer(owner, name, kinds[name], kinds[name](), "a test").objection(another)


def test_what_others_put_over_ours_is_replaced_once_more_and_stays():
    """Two blocks, and between them somebody else's replacement, which each of the two must leave in place."""
    owner = SimpleNamespace(__name__="owner", answer=another)
    one = Patch(owner, "answer", digest(another), lambda _: lambda: "ours", "a test")
    with replacing([one]):
        ours = owner.answer

        def theirs():
            return ours()

        owner.answer = theirs
        again = Patch(owner, "answer", digest(theirs), lambda _: lambda: "ours again", "a test")
        with replacing([again]):
            assert owner.answer() == "ours again"
        assert owner.answer is theirs
        assert owner.answer() == "ours"
    assert owner.answer is theirs


def test_a_holder_that_releases_twice_takes_nothing_from_another():
    owner = SimpleNamespace(__name__="owner", answer=another)
    one = Patch(owner, "answer", digest(another), lambda _: another, "a test")
    first, second = Holder(), Holder()
    first.hold(one)
    second.hold(one)
    first.release()
    first.release()
    assert owner.answer is not another
    second.release()
    assert owner.answer is another


def test_a_pipeline_of_another_coremltools_keeps_no_record(monkeypatch):
    monkeypatch.setattr(ct.PassPipeline, "remove_passes", another)
    with replacing([removals.NotedRemovals()]):
        assert ct.PassPipeline.remove_passes is another

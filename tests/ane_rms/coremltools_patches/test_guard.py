"""Replacements: inert in other threads, gone after the last conversion, aside where coremltools is another."""

from __future__ import annotations

import logging
import threading
import types

import pytest

from ane_rms.coremltools_patches.guard import Holder, Patch, digest, replacing
from ane_rms.coremltools_patches.lending import Lent, Loan


class Owner:
    """Stands for a class of coremltools."""

    def answer(self):
        """Return who answers."""
        return "original"

    @classmethod
    def of_class(cls):
        """Return the class's name."""
        return cls.__name__


class Heir(Owner):
    """Has both methods from its base."""


def patch(owner=Owner, attribute="answer", says="replaced", known=None):
    known = digest(getattr(owner, attribute)) if known is None else known
    return Patch(owner, attribute, known, lambda _: lambda _self: says, "a test")


def test_it_acts_within_the_block_in_this_thread_alone():
    original, seen = Owner.answer, []
    with replacing([patch()]):
        assert Owner().answer() == "replaced"
        thread = threading.Thread(target=lambda: seen.append(Owner().answer()))
        thread.start()
        thread.join()
    assert seen == ["original"]
    assert Owner.answer is original


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_after_an_exception(error):
    before = dict(vars(Owner))
    with pytest.raises(error), replacing([patch(), patch(attribute="of_class")]):
        raise error
    assert dict(vars(Owner)) == before


def test_threads_that_leave_in_the_order_they_came():
    """A in, B in, A out, B out: A's way out must not take B's replacement away, nor B's put A's back."""
    original = Owner.answer
    a_in, b_in, a_out = (threading.Event() for _ in range(3))
    seen = {}

    def a():
        with replacing([patch(says="a")]):
            a_in.set()
            b_in.wait(30)
            seen["a"] = Owner().answer()
        a_out.set()

    def b():
        a_in.wait(30)
        with replacing([patch(says="b")]):
            b_in.set()
            a_out.wait(30)
            seen["b"] = Owner().answer()

    threads = [threading.Thread(target=one) for one in (a, b)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {"a": "a", "b": "b"}
    assert Owner.answer is original


def test_an_inherited_method_is_taken_off_again():
    with replacing([patch(Heir)]):
        assert Heir().answer() == "replaced"
        assert Owner().answer() == "original"
    assert "answer" not in vars(Heir)


def test_a_class_method_gets_its_class():
    doubled = Patch(Owner, "of_class", digest(Owner.of_class), lambda _: lambda cls: cls.__name__ * 2, "a test")
    with replacing([doubled]):
        assert Owner.of_class() == "OwnerOwner"
    assert Owner.of_class() == "Owner"


def test_the_innermost_block_acts():
    with replacing([patch(says="outer")]):
        with replacing([patch(says="inner")]):
            assert Owner().answer() == "inner"
        assert Owner().answer() == "outer"


def test_another_source_is_left_alone_with_one_line(caplog):
    original = Owner.answer
    with caplog.at_level(logging.WARNING, logger="coremltools"), replacing([patch(known="another")]):
        assert Owner.answer is original
    assert [record.message for record in caplog.records] == [
        "ane_rms: Owner.answer is not the one known; converting without this: a test"
    ]


def test_a_decorated_function_is_not_the_one_known():
    def decorated(self):
        return Owner.answer(self)

    decorated.__wrapped__ = Owner.answer
    assert digest(decorated) != digest(Owner.answer)


def test_a_replacement_by_somebody_else_in_between_stays():
    original = Owner.answer

    def theirs(self):
        return "theirs"

    try:
        with replacing([patch()]):
            Owner.answer = theirs
        assert Owner.answer is theirs
    finally:
        Owner.answer = original


def test_a_copy_of_the_context_does_nothing_afterwards():
    from contextvars import copy_context

    with replacing([patch()]):
        copied = copy_context()
    holder = Holder()
    holder.hold(patch())
    try:
        assert copied.run(Owner().answer) == "original"
    finally:
        holder.release()


def test_a_loan_leaves_the_table_as_it_is():
    owner = types.SimpleNamespace(table={"a": 1})
    table, seen = owner.table, []
    with replacing([Loan(owner, "table", {"a": 2, "b": 3})]):
        assert isinstance(owner.table, Lent)
        assert dict(owner.table) == {"a": 2, "b": 3}
        assert (owner.table.get("b"), "c" in owner.table, len(owner.table)) == (3, False, 2)
        thread = threading.Thread(target=lambda: seen.append(dict(owner.table)))
        thread.start()
        thread.join()
        owner.table["c"] = 4
        with replacing([Loan(owner, "table", {"d": 5})]):
            assert dict(owner.table) == {"a": 2, "b": 3, "c": 4, "d": 5}
    assert seen == [{"a": 1}]
    assert owner.table is table
    assert table == {"a": 1, "c": 4}

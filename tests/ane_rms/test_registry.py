"""The registry: names once, in order, with their places, and errors that offer the nearest name."""

from __future__ import annotations

import re

import pytest

from ane_rms.registry import Registry


def first(x):
    return x


def other(x):
    return -x


def test_entries_stand_in_the_order_of_registration():
    registry = Registry("thing")
    registry.add("b", 1)
    registry.add("a", 2)
    assert list(registry.items()) == [("b", 1), ("a", 2)]
    assert (registry.default, len(registry), "a" in registry, "c" in registry) == ("b", 2, True, False)


def test_a_name_twice_names_the_place_of_the_first():
    registry = Registry("thing")
    registry.register(first)
    place = re.escape(f"{__file__}:{first.__code__.co_firstlineno}")
    with pytest.raises(ValueError, match=f"a thing named 'first' is registered already, at {place}$"):
        registry.add("first", other, other)
    assert registry["first"] is first


def test_an_entry_that_is_no_function_has_the_place_of_the_call():
    registry = Registry("thing")
    registry.add("number", 1)
    assert re.fullmatch(re.escape(__file__) + r":\d+", registry.place("number"))


def test_an_unknown_name_offers_the_nearest():
    registry = Registry("thing")
    registry.add("layer_norm", 1)
    registry.add("max_abs", 2)
    with pytest.raises(ValueError, match=r"^unknown thing 'layer_nrom'; did you mean 'layer_norm'\?$"):
        registry["layer_nrom"]
    with pytest.raises(ValueError, match=r"^unknown thing 'zzz'; known: layer_norm, max_abs$"):
        registry.check("zzz")
    assert registry.get("zzz") is None


def test_the_error_may_be_the_callers_own():
    registry = Registry("thing", lambda kind, name, known: LookupError(f"{kind} {name} {sorted(known)}"))
    registry.add("a", 1)
    with pytest.raises(LookupError, match="thing b"):
        registry["b"]


def test_a_removed_name_can_be_registered_again():
    registry = Registry("thing")
    registry.register(first)
    registry.remove("first")
    assert "first" not in registry
    registry.add("first", other, other)
    with pytest.raises(ValueError, match="unknown thing"):
        registry.remove("second")

"""JSON as strangers and interrupted writers leave it: values of other types, missing keys, odd encodings, cut files."""

from __future__ import annotations

import copy
import json

from hypothesis import strategies as st

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, 1e308, 5e-324, float("nan"), float("-inf")]),
    st.sampled_from(["", "\ud800", "\x00", "\ufeff", "\u2028", "x" * 300, "../x", "nan", "1", "\x1b[2J", "e\u0301"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def places(value):
    """Return each container of a value with each of its keys or indexes."""
    found = []
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in pairs:
        found += [(value, key), *places(inner)]
    return found


@st.composite
def odd_json(draw, content):
    """Draw the bytes of a JSON file like ``content``, with changed values, in an odd encoding, or not whole."""
    content = copy.deepcopy(content)
    for _ in range(draw(st.integers(0, 2))):
        if not (found := places(content)):
            break
        within, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["replace", "replace", "remove", "more", "empty"])):
            case "replace":
                within[key] = draw(VALUES)
            case "remove":
                del within[key]
            case "more" if isinstance(within, dict):
                within[draw(st.text(max_size=5))] = draw(VALUES)
            case _:
                within[key] = type(within[key])() if within[key] is not None else []
    text = json.dumps(content, ensure_ascii=draw(st.booleans()))
    return draw(st.sampled_from(FORMS))(text, draw(st.integers(0, len(text))))


def _bytes(text):
    return text.encode("utf-8", "surrogatepass")


FORMS = (
    *[lambda text, _: _bytes(text)] * 6,
    lambda text, _: b"\xef\xbb\xbf" + _bytes(text),
    lambda text, _: text.encode("utf-16", "surrogatepass"),
    lambda text, _: _bytes(text.replace(", ", ",\r\n")),
    lambda text, at: _bytes(text[:at]),
    lambda text, at: _bytes(text[:at]) + bytes(len(text) - at),
    lambda text, _: _bytes(text + text),
    lambda text, at: _bytes(text[:at] + "[" * 5_000 + text[at:]),
    lambda text, at: _bytes(text[:at] + "7" * 5_000 + text[at:]),
    lambda text, at: _bytes(text[:at]) + b"\xff" + _bytes(text[at:]),
)
"""How a text becomes a file: whole, most often; with a byte order mark; cut; filled up with zeros; twice; deep."""

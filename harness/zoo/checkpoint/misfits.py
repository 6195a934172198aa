"""The sentences on weights that do not fit the model, the same with and without its network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.system.text import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def other_shape(name: str, found: Iterable[int], expected: Iterable[int], count: int) -> str:
    """Return the sentence on a weight of another shape, of ``count`` such weights."""
    return (
        f"{name} has the shape {list(found)} in the file, {list(expected)} in the model that config.json describes"
        f"{_more(count)}"
    )


def lacking(names: Sequence[str], instead: str = "") -> str:
    """Return the sentence on missing weights, sorted; ``instead`` is a name that the file has in their place."""
    text = f"lacks {plural(len(names), 'weight')} of the model, among them {names[0]}"
    return f"{text}; {instead} is in it instead" if instead else text


def unread(names: Sequence[str]) -> str:
    """Return the sentence on weights, sorted, of parts that the model does not have."""
    return (
        f"{names[0]} is in the file, but not in the model that config.json describes, so that nothing would read "
        f"it{_more(len(names))}"
    )


def _more(count: int) -> str:
    return f" (and {count - 1} more)" if count > 1 else ""

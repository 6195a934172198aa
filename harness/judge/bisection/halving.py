"""The search: the first bad place of a row that begins good and ends bad, by halving."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def first_bad(count: int, is_bad: Callable[[int], bool | None]) -> tuple[int, int]:
    """Return the last place known to be good and the first known to be bad.

    They are neighbours, unless the places between cannot be judged. ``ceil(log2(count - 1))`` places are asked about.

    Parameters
    ----------
    count: number of places; place 0 is known to be good, place ``count - 1`` to be bad.
    is_bad: whether a place is bad; None if it cannot be judged.
    """
    good, bad = 0, count - 1
    unknown: set[int] = set()
    while True:
        middle = (good + bad) / 2
        left = [place for place in range(good + 1, bad) if place not in unknown]
        if not left:
            return good, bad
        place = min(left, key=lambda one: abs(one - middle))
        answer = is_bad(place)
        if answer is None:
            unknown.add(place)
        elif answer:
            bad = place
        else:
            good = place

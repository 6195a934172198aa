"""MIL's slices, resolved against the shape of a tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from harness.interpreter.registry import Bools, Ints


@dataclass(frozen=True, slots=True)
class Window:
    """A slice for torch, which has no negative steps: slices, then axes to flip and to drop."""

    slices: tuple[slice, ...]
    flipped: Ints
    squeezed: Ints

    @classmethod
    def of(
        cls,
        x: Tensor,
        begin: Ints,
        end: Ints,
        stride: Ints | None,
        begin_mask: Bools | None,
        end_mask: Bools | None,
        squeeze_mask: Bools | None,
    ) -> Window:
        """Resolve MIL's bounds and masks against the shape of ``x``.

        Raises
        ------
        IndexError: when an index that squeezes its dimension lies outside of it.
        """
        unset = (False,) * x.dim()
        steps = stride or (1,) * x.dim()
        squeezed = tuple(d for d, flag in enumerate(squeeze_mask or unset) if flag)
        slices = []
        for d, size in enumerate(x.shape):
            first = None if (begin_mask or unset)[d] else begin[d]
            last = None if (end_mask or unset)[d] else end[d]
            if d in squeezed:
                index = range(size)[first or 0]
                slices.append(slice(index, index + 1))
                continue
            places = range(size)[first : last : steps[d]]
            ends = sorted((places[0], places[-1])) if places else (0, -1)
            slices.append(slice(ends[0], ends[1] + 1, abs(steps[d])))
        flipped = tuple(d for d in range(x.dim()) if steps[d] < 0 and d not in squeezed)
        return cls(tuple(slices), flipped, squeezed)

    def begins_past_zero(self) -> bool:
        """Return whether the first element taken of the last axis is not that axis's first."""
        last = len(self.slices) - 1
        if last < 0:
            return False
        first: int = self.slices[last].stop - 1 if last in self.flipped else self.slices[last].start
        return first > 0

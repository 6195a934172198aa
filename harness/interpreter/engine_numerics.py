"""The published arithmetic of a generation of Neural Engine, read from ane_rms/neural_engine.json.

Every figure there names its source and says whether it was measured on that generation or derived. The rules that the
executor follows, and their sources (G is arXiv 2606.22283, F is ANEForge):

- ``matmul``, ``linear`` and ``conv`` sum in a float32-class accumulator; a result that would be 32,768 or more is
  infinite (G 3; F 115, 145, 195). Every other op has float16's whole range.
- ``reduce_sum`` sums in float16 (F): totals are exact to 2,048, and 2,049 ones read 2,050.
- NaN is read as +inf, and no op produces NaN: inf - inf, 0 * inf, sqrt(-1), rsqrt(-1) and log(-1) are +0 (G 3), as
  terms of a sum, too.
- The logarithm of 0 is -45,440, softplus and softsign of +inf are 0 (G 3).
- A zero loses its sign before a reciprocal (G 3).
- A subnormal result of a product is zero on the M1 and kept on the M5 (G 3). Under a square root it is zero (F 263).
- A slice of the last axis that begins past 0 makes magnitudes above 4,094 infinite on the M1 and the M2 (G 3).
- ``sigmoid`` is a table of 33 knots over a published domain (G 3). The other tables' domains are not published, and
  those functions are exact here.

Left out, since publications do not settle them: the first stage of sums, in tiles of four; partial sums that pass
the ceiling and come back; the order in which ``reduce_sum`` adds (pairwise here); a 1x1 convolution of one channel,
which G reports to pass 60,000; the tables' small bias at 0.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from harness.system.light_registry import ane_rms_folder

if TYPE_CHECKING:
    from pathlib import Path


def data_path() -> Path:
    """Return the data file, which ships with ``ane_rms``: ``ane_rms.guards`` and ``harness.engine`` read it, too."""
    return ane_rms_folder() / "neural_engine.json"


@dataclass(frozen=True, slots=True)
class Numerics:
    """The arithmetic of one generation.

    Parameters
    ----------
    product_ceiling: the magnitude from which the result of a matrix product or a convolution is infinite.
    slice_limit: the largest magnitude that passes a slice of the last axis which begins past 0; None for any.
    flush_products: whether a subnormal result of a product becomes zero.
    root_floor: the magnitude below which a value under a square root counts as zero.
    narrow_sum: whether ``reduce_sum`` sums in float16.
    sigmoid_domain: the ends of sigmoid's table.
    log_of_zero: the logarithm's table at 0.
    pessimistic: whether unpublished behaviour is assumed to be the worst: an epsilon below ``root_floor`` counts as
        zero inside the normalisations and under a power of one half, subnormal operands of products as well, ``split``
        along the last axis acts as a slice, and ``reduce_sum`` is one running sum.
    """

    product_ceiling: float
    slice_limit: float | None
    flush_products: bool
    root_floor: float
    narrow_sum: bool
    sigmoid_domain: tuple[float, float]
    log_of_zero: float
    pessimistic: bool = False


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = json.loads(data_path().read_text(encoding="utf-8"))
    return data


def load_numerics() -> dict[str, Numerics]:
    """Return the arithmetic of every family of the data file, by its key (``m1``)."""
    found = {}
    for key, family in _data()["families"].items():
        figures = {name: figure["value"] for name, figure in family["numerics"].items()}
        first, last = figures["sigmoid_domain"]
        found[key] = Numerics(
            product_ceiling=figures["product_ceiling"],
            slice_limit=figures["slice_limit"],
            flush_products=figures["flush_products"],
            root_floor=figures["root_floor"],
            narrow_sum=figures["narrow_sum"],
            sigmoid_domain=(first, last),
            log_of_zero=figures["log_of_zero"],
        )
    return found

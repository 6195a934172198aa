"""Numeric policies: the types in which floats are stored, computed and accumulated.

An op under a policy is three steps. Its stored inputs are widened to ``compute``; its formula runs there, and
sums inside it (reductions, the mean and variance of a normalisation, the products of a matmul or convolution,
the denominator of a softmax) run in ``accumulate``; its result is rounded **once** to the type of ``store``.
Integers and booleans are exact under every policy.

What this means for RMSNorm in float16: ``mul(x, x)`` is an op, so its result is rounded to float16 and
becomes inf from ``|x| = 256`` on, whatever it was computed in. ``layer_norm`` is one op: the squares inside
it stay in ``compute`` and only the normalised result is rounded.

``fp16`` models a device with a wide accumulator; ``fp16-sequential`` and ``fp16-blocked`` bracket a device with a
narrow one. The policies ``ane-m1`` to ``ane-m5`` predict a generation of Neural Engine from
published measurements: ``engine_numerics`` has the rules and their sources.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING

from harness.errors import UnknownNameError
from harness.interpreter.engine_numerics import load_numerics
from harness.system.light_registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from harness.interpreter.dtypes import DType
    from harness.interpreter.engine_numerics import Numerics

FLOATS = {"fp16": "float16", "fp32": "float32", "fp64": "float64"}
"""Names of torch's float types; torch is imported only when a policy is applied, so that names can be checked first."""

STORES = ("program", *FLOATS)
COMPUTES = ("fp32", "fp64")
ACCUMULATES = ("fp32", "fp64", "fp16-sequential", "fp16-blocked")


@dataclass(frozen=True, slots=True)
class Precision:
    """The treatment of floats; integers are exact under every policy.

    Parameters
    ----------
    store: what an op's float result is rounded to: ``"program"`` (the declared type of the result) or one of
        ``"fp16"``, ``"fp32"``, ``"fp64"`` for every float.
    compute: the type inputs are widened to inside an op: ``"fp32"`` or ``"fp64"``.
    accumulate: the type and order of sums: ``"fp32"`` and ``"fp64"`` (the library's own order),
        ``"fp16-sequential"`` (one running sum, rounded to float16 after every term) or ``"fp16-blocked"``
        (runs of 16 terms summed so, the partial sums then added pairwise, every sum rounded to float16).
    flush_subnormals: whether a stored result smaller than its type's least normal number becomes zero.
    engine: the arithmetic of a generation of Neural Engine, for ops whose results are float16; None for none.

    Raises
    ------
    UnknownNameError: when a field has a value not listed here.
    """

    store: str
    compute: str
    accumulate: str
    flush_subnormals: bool = False
    engine: Numerics | None = None

    def __post_init__(self) -> None:
        for kind, value, known in (
            ("store type", self.store, STORES),
            ("compute type", self.compute, COMPUTES),
            ("accumulate type", self.accumulate, ACCUMULATES),
        ):
            if value not in known:
                raise UnknownNameError(kind, value, known)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The torch type arithmetic runs in."""
        return _float(self.compute)

    @property
    def wide(self) -> bool:
        """Whether no float16 is stored: a model is converted at FLOAT32 for it, so that no weight is rounded."""
        return self.store in ("fp32", "fp64")

    @property
    def narrow(self) -> bool:
        """Whether sums are rounded to float16 term by term."""
        return self.accumulate.startswith("fp16")

    def stored_dtype(self, dtype: DType) -> torch.dtype:
        """Return the torch type a value declared as ``dtype`` is held in."""
        if dtype.is_float and self.store != "program":
            return _float(self.store)
        return dtype.storage

    def widen(self, value: torch.Tensor) -> torch.Tensor:
        """Convert a float to the compute type; return anything else unchanged."""
        return value.to(self.compute_dtype) if value.is_floating_point() else value

    def stored(self, value: torch.Tensor, dtype: DType) -> torch.Tensor:
        """Round an op's result to the type it is held in: the one rounding an op makes.

        Integers wrap around at their declared width, as two's complement hardware does.
        """
        import torch

        from harness.interpreter.dtypes import wrap

        target = self.stored_dtype(dtype)
        if not dtype.is_float:
            if value.dtype == target and dtype.storage.itemsize * 8 == dtype.bits:
                return value
            return wrap(_to_integer(value, dtype), dtype).to(target) if dtype.kind != "bool" else value.to(target)
        result = value.to(target)
        if self.flush_subnormals:
            tiny = torch.finfo(target).tiny
            result = torch.where(result.abs() < tiny, torch.zeros_like(result).copysign(result), result)
        return result

    def entered(self, value: torch.Tensor, dtype: DType) -> torch.Tensor:
        """Round a value that enters the engine (an input, a constant, a cast from float32), where NaN reads as +inf."""
        result = self.stored(value, dtype)
        if self.engine is not None and result.dtype == _float("fp16"):
            infinity = float("inf")
            return result.nan_to_num(infinity, infinity, -infinity)
        return result


@cache
def _float(name: str) -> torch.dtype:
    import torch

    found: torch.dtype = getattr(torch, FLOATS[name])
    return found


def _to_integer(value: torch.Tensor, dtype: DType) -> torch.Tensor:
    """Truncate a float towards zero, saturating at the type's bounds; integers pass."""
    if not value.is_floating_point() or dtype.kind not in ("int", "uint"):
        return value
    import torch

    low, high = dtype.bounds
    return value.double().nan_to_num(0.0).clamp(low, min(high, (1 << 53) - 1)).to(torch.int64)


POLICIES: Registry[Precision] = Registry("precision", UnknownNameError)
"""The named policies, the default one first.

``fp64``
    Everything in float64: the yardstick the others are measured against.
``fp32``
    Every float, whatever the program declares, stored and computed in float32: the program's meaning.
``fp16``
    Floats stored in the program's own types, computed and accumulated in float32, rounded once an op.
``fp16-sequential``
    As ``fp16``, but every sum is one sequential float16 running sum, as in a single narrow accumulator. Sums
    of thousands of terms stagnate: at 2048 a running sum no longer notices an added 1.
``fp16-blocked``
    As ``fp16``, but sums are float16 runs of 16 terms, added pairwise, as in an array of narrow accumulators.
``ane-m1`` ... ``ane-m5``
    As ``fp16``, with the arithmetic of that generation of Neural Engine: a prediction, not a measurement.
``ane-m1-pessimistic`` ... ``ane-m5-pessimistic``
    The same, with unpublished behaviour assumed at its worst: a result that is fine under both does not depend on it.

The float16 accumulators apply to float16 results only: a float32 op inside the program keeps a float32 sum.
"""

POLICIES.add("fp16", Precision(store="program", compute="fp32", accumulate="fp32"))
POLICIES.add("fp16-blocked", Precision(store="program", compute="fp32", accumulate="fp16-blocked"))
POLICIES.add("fp16-sequential", Precision(store="program", compute="fp32", accumulate="fp16-sequential"))
POLICIES.add("fp32", Precision(store="fp32", compute="fp32", accumulate="fp32"))
POLICIES.add("fp64", Precision(store="fp64", compute="fp64", accumulate="fp64"))
for _key, _numerics in load_numerics().items():
    POLICIES.add(f"ane-{_key}", replace(POLICIES["fp16"], engine=_numerics))
for _key, _numerics in load_numerics().items():
    POLICIES.add(f"ane-{_key}-pessimistic", replace(POLICIES["fp16"], engine=replace(_numerics, pessimistic=True)))

DEFAULT_POLICY = POLICIES.default


def for_values(policy: Precision, dtypes: Iterable[DType]) -> Precision:
    """Return the policy for a program whose values have these types.

    A float32 op of a mixed program does not run on the engine and is computed as written. A program without a float16
    value is taken as its conversion to float16, since the engine has no wider activations.
    """
    if policy.engine is None or policy.store != "program" or any(dtype.name == "fp16" for dtype in dtypes):
        return policy
    return replace(policy, store="fp16")


def resolve_precision(precision: str | Precision) -> Precision:
    """Return the policy of that name; a ``Precision`` passes as it is.

    Raises
    ------
    UnknownNameError: for a name no policy has, with the nearest ones.
    """
    if isinstance(precision, Precision):
        return precision
    return POLICIES[precision]

r"""Define how a MIL op relates the exponents of its inputs to those of its results.

=============  =====================================================================================================
``equal``      the result has the exponent of these operands, which must be alike: reshape, concat, add, max, relu ...
``factors``    the result has the sum of these operands' exponents, each times its power: matmul, mul, real_div, sqrt
``multiplier`` a constant that the result is proportional to; times 2^k, it adds k: a weight, a table, a norm's gamma
``offsets``    constants that are added to the result, or compared with it, and take its exponent: bias, beta
``within``     constants combined with an operand x, which take ``power * e(x)``: epsilon beside x^2 takes ``2 e(x)``
``fixed``      operands that must have exponent 0: those of every op that this module does not know, and of softmax
=============  =====================================================================================================

An op whose result depends on none of its operands' exponents forgets them: ane_rms_norm, layer_norm, argmax, shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ane_rms import mil

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ane_rms.mil import Op, Program, Var


@dataclass(frozen=True, slots=True)
class Slot:
    """One input of an op: its name, and the position where the input is a tuple."""

    name: str
    index: int | None = None

    def of(self, op: Op) -> Var:
        """Return the value that the op reads there."""
        given = getattr(op, self.name)
        return given if self.index is None else given[self.index]


@dataclass(frozen=True, slots=True)
class Factor:
    """An operand, to a power of which the result is proportional."""

    slot: Slot
    power: float = 1


@dataclass(frozen=True, slots=True)
class Relation:
    """The relation of the exponents around one op; see the module's table."""

    outputs: tuple[Var, ...] = ()
    """The float results, all of one exponent."""
    equal: tuple[Slot, ...] = ()
    factors: tuple[Factor, ...] = ()
    multiplier: Factor | None = None
    offsets: tuple[Slot, ...] = ()
    within: tuple[tuple[Slot, Factor], ...] = ()
    """A constant, with the operand that it is combined with and the power that it takes."""
    fixed: tuple[Slot, ...] = ()


def is_compressed(var: Var) -> bool:
    """Return whether ``var`` is a compressed constant, which keeps its value."""
    return var.op is not None and bool(var.op.op_type.startswith("constexpr_"))


def is_constant(var: Var) -> bool:
    """Return whether ``var`` is a float constant whose value can be replaced: one that is not compressed."""
    return mil.is_float(var) and var.val is not None and not is_compressed(var)


def slots(op: Op, names: Iterable[str] | None = None) -> Iterator[Slot]:
    """Yield the float inputs of an op, restricted to some names if given."""
    inputs = op.inputs
    for name in inputs if names is None else names:
        given = inputs.get(name)
        if isinstance(given, (list, tuple)):
            yield from (Slot(name, index) for index, var in enumerate(given) if mil.is_float(var))
        elif given is not None and mil.is_float(given):
            yield Slot(name)


def float_values(program: Program) -> Iterator[Var]:
    """Yield every float value that a program computes at run time, in program order."""
    for block in mil.blocks(program):
        for op in block.operations:
            if not op.op_type.startswith("const"):
                yield from (var for var in op.outputs if mil.is_float(var) and var.val is None)

"""Give the values of a program their exponents, by scaling constants and multiplying where no constant can be scaled.

The program's outputs stay the same for any exponents. Only the number of multiplications depends on the choice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from coremltools.converters.mil.mil import Builder as mb

from ane_rms import mil
from ane_rms.mapped_arrays import made, release, shared
from ane_rms.replacing import build_after, remove_unused
from ane_rms.rescaling.relations import Relation, Slot, slots

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from ane_rms.mil import Op, Var
    from ane_rms.rescaling.survey import Survey

    Scaled = Callable[[npt.NDArray[Any], int], npt.NDArray[Any]]


ALL_READERS = "all that reads it"


@dataclass(slots=True)
class Changes:
    """The changes in a program, by value and constant."""

    constants: list[tuple[str, int, str]] = field(default_factory=list)
    """Name of a constant, the exponent of its factor, and the op that reads it."""
    epsilons: list[tuple[str, float, float]] = field(default_factory=list)
    """Name of a norm's result, and its epsilon before and after."""
    multiplications: list[tuple[str, int, str]] = field(default_factory=list)
    """Name of the multiplied value, the exponent, and the op that reads the product."""


def scaled_copy(array: npt.NDArray[Any], exponent: int) -> npt.NDArray[Any]:
    """Return ``array * 2**exponent`` in the same type; only float16 is rounded, and only below its normal range."""
    return made(array, lambda part: _times(part, exponent))


def _times(array: npt.NDArray[Any], exponent: int) -> npt.NDArray[Any]:
    with np.errstate(over="ignore", under="ignore"):
        if -24 <= exponent <= 15:
            return np.asarray(np.multiply(array, array.dtype.type(2.0**exponent), dtype=array.dtype))
        return np.asarray(np.ldexp(array, exponent))


def give(exponents: Mapping[Var, int], survey: Survey, scaled: Scaled = scaled_copy) -> Changes:
    """Make a program, in place, compute ``v * 2**exponents[v]`` for each value v, with the same outputs.

    Parameters
    ----------
    exponents: exponents by value. Values without one are not scaled, and the program's outputs never are.
    survey: of the program.
    scaled: the function that makes a constant's new value.
    """
    touched: dict[Op, None] = {}
    for var in exponents:
        touched.update(dict.fromkeys(op for op in (var.op, *var.child_ops) if op is not None))
    order = survey.order
    giver = _Giver(exponents, survey, shared(scaled))  # functions may share a constant
    giver.scale_inputs()
    for op in sorted((op for op in touched if op in order), key=order.__getitem__):
        giver.settle(op)
    giver.restore_outputs()
    remove_unused(giver.replaced)
    return giver.changes


class _Giver:
    def __init__(self, exponents: Mapping[Var, int], survey: Survey, scaled: Scaled) -> None:
        self.exponents, self.survey, self.scaled = dict(exponents), survey, scaled
        self.changes, self.replaced = Changes(), list["Op"]()
        self._constants: dict[tuple[Var, int], Var] = {}
        self._multiplied: dict[tuple[Var, int], Var] = {}

    def scale_inputs(self) -> None:
        """Multiply the values that no op writes, such as a program's inputs, which arrive unscaled."""
        for var, exponent in list(self.exponents.items()):
            if var.op is None and exponent:
                self.exponents[var] = 0
                new = self._multiply_result(var, exponent)
                self.exponents[new] = exponent

    def settle(self, op: Op) -> None:
        """Make one op fit the exponents of its inputs and results."""
        rule = self.survey.relation(op)
        for slot in rule.fixed:
            self._adapt(op, slot, 0)
        wanted = self._wanted(op, rule)
        if rule.equal or (rule.offsets and not rule.factors and rule.multiplier is None):
            natural = self._common(op, rule, wanted)
            for slot in rule.equal:
                self._adapt(op, slot, natural)
        else:
            natural = self._natural(op, rule)
            multiplier = rule.multiplier
            if multiplier is not None and natural != wanted and self.survey.may_scale(op, multiplier.slot.of(op)):
                self._scale(op, multiplier.slot, round(multiplier.power) * (wanted - natural))
                natural = wanted
            elif wanted < natural:
                natural += self._lower(op, rule, wanted - natural)
        for slot in rule.offsets:
            self._scale(op, slot, natural)
        self._scale_within(op, rule)
        for var in rule.outputs:
            if step := self._exponent(var) - natural:
                self._multiply_result(var, step)

    def restore_outputs(self) -> None:
        """Multiply a block's outputs back to their original size."""
        for var, exponent in list(self.exponents.items()):
            if exponent and var.consuming_blocks:
                self._multiply_result(var, -exponent, only_outputs=True)

    def _exponent(self, var: Var) -> int:
        return self.exponents.get(var, 0)

    def _wanted(self, op: Op, rule: Relation) -> int:
        if rule.outputs:
            return self._exponent(rule.outputs[0])
        return self._exponent(rule.equal[0].of(op)) if rule.equal else 0

    def _common(self, op: Op, rule: Relation, wanted: int) -> int:
        """Return the common exponent of equal operands: the result's, or theirs, which multiplies the result instead.

        Theirs is used only if it is smaller: the result may exceed float16 at a larger one, an operand at the result's.
        """
        found = {self._exponent(slot.of(op)) for slot in rule.equal}
        if len(found) == 1 and rule.outputs:
            return min(*found, wanted)
        return wanted

    def _natural(self, op: Op, rule: Relation) -> int:
        total = sum(self._exponent(one.slot.of(op)) * one.power for one in rule.factors)
        if total == round(total):
            return round(total)
        for one in rule.factors:
            self._adapt(op, one.slot, 0)
        return 0

    def _lower(self, op: Op, rule: Relation, step: int) -> int:
        """Multiply an operand, because the result may exceed float16 before it is multiplied; return the change."""
        factor = next((one for one in reversed(rule.factors) if one.power >= 1), None)
        if factor is None or not rule.outputs:
            return 0
        change = math.floor(step / factor.power)
        self._adapt(op, factor.slot, self._exponent(factor.slot.of(op)) + change)
        return round(change * factor.power)

    def _scale_within(self, op: Op, rule: Relation) -> None:
        for slot, beside in rule.within:
            exponent = round(self._exponent(beside.slot.of(op)) * beside.power)
            if not exponent:
                continue
            before = getattr(op, slot.name)
            self._scale(op, slot, exponent, before, note=False)
            if op.op_type.endswith("norm"):
                value = float(np.asarray(before.val))
                self.changes.epsilons.append((op.outputs[0].name, value, value * 2.0**exponent))

    def _adapt(self, op: Op, slot: Slot, exponent: int) -> None:
        """Make ``op`` read at ``slot`` the value with another exponent, multiplied once for all readers."""
        var = slot.of(op)
        step = exponent - self._exponent(var)
        if step:
            key = (var, step)
            if key not in self._multiplied:
                self._multiplied[key] = self._multiply(var, step)
                self.changes.multiplications.append((var.name, step, op.name))
            new = self._multiplied[key]
            self.exponents[new] = exponent
            set_input(op, slot, new)

    def _multiply(self, var: Var, step: int) -> Var:
        factor = mil.cast_like(var, np.asarray(2.0**step))[()]
        sign = "minus_" if step < 0 else ""
        return build_after(var, lambda: mb.mul(x=var, y=factor, name=f"{var.name}_times_2_to_{sign}{abs(step)}"))

    def _multiply_result(self, var: Var, step: int, *, only_outputs: bool = False) -> Var:
        """Multiply a value and return the product, which all of its readers, or only a block's outputs, then read."""
        readers = () if only_outputs else tuple(dict.fromkeys(var.child_ops))
        blocks = tuple(dict.fromkeys(var.consuming_blocks))
        new = self._multiply(var, step)
        self.changes.multiplications.append((var.name, step, "output" if only_outputs else ALL_READERS))
        for op in readers:
            for slot in slots(op):
                if slot.of(op) is var:
                    set_input(op, slot, new)
        for block in blocks:
            block.replace_block_output_var(var, new)
        if new.name == var.name:
            var.name = f"{var.name}_before_scaling"
        if not only_outputs:
            self.exponents[new] = self._exponent(var)
            self.exponents.pop(var, None)
        return new

    def _scale(self, op: Op, slot: Slot, exponent: int, given: Var | None = None, *, note: bool = True) -> None:
        """Make ``op`` read a constant times 2**exponent."""
        if not exponent:
            return
        var = slot.of(op) if given is None else given
        value = np.asarray(var.val)
        if not value.any():
            return
        key = (var, exponent)
        if key not in self._constants:
            new = (self.scaled if note else _stays_positive)(value, exponent)
            self._constants[key] = build_after(var, lambda: mb.const(val=_plain(new), name=f"{var.name}_scaled"))
            if note and (value.size > 1 or op.op_type.endswith("norm")):
                self.changes.constants.append((var.name, exponent, op.name))
            release(value)
        set_input(op, slot, self._constants[key])
        if var.op is not None:
            self.replaced.append(var.op)


def _stays_positive(array: npt.NDArray[Any], exponent: int) -> npt.NDArray[Any]:
    """Return a scaled epsilon, at least float16's smallest number, because zero rows are divided by it."""
    scaled = scaled_copy(array, exponent)
    return np.where((scaled == 0) & (array > 0), np.finfo(array.dtype).smallest_subnormal, scaled).astype(array.dtype)


def set_input(op: Op, slot: Slot, var: Var) -> None:
    """Make ``op`` read ``var`` at ``slot``."""
    given: Any = var
    if slot.index is not None:
        given = list(op.inputs[slot.name])
        given[slot.index] = var
        given = tuple(given)
    op.set_inputs(no_check_var_types=True, **{slot.name: given})


def _plain(value: npt.NDArray[Any]) -> Any:
    return value if value.ndim else value[()]

"""Evaluate formulas for the number of norms a model executes, such as ``2*L + 1``.

A formula consists of names, non-negative integers, ``+ - * //`` and parentheses. It is parsed, checked against
that list and evaluated by walking the tree, never passed to ``eval``. ``L`` is the number of hidden layers. A zoo
file defines its other counts in a ``[counts]`` table. Each is either a field of the model's configuration
(``D = "num_decoder_layers"``) or the number of occurrences of a value in a list field
(``A = "layer_types == full_attention"``).
"""

from __future__ import annotations

import ast
import operator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_OPERATORS: dict[type[ast.operator], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
}

_LONGEST = 200  # far longer than any real formula, far shorter than one that exhausts the parser or the stack


class FormulaError(ValueError):
    """A formula contains something other than integer arithmetic on known names."""


def _parse(formula: str) -> ast.expr:
    if len(formula) > _LONGEST:
        raise FormulaError(f"expected at most {_LONGEST} characters, got {len(formula)}")
    try:
        return ast.parse(formula.strip(), mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise FormulaError(f"expected a formula such as '2*L + 1', got {formula!r}") from error


def _value(node: ast.expr, values: Mapping[str, int]) -> int:
    match node:
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            return number
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Name(id=name):
            raise FormulaError(f"unknown count {name!r}, known are {', '.join(sorted(values))}")
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            try:
                return _OPERATORS[type(op)](_value(left, values), _value(right, values))
            except ZeroDivisionError as error:
                raise FormulaError(f"division by zero in {ast.unparse(node)!r}") from error
    raise FormulaError(f"expected names, integers and + - * //, got {ast.unparse(node)!r}")


def names(formula: str) -> frozenset[str]:
    """Return the names a formula refers to.

    Raises
    ------
    FormulaError: if it is not an expression.
    """
    return frozenset(node.id for node in ast.walk(_parse(formula)) if isinstance(node, ast.Name))


def evaluate(formula: str, values: Mapping[str, int]) -> int:
    """Evaluate a formula over named counts.

    Raises
    ------
    FormulaError: for anything but integer arithmetic on the names in ``values``, and for a negative result.
    """
    result = _value(_parse(formula), values)
    if result < 0:
        raise FormulaError(f"{formula!r} is negative ({result})")
    return result


def count(rule: str, field: Callable[[str], object]) -> int:
    """Evaluate one rule of a ``[counts]`` table.

    Parameters
    ----------
    rule: ``"field"`` (an integer field) or ``"field == value"`` (occurrences of the value in a list field).
    field: returns a field of the configuration by name; raises AttributeError or KeyError if there is none.

    Raises
    ------
    FormulaError: if the field is not of the type that the rule needs.
    """
    name, equals, wanted = (part.strip() for part in rule.partition("=="))
    value = field(name)
    if equals and isinstance(value, list | tuple):
        return sum(str(item) == wanted for item in value)
    if not equals and isinstance(value, int) and not isinstance(value, bool):
        return value
    expected = "a list" if equals else "an integer"
    raise FormulaError(f"expected {name} to be {expected}, got {value!r}")

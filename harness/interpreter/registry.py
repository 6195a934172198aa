"""The registry of op implementations, whose annotations declare the form of their arguments.

An implementation is one function, named and documented by the op::

    @impl("reduce_mean")
    def reduce_mean(ctx: Context, x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:

Its parameters are MIL's, its defaults MIL's defaults, and its annotations say in which form it takes an
argument: ``Tensor``, ``Tensors`` (a MIL tuple), ``int``, ``float``, ``bool``, ``str``, ``Ints``, ``Bools``,
``Strs``, ``List`` and ``StateCell``. Float tensors arrive in the policy's compute type unless the op only
moves data (``moves=True``), and the loop rounds what is returned to the declared type: an implementation
holds the formula and nothing else. ``ctx``, if a function asks for it, has the sums and products that a
policy may accumulate in float16.

Where opset versions differ in meaning, each has its own function: ``@impl("gather", since=17)``.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import torch

from harness.errors import UnknownNameError, UnsupportedOpError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


Tensors: TypeAlias = tuple[torch.Tensor, ...]
Ints: TypeAlias = tuple[int, ...]
Floats: TypeAlias = tuple[float, ...]
Bools: TypeAlias = tuple[bool, ...]
Strs: TypeAlias = tuple[str, ...]
Parts: TypeAlias = tuple["int | str", ...]
List: TypeAlias = list[torch.Tensor]

Formula = TypeVar("Formula", bound="Callable[..., Any]")

CONTROL_FLOW = ("cond", "while_loop")
"""Ops the loop itself runs, because they run blocks."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of an implementation: the conversion of its argument, and whether it is required."""

    convert: Callable[[Any], Any]
    required: bool
    is_tuple: bool


@dataclass(frozen=True, slots=True)
class Implementation:
    """One registered function."""

    function: Callable[..., Any]
    parameters: Mapping[str, Parameter]
    takes_context: bool
    moves: bool


def _items(value: Any) -> tuple[Any, ...]:
    return tuple(value.reshape(-1).tolist()) if isinstance(value, torch.Tensor) else tuple(value)


def _scalar(kind: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def convert(value: Any) -> Any:
        return kind(value.item() if isinstance(value, torch.Tensor) else value)

    return convert


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "Tensor": lambda value: value,
    "Tensors": tuple,
    "List": lambda value: value,
    "StateCell": lambda value: value,
    "int": _scalar(int),
    "float": _scalar(float),
    "bool": _scalar(bool),
    "str": str,
    "Ints": lambda value: tuple(int(item) for item in _items(value)),
    "Floats": lambda value: tuple(float(item) for item in _items(value)),
    "Bools": lambda value: tuple(bool(item) for item in _items(value)),
    "Strs": lambda value: tuple(str(item) for item in value),
    "Parts": lambda value: tuple(_part(item) for item in value),
}

_IMPLEMENTATIONS: dict[str, dict[int, Implementation]] = {}


def _part(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def impl(op_type: str, *, since: int = 13, moves: bool = False) -> Callable[[Formula], Formula]:
    """Register a function as the implementation of an op.

    Parameters
    ----------
    op_type: MIL's name of the op.
    since: the first iOS version whose semantics it has.
    moves: whether it only moves or compares stored values, so that its inputs need not be widened.

    Raises
    ------
    ValueError: when that op and version are taken already.
    """

    def register(function: Formula) -> Formula:
        versions = _IMPLEMENTATIONS.setdefault(op_type, {})
        if since in versions:
            raise ValueError(f"{op_type} since iOS{since} is registered already: {versions[since].function}")
        parameters = dict(inspect.signature(function).parameters)
        takes_context = parameters.pop("ctx", None) is not None
        versions[since] = Implementation(
            function, {name: _parameter(p) for name, p in parameters.items()}, takes_context, moves
        )
        return function

    return register


def _parameter(parameter: inspect.Parameter) -> Parameter:
    kind = str(parameter.annotation).removesuffix(" | None")
    required = parameter.default is inspect.Parameter.empty
    return Parameter(_CONVERTERS[kind], required, is_tuple=kind in ("Tensors", "Parts"))


def _load_families() -> None:
    families = importlib.import_module("harness.interpreter.ops")
    for module in pkgutil.iter_modules(families.__path__):
        importlib.import_module(f"{families.__name__}.{module.name}")


def known_ops() -> Iterable[str]:
    """Return the name of every op that can be evaluated."""
    if not _IMPLEMENTATIONS:
        _load_families()
    return [*_IMPLEMENTATIONS, *CONTROL_FLOW]


def find(op_type: str, opset: int, place: str) -> Implementation:
    """Return the implementation of an op for programs of that opset.

    Raises
    ------
    UnsupportedOpError: naming the op, its place and the nearest ops that are known.
    """
    known = known_ops()
    versions = _IMPLEMENTATIONS.get(op_type, {})
    usable = [since for since in versions if since <= opset]
    if not usable:
        raise UnsupportedOpError(f"{place}: {UnknownNameError('op', op_type, known)}")
    return versions[max(usable)]

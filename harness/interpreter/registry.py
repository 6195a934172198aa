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
from harness.interpreter import accumulate, engine_arithmetic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from harness.interpreter.engine_numerics import Numerics
    from harness.interpreter.precision import Precision
    from harness.interpreter.program import Op

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
class Context:
    """The context of an implementation beside its arguments: the op, the policy, and sums under it."""

    op: Op
    policy: Precision
    engine: Numerics | None = None
    """The Neural Engine's arithmetic, if the policy has one and the op's results are float16."""

    @classmethod
    def of(cls, op: Op, policy: Precision) -> Context:
        """Return the context of an op under a policy."""
        float16 = any(policy.stored_dtype(out.type.dtype) == torch.float16 for out in op.outputs)
        return cls(op, policy, policy.engine if float16 else None)

    @property
    def order(self) -> str | None:
        """The float16 accumulation order, or ``None`` if the sums of this op are wide.

        Narrow sums belong to float16 results: a float32 op of a mixed program keeps a float32 accumulator.
        """
        narrow = self.policy.narrow and any(
            self.policy.stored_dtype(out.type.dtype) == torch.float16 for out in self.op.outputs
        )
        return self.policy.accumulate if narrow else None

    def sum(self, x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
        """Sum over ``dims``, keeping them with length 1."""
        if not dims:
            return x
        if self.order and x.is_floating_point():
            return accumulate.total(x, tuple(d % x.dim() for d in dims), self.order)
        return x.sum(dims, keepdim=True)

    def mean(self, x: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
        """Average over ``dims``, keeping them with length 1."""
        count = 1
        for dim in dims:
            count *= x.shape[dim]
        return self.sum(x, dims) / count

    def matmul(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Multiply matrices, batch dimensions broadcast; both have at least two dimensions."""
        if self.order and x.is_floating_point():
            return accumulate.matmul(x, y, self.order)
        return self.product(torch.matmul(self.operand(x), self.operand(y)))

    def operand(self, x: torch.Tensor) -> torch.Tensor:
        """Return an operand of a product as the engine's multiplier reads it; without an engine, as it is."""
        return x if self.engine is None else engine_arithmetic.operand(self.engine, x)

    def product(self, value: torch.Tensor) -> torch.Tensor:
        """Return the results of a product as the engine's accumulator returns them; without an engine, as they are."""
        if self.engine is None or not value.is_floating_point():
            return value
        return engine_arithmetic.product(self.engine, value)

    def under_root(self, value: torch.Tensor) -> torch.Tensor:
        """Return a value as the engine's square root reads it; without an engine, as it is."""
        return value if self.engine is None else engine_arithmetic.under_root(self.engine, value)

    def norm_epsilon(self, epsilon: float) -> float:
        """Return the epsilon of a normalisation as the engine adds it; without an engine, as it is."""
        return epsilon if self.engine is None else engine_arithmetic.norm_epsilon(self.engine, epsilon)

    def sliced(self, value: torch.Tensor) -> torch.Tensor:
        """Return the output of a slice of the last axis that begins past 0; without an engine, its input."""
        return value if self.engine is None else engine_arithmetic.sliced(self.engine, value)

    def divisor(self, value: torch.Tensor) -> torch.Tensor:
        """Return a divisor; on an engine a zero loses its sign."""
        return value if self.engine is None else value + 0.0


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

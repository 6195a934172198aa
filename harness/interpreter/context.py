"""The context of an op's implementation: the op, its policy, and sums, products and functions under that policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from harness.interpreter import accumulate, engine_arithmetic

if TYPE_CHECKING:
    from harness.interpreter.engine_arithmetic import Multiply
    from harness.interpreter.engine_numerics import Numerics
    from harness.interpreter.precision import Precision
    from harness.interpreter.program import Op

HALF = 0.5


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
        return self.product(lambda left, right, _: torch.matmul(left, right), self.operand(x), self.operand(y))

    def operand(self, x: torch.Tensor) -> torch.Tensor:
        """Return an operand of a product as the engine's multiplier reads it; without an engine, as it is."""
        return x if self.engine is None else engine_arithmetic.operand(self.engine, x)

    def product(
        self, multiply: Multiply, x: torch.Tensor, y: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return a product as the engine's accumulator returns it; without an engine, as ``multiply`` does."""
        if self.engine is None or not x.is_floating_point():
            return multiply(x, y, bias)
        return engine_arithmetic.product(self.engine, multiply, x, y, bias)

    def softmax(self, x: torch.Tensor, axis: int) -> torch.Tensor:
        """Return ``e ** x / sum(e ** x)`` along an axis."""
        if self.engine is not None:
            return engine_arithmetic.softmax(x, axis)
        if self.order is None:
            return torch.softmax(x, axis)
        powers = torch.exp(x - x.amax(axis, keepdim=True))
        return powers / self.sum(powers, (axis,))

    def under_root(self, value: torch.Tensor) -> torch.Tensor:
        """Return a value as the engine's square root reads it; without an engine, as it is."""
        return value if self.engine is None else engine_arithmetic.under_root(self.engine, value)

    def norm_epsilon(self, epsilon: float) -> float:
        """Return the epsilon of a normalisation as the engine adds it; without an engine, as it is."""
        return epsilon if self.engine is None else engine_arithmetic.norm_epsilon(self.engine, epsilon)

    def sliced(self, value: torch.Tensor) -> torch.Tensor:
        """Return the output of a slice of the last axis that begins past 0; without an engine, its input."""
        return value if self.engine is None else engine_arithmetic.sliced(self.engine, value)

    def base(self, value: torch.Tensor, exponent: torch.Tensor) -> torch.Tensor:
        """Return the base of a power; a pessimistic engine takes a power of a half as a root."""
        if self.engine is not None and self.engine.pessimistic and bool((exponent.abs() == HALF).all()):
            return self.under_root(value)
        return self.divisor(value)

    def log(self, x: torch.Tensor, epsilon: float) -> torch.Tensor:
        """Return ``ln(x + epsilon)``; the engine holds epsilon in float16."""
        if self.engine is None:
            return (x + epsilon).log()
        return engine_arithmetic.log(self.engine, x + float(torch.tensor(epsilon).half()))

    def divisor(self, value: torch.Tensor) -> torch.Tensor:
        """Return a divisor; on an engine a zero loses its sign."""
        return value if self.engine is None else value + 0.0

"""Ops lent to coremltools for the time of a ``with`` block: each against torch, and no trace after."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.torch import utils
from coremltools.converters.mil.frontend.torch.torch_op_registry import _TORCH_OPS_REGISTRY

from harness.convert import torch_ops
from harness.export import FRONTENDS, frontends
from harness.interpreter import ReferenceModel

if TYPE_CHECKING:
    from collections.abc import Callable

# An MLModel holds its package in a temporary folder that goes when it goes.
pytestmark = pytest.mark.filterwarnings("ignore:Implicitly cleaning up:ResourceWarning")

SAME_ARITHMETIC = 1e-5  # relative L2 of two float32 runs, the sums in another order


def registry() -> dict[str, Any]:
    """Return coremltools' registry as the calling thread sees it."""
    return dict(_TORCH_OPS_REGISTRY.name_to_func_mapping)


def test_registered_inside_only() -> None:
    table, before, types = _TORCH_OPS_REGISTRY.name_to_func_mapping, registry(), dict(utils.TORCH_DTYPE_TO_NUM)
    with torch_ops.registered():
        assert set(torch_ops.names()) <= set(registry())
        assert table == before, "the table itself was written to"
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(registry).result() == before, "another thread sees the loan"
    assert _TORCH_OPS_REGISTRY.name_to_func_mapping is table
    assert before == registry()
    assert types == utils.TORCH_DTYPE_TO_NUM


def test_put_back_after_an_exception() -> None:
    before = registry()

    def fail() -> None:
        with torch_ops.registered():
            raise KeyError("conversion failed")

    with pytest.raises(KeyError, match="conversion failed"):
        fail()
    assert before == registry()


def test_nested_blocks() -> None:
    before = registry()
    with torch_ops.registered():
        with torch_ops.registered():
            pass
        assert "alias" in registry()
    assert before == registry()


def test_what_coremltools_translates_by_itself_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = object()
    monkeypatch.setitem(_TORCH_OPS_REGISTRY.name_to_func_mapping, "alias", theirs)
    with torch_ops.registered():
        assert registry()["alias"] is theirs


def test_one_translation_an_op() -> None:
    with pytest.raises(ValueError, match="torch op named 'alias' is registered already"):
        torch_ops.translation.op("alias")(torch_ops.lacking.alias)
    with pytest.raises(ValueError, match="torch op named 'gelu' is registered already"):
        torch_ops.translation.mend("gelu")(torch_ops.mends.gelu)


def alias(x: torch.Tensor) -> torch.Tensor:
    return torch.ops.aten.alias(x) + 1


def multiply(x: torch.Tensor) -> torch.Tensor:
    return torch.multiply(x, x + 1)


def where_scalar_other(x: torch.Tensor) -> torch.Tensor:
    return torch.where(x > 0, x, 0.25)


def erfinv(x: torch.Tensor) -> torch.Tensor:
    quantile = torch.distributions.Normal(0.0, 1.0).icdf(torch.tensor(0.95))
    return x + quantile


def complex_rotation(x: torch.Tensor) -> torch.Tensor:
    angles = torch.arange(6.0)[:, None] * torch.tensor([1.0, 0.1, 0.01, 0.001])
    turn = torch.polar(torch.ones_like(angles) * 1.5, angles) * 2.0
    pairs = torch.view_as_complex(x.reshape(1, 6, 1, 4, 2))
    return torch.view_as_real(pairs * turn[None, :, None, :].to("cpu")).flatten(3)


def complex_times_complex_twice(x: torch.Tensor) -> torch.Tensor:
    z = torch.view_as_complex(x.reshape(1, 6, 4, 2))
    return torch.view_as_real(z * z * z)


def solve_lower(x: torch.Tensor) -> torch.Tensor:
    a = x @ x.transpose(-1, -2) * 0.1
    return torch.linalg.solve_triangular(a, x, upper=False, unitriangular=True)


def solve_upper(x: torch.Tensor) -> torch.Tensor:
    a = x @ x.transpose(-1, -2) * 0.1
    return torch.linalg.solve_triangular(a, x, upper=True, unitriangular=True)


def gelu_tanh(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x, approximate="tanh")


def gelu_tanh_of_tanh(x: torch.Tensor) -> torch.Tensor:
    """In an exported program the inner node is named like the outer one's option."""
    return torch.nn.functional.gelu(torch.tanh(x) * 3, approximate="tanh")


def gelu_exact(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.gelu(x)


def sub_of_constants(x: torch.Tensor) -> torch.Tensor:
    first, second = torch.full((4,), 0.2).sum().exp(), torch.full((4,), 0.1).sum().exp()
    return x * (first - second + 0.8)


def cumsum_from_the_end(x: torch.Tensor) -> torch.Tensor:
    return torch.cumsum(x, dim=-2)


def repeat_by_a_quotient(x: torch.Tensor) -> torch.Tensor:
    return x.repeat_interleave(x.shape[1] // 3, dim=1)


def scatter_a_scalar(x: torch.Tensor) -> torch.Tensor:
    index = torch.topk(x, k=2, dim=2)[1]
    return torch.zeros_like(x).scatter(2, index, 1) * x


def assign_to_slices(x: torch.Tensor) -> torch.Tensor:
    joined = x.new_empty(1, 6, 12)
    joined[..., :8].copy_(x)
    joined[..., 8:].copy_(x[..., :4] * 2)
    return joined


def assign_to_middle_slice(x: torch.Tensor) -> torch.Tensor:
    y = x * 3
    y[..., 2:5] = x[..., :3]
    return y


CASES = [
    alias,
    multiply,
    where_scalar_other,
    erfinv,
    complex_rotation,
    complex_times_complex_twice,
    solve_lower,
    solve_upper,
    gelu_tanh,
    gelu_tanh_of_tanh,
    gelu_exact,
    sub_of_constants,
    cumsum_from_the_end,
    repeat_by_a_quotient,
    scatter_a_scalar,
    assign_to_slices,
    assign_to_middle_slice,
]


class Calling(torch.nn.Module):
    """A module around a function of one tensor."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the function gives."""
        return self.function(x)


def converted(
    function: Callable[[torch.Tensor], torch.Tensor], frontend: str, x: torch.Tensor, *, lent: bool = True
) -> ReferenceModel:
    program = frontends.run(frontend, Calling(function).eval(), (x,))
    with torch_ops.registered() if lent else nullcontext(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # coremltools renames outputs such as '364'
        model = ct.convert(
            program,
            inputs=[ct.TensorType(name="x", shape=x.shape)],
            convert_to="mlprogram",
            compute_precision=ct.precision.FLOAT32,
            skip_model_load=True,
            minimum_deployment_target=ct.target.iOS17,
        )
    return ReferenceModel(model)


def relative_error(function: Callable[[torch.Tensor], torch.Tensor], frontend: str, *, lent: bool) -> float:
    """Return the converted function's error on an input the frontend has not seen."""
    generator = torch.Generator().manual_seed(0)
    example, x = (torch.randn(1, 6, 8, generator=generator) for _ in range(2))
    (actual,) = converted(function, frontend, example, lent=lent).predict({"x": x.numpy()}).values()
    expected = function(x).numpy()
    assert actual.shape == expected.shape
    return float(np.linalg.norm(actual - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("frontend", FRONTENDS)
@pytest.mark.parametrize("function", CASES)
def test_gives_what_torch_gives(function: Callable[[torch.Tensor], torch.Tensor], frontend: str) -> None:
    assert relative_error(function, frontend, lent=True) <= SAME_ARITHMETIC


@pytest.mark.parametrize("function", [case for case in CASES if case is not gelu_exact])
def test_coremltools_alone_still_cannot(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """A translation that has become needless is to be taken out."""

    def fails(frontend: str) -> bool:
        try:
            return relative_error(function, frontend, lent=False) > SAME_ARITHMETIC
        except Exception:  # noqa: BLE001  (coremltools raises errors of every kind)
            return True

    assert any(fails(frontend) for frontend in FRONTENDS)


def test_erfinv_of_a_variable_is_refused() -> None:
    with pytest.raises(NotImplementedError, match=r"torch\.erfinv of a value that is not constant"):
        converted(torch.erfinv, "trace", torch.full((2, 2), 0.5))


def test_triangular_solve_with_a_diagonal_is_refused() -> None:
    def solve(x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.solve_triangular(x @ x.T + torch.eye(2), x, upper=False)

    with pytest.raises(NotImplementedError, match="other than left, unitriangular"):
        converted(solve, "trace", torch.ones(2, 2))

"""``ReferenceModel``: run an ML program on any machine, with the interface of coremltools' ``MLModel``."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from harness.errors import ExecutorError, InputError, UnknownNameError
from harness.interpreter import features
from harness.interpreter.binding import bind
from harness.interpreter.core import run_block
from harness.interpreter.package import Package, open_package, package_of
from harness.interpreter.precision import for_values, resolve_precision
from harness.interpreter.program import dtypes_of
from harness.interpreter.state import State, StateCell

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from harness.interpreter.core import Listener
    from harness.interpreter.precision import Precision
    from harness.interpreter.program import Function, Program


class ReferenceModel:
    """A program, ready to run under a precision policy.

    Parameters
    ----------
    model: an ``MLModel``, a coremltools ``Program`` (as ``mb.program`` builds and ``milinternal`` conversions
        return), the path of an ``.mlpackage``, an opened ``Package``, or an IR ``Program``.
    precision: a policy or its name; see ``harness.interpreter.precision.POLICIES``. Under a policy of the Neural
        Engine a program without a float16 value is taken as its conversion to float16.
    function_name: which function of a multifunction model runs; the model's default when left out.

    Attributes
    ----------
    program: the IR of the whole model.
    function: the function that runs.
    precision: the policy.

    Raises
    ------
    PackageError: when the package cannot be read.
    UnsupportedOpError: when the function holds an op the executor does not know.
    UnknownNameError: for an unknown policy or function.
    """

    def __init__(self, model: Any, precision: str | Precision = "fp32", function_name: str | None = None) -> None:
        self.program = load(model)
        chosen = function_name or getattr(model, "function_name", None) or self.program.default
        if chosen not in self.program.functions:
            raise UnknownNameError("function", chosen, self.program.functions)
        self.function: Function = self.program.functions[chosen]
        self.precision = for_values(resolve_precision(precision), dtypes_of(self.function))
        self._listeners: list[Listener] = []
        try:
            self._body = bind(self.function, self.precision)
        except ExecutorError as error:
            raise type(error)(f"{self.program.source}: {error}") from error

    def predict(self, data: Mapping[str, Any], state: State | None = None) -> dict[str, Any]:
        """Run the function once.

        Parameters
        ----------
        data: arrays (or anything ``numpy.asarray`` takes, or torch tensors) by input name; for an image input also an
            image of ``PIL``.
        state: what ``make_state`` returned; required by a stateful model, and changed by it.

        Returns
        -------
        Arrays of the declared dtypes by output name; for a classifier its label, and probabilities by label.

        Raises
        ------
        InputError: for wrong names, shapes, dtypes, or a missing state.
        EvaluationError: when an op cannot take the values that reach it.
        """
        return features.finish(self.function, self._run(data, state))

    def evaluate(self, data: Mapping[str, Any], state: State | None = None) -> dict[str, torch.Tensor]:
        """Run the function once and return its results as the policy stores them.

        Under ``fp64`` and ``fp32`` these are not rounded to a float16 output type, unlike those of
        ``predict``.
        """
        results = self._run(data, state)
        return {value.name: result for value, result in zip(self.function.outputs, results, strict=True)}

    def make_state(self) -> State:
        """Return the function's states, all zeros."""
        cells = {}
        for value in self.function.states:
            dtype = value.type.dtype
            shape = tuple(dim or 0 for dim in value.type.shape or ())
            cells[value.name] = StateCell(torch.zeros(shape, dtype=self.precision.stored_dtype(dtype)), dtype)
        return State(cells)

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Call ``listener(op, inputs, outputs)`` after every op for as long as the context lasts."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)

    def _run(self, data: Mapping[str, Any], state: State | None) -> tuple[Any, ...]:
        env: dict[str, Any] = dict(features.prepare(self.function, data, self.precision))
        names = [value.name for value in self.function.states]
        if names and not isinstance(state, State):
            raise InputError(f"the model keeps state ({', '.join(names)}): pass state=model.make_state()")
        for name in names:
            assert state is not None  # noqa: S101 - checked above
            if name not in state.cells:
                raise InputError(f"state {name!r} is missing from the state given: it is another model's")
            env[name] = state.cells[name]
        with torch.inference_mode():
            return run_block(self._body, env, self._listeners)


def load(model: Any) -> Program:
    """Load any model that ``ReferenceModel`` takes into the IR.

    Raises
    ------
    PackageError: when a package cannot be read.
    ExecutorError: for an object of another kind.
    """
    from harness.interpreter import from_proto, program

    if isinstance(model, program.Program):
        return model
    if isinstance(model, Package):
        return from_proto.load_package(model)
    if isinstance(model, (str, Path)):
        return from_proto.load_package(open_package(Path(model)))
    if hasattr(model, "get_spec"):
        return from_proto.load_package(package_of(model))
    if hasattr(model, "functions"):
        from harness.interpreter import from_mil  # imports coremltools, which made the program

        return from_mil.load_program(model)
    raise ExecutorError(f"cannot run a {type(model).__name__}: expected an MLModel, a Program or a package's path")

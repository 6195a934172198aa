"""The messages between the bench's parent and its child processes, JSON in both directions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from harness import workers
from harness.plan.run_plan import Case, Options
from harness.records.machine import Condition
from harness.records.predictions import Prediction
from harness.records.schema import Facts
from harness.run.failure import Failure
from harness.runtime import Source
from harness.runtime.compute_plan import PlannedOp
from harness.zoo.catalog import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable

PREPARE = "harness.bench.preparation:prepare"
"""The handler that converts a model's cases, asked with :class:`Prepare`."""


class Prepare(msgspec.Struct, frozen=True):
    """Convert a model in some cases."""

    spec: ModelSpec
    options: Options
    cases: tuple[Case, ...]
    folder: str
    """The folder for packages and values."""
    wide: bool = False
    """Whether to make the plain program at FLOAT32 as well, as the reference for every precision."""
    families: tuple[str, ...] = ()
    """Families of Neural Engine to predict the time for."""


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """One case has its package, or the failure why it has none."""

    case: Case
    package: str = ""
    norms: tuple[str, ...] = ()
    """Names of its norms' results."""
    seconds: dict[str, float] = {}
    failure: Failure | None = None
    expected: str = ""
    """The file of its own expected output, if it differs from the others'."""
    facts: Facts | None = None
    """The facts of its conversion; None for a program that does not come from a zoo model."""
    problem: str = ""
    """The check that does not hold; empty if all hold."""
    function: str = ""
    """The function of a multifunction package; empty for its default function."""
    inputs: str = ""
    """The file of its own inputs, if they differ from the others'."""
    predictions: tuple[Prediction, ...] = ()
    """The engine model's predictions, one a family that was asked for."""


class Values(msgspec.Struct, frozen=True, tag="values"):
    """Files of arrays, ``.npz``."""

    inputs: str
    """The model's inputs by name."""
    expected: str = ""
    """The output of one predict that the programs' are compared with, such as another program's; empty for none."""
    trial: str = ""
    """The arrays of a :class:`harness.measure.model_precision.Trial`: the model's runs, with the float32 PyTorch
    model's logits, which the programs' outcome depends on; empty for none."""
    keep: str = ""
    """The file in which a measurement keeps its first program's output."""


class WideProgram(msgspec.Struct, frozen=True, tag="wide"):
    """The path of the plain program at FLOAT32."""

    package: str


class Part(msgspec.Struct, frozen=True):
    """One program of a measurement."""

    name: str
    source: Source
    expected: str = ""
    """The file of its own expected output, if it differs from the others'."""
    inputs: str = ""
    """The file of its own inputs, if they differ from the others'."""


class Measure(msgspec.Struct, frozen=True):
    """Time some programs alternately."""

    executor: str
    parts: tuple[Part, ...]
    values: Values
    tell: str
    """A file of one byte: 1 + the number of the part being executed, 0 for none. It outlives a killed process."""
    samples: int = 100
    burst_s: float = 30.0
    sustain_s: float = 0.0
    placement: bool = True


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """A program is ready."""

    part: int
    executor: str
    """The executor's own name, which the rows carry whatever was asked for."""
    seconds: dict[str, float]
    machine: dict[str, str] = {}
    """The fields of the environment that belong to another machine and replace this one's."""


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    """A program's first predict."""

    part: int
    first_predict_s: float
    metrics: dict[str, float | None] = {}
    outcome: str = ""
    """The outcome of its values (`harness.records.outcomes`); empty if there is nothing to compare them with."""
    wrong: str = ""
    """A sentence on values that are NaN or infinite; empty if all are finite."""


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """Samples of one part, in the order measured."""

    part: int
    kind: str
    """``warm_up``, ``predict`` or ``sustained``."""
    wall_s: tuple[float, ...]
    framework_s: tuple[float, ...]
    """Empty if the framework measures none."""


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """The planned devices of a program's ops."""

    part: int
    ops: tuple[PlannedOp, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A part whose measurement has ended; the others go on."""

    part: int
    reason: str
    log: str = ""


class Seen(msgspec.Struct, frozen=True, tag="seen"):
    """The machine's state: ``before``, ``while`` or ``after`` the measurement."""

    when: str
    condition: Condition


class Remark(msgspec.Struct, frozen=True, tag="remark"):
    """A mark for every row of the measurement."""

    text: str


class Probed(msgspec.Struct, frozen=True, tag="probed"):
    """The output of a probe of the engine model, numbers as text: JSON has neither NaN nor infinities."""

    values: tuple[str, ...]


Measured: TypeAlias = Loaded | Checked | Taken | Planned | Refused | Seen | Remark
Item: TypeAlias = Probed | Prepared | Values | WideProgram | Measured

encode = msgspec.json.Encoder().encode
decode_item = msgspec.json.Decoder(Item).decode


def ask(
    child: workers.Child,
    handler: str,
    request: msgspec.Struct,
    limits: workers.Limits,
    take: Callable[[Any], object],
    announce: Callable[[str], None] = lambda _: None,
) -> workers.End:
    """Send a request to a child, pass on its items, and return how its work ended.

    Parameters
    ----------
    child: the process that answers.
    handler: ``module:function`` that answers.
    request: sent as JSON.
    limits: of time and memory.
    take: called with each item as it arrives.
    announce: called with each step before it begins.
    """
    said = child.ask(handler, msgspec.json.encode(request), limits)
    while not isinstance(message := next(said), workers.End):
        if isinstance(message, workers.Item):
            take(decode_item(message.body))
        else:
            announce(message.text)
    return message

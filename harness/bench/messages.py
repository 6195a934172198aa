"""What the bench's parent and its child processes say to each other, JSON both ways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from harness import workers
from harness.plan.run_plan import Case, Options
from harness.records.machine import Condition
from harness.records.schema import Facts
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
    """Where packages and values go."""
    wide: bool = False
    """Also the plain program at FLOAT32, to hold every precision against."""


class Prepared(msgspec.Struct, frozen=True, tag="prepared"):
    """One case is a package; or is not, for a reason."""

    case: Case
    package: str = ""
    norms: tuple[str, ...] = ()
    """Names of its norms' results."""
    seconds: dict[str, float] = {}
    reason: str = ""
    expected: str = ""
    """Where its own expected output is, if it is not the others'."""
    facts: Facts | None = None
    """What is known of its conversion; None for a program that is no zoo model's."""
    problem: str = ""
    """What does not hold of it that must; empty if all does."""


class Values(msgspec.Struct, frozen=True, tag="values"):
    """Files of arrays, ``.npz``."""

    inputs: str
    """The model's inputs by name."""
    expected: str
    """The output it is held against: of the float32 PyTorch model, or of another program; empty for none."""
    keep: str = ""
    """Where a measurement keeps its first program's output."""


class WideProgram(msgspec.Struct, frozen=True, tag="wide"):
    """Where the plain program at FLOAT32 is."""

    package: str


class Part(msgspec.Struct, frozen=True):
    """One program of a measurement."""

    name: str
    source: Source
    expected: str = ""
    """Where its own expected output is, if it is not the others'."""


class Measure(msgspec.Struct, frozen=True):
    """Time some programs alternately."""

    executor: str
    parts: tuple[Part, ...]
    values: Values
    tell: str
    """A file of one byte: 1 + the number of the part that is at work, 0 for none. It outlives a killed process."""
    samples: int = 100
    burst_s: float = 30.0
    sustain_s: float = 0.0
    placement: bool = True


class Loaded(msgspec.Struct, frozen=True, tag="loaded"):
    """A program is ready."""

    part: int
    executor: str
    """The executor's own name: what the rows say, whatever was asked for."""
    seconds: dict[str, float]
    machine: dict[str, str] = {}
    """What another machine's environment says instead of this one's."""


class Checked(msgspec.Struct, frozen=True, tag="checked"):
    """A program's first predict."""

    part: int
    first_predict_s: float
    metrics: dict[str, float | None] = {}
    outcome: str = ""
    """How good its values are, of `harness.records.outcomes`; empty where there is nothing to compare them with."""
    wrong: str = ""
    """Which values are NaN or infinite; empty where all are finite."""


class Taken(msgspec.Struct, frozen=True, tag="taken"):
    """Samples of one part, in the order measured."""

    part: int
    kind: str
    """``warm_up``, ``predict`` or ``sustained``."""
    wall_s: tuple[float, ...]
    framework_s: tuple[float, ...]
    """Empty where the framework measures none."""


class Planned(msgspec.Struct, frozen=True, tag="planned"):
    """Where a program's ops are planned to run."""

    part: int
    ops: tuple[PlannedOp, ...]


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """A part that is measured no further; the others go on."""

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
    """Have a request answered, and return how its work ended.

    Parameters
    ----------
    child: who is asked.
    handler: ``module:function`` of what answers.
    request: sent as JSON.
    limits: of time and memory.
    take: given each item as it comes.
    announce: told each step before it begins.
    """
    said = child.ask(handler, msgspec.json.encode(request), limits)
    while not isinstance(message := next(said), workers.End):
        if isinstance(message, workers.Item):
            take(decode_item(message.body))
        else:
            announce(message.text)
    return message

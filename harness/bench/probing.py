"""Run the probes of the engine model: on this Mac's Neural Engine, or by the reference executor under a policy.

Each runs in a child process through the executors of `harness.runtime`, since Core ML may end a process.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from harness.bench.messages import Probed, ask, encode
from harness.engine import probes
from harness.engine.probes import Answer
from harness.runtime import Source, open_executor
from harness.workers import Child, Limits

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from harness.bench.messages import Item

ANSWER = "harness.bench.probing:answer"


class Asked(msgspec.Struct, frozen=True):
    """Run one package on one input."""

    executor: str
    source: Source
    x: list[list[str]]
    """Numbers as text, since JSON has neither NaN nor infinities."""


def answer(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Answer an :class:`Asked`."""
    asked = msgspec.json.decode(body, type=Asked)
    with contextlib.closing(open_executor(asked.executor, asked.source)) as executor:
        executor.load(announce)
        outputs = executor.predict({"x": np.array(asked.x, np.float64).astype(np.float16)})
    (values,) = outputs.values()
    yield encode(Probed(tuple(str(float(value)) for value in np.asarray(values).ravel())))


def run(executor: str, policy: str, limit_s: float = 60.0) -> Iterator[Answer]:
    """Yield the answer to every probe.

    Parameters
    ----------
    executor: a name of `harness.runtime.EXECUTORS`.
    policy: the reference executor's; other executors have none.
    limit_s: time limit of one probe.
    """
    with tempfile.TemporaryDirectory(prefix="ane-harness-probe-") as folder, contextlib.closing(Child()) as child:
        for number, probe in enumerate(probes.PROBES):
            package = Path(folder) / f"{number}.mlpackage"
            probes.save(probe, package)
            source = Source(str(package), policy=policy)
            asked = Asked(executor, source, [[str(value) for value in row] for row in probe.x])
            items: list[Item] = []
            end = ask(child, ANSWER, asked, Limits(limit_s), items.append)
            found = [item for item in items if isinstance(item, Probed)]
            if end.status != "ok" or not found:
                yield Answer(probe, (), f"{end.status}: {end.reason}")
            else:
                yield Answer(probe, tuple(float(value) for value in found[0].values))

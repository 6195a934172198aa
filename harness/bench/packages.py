"""Packages as they are on disk: each function is timed, those of several packages alternately in one process.

Inputs are seeded numbers of the declared shapes, the same for inputs of the same name. Nothing is known of the values
that a package should compute, so its rows have no precision; ``ane-harness diff`` compares values.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from harness.bench.messages import Item, Prepared, Values, encode
from harness.bench.session import Subject
from harness.engine.prediction import predict
from harness.errors import PackageError
from harness.interpreter.reference_model import load
from harness.measure.random_inputs import random_inputs
from harness.plan.run_plan import Case
from harness.records.environment import environment
from harness.records.schema import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from harness.bench.session import Bench
    from harness.interpreter.program import Function, Program

PREPARE = "harness.bench.packages:prepare"
VARIANT = "package"
"""The variant of the rows."""
TOKENS = "input_ids"
"""The input whose last axis is the number of tokens of a call, in packages of language models."""


class PackageFunction(msgspec.Struct, frozen=True):
    """One function of one package."""

    path: str
    function: str
    title: str
    tokens: int
    """Number of tokens of a call; 0 if the function takes none."""
    compute_precision: str
    digest: str

    @property
    def case(self) -> Case:
        """The case of its row, unlike that of every other function."""
        return Case(self.title)


class PackageJob(msgspec.Struct, frozen=True):
    """Functions to be timed alternately."""

    functions: tuple[PackageFunction, ...]
    families: tuple[str, ...] = ()
    """Families of Neural Engine to predict the time for."""
    folder: str = ""


def functions(paths: Sequence[Path]) -> tuple[PackageFunction, ...]:
    """Return every function of the packages.

    Raises
    ------
    PackageError: if there is no package, or it cannot be read.
    """
    titles = [str(path) for path in paths] if len({path.name for path in paths}) < len(paths) else None
    found: list[PackageFunction] = []
    for number, path in enumerate(paths):
        program, digest = load(str(path)), _digest(path)
        for name, function in program.functions.items():
            title = (titles[number] if titles else path.name) + (f" {name}" if len(program.functions) > 1 else "")
            if any(one.title == title for one in found):
                raise PackageError(f"{path}: is given twice; name two packages to time them against each other")
            found.append(
                PackageFunction(
                    str(path.resolve()),
                    name if len(program.functions) > 1 else "",
                    title,
                    _tokens(function),
                    _precision(function),
                    digest,
                )
            )
    return tuple(found)


def measure(bench: Bench, paths: Sequence[Path]) -> Iterator[Record]:
    """Yield a record for each function of the packages."""
    asked = functions(paths)
    by_case = {one.case: one for one in asked}

    def record(case: Case, fields: dict[str, Any]) -> Record:
        one = by_case[case]
        return Record(
            run_id=bench.options.run_id,
            time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            model=one.title,
            variant=VARIANT,
            frontend="package",
            size="package",
            compute_units="CPU_AND_NE",
            compute_precision=one.compute_precision,
            executor=bench.settings.executor,
            policy=bench.options.policy,
            lowering="",
            seed=0,
            sequence_length=one.tokens,
            shape="decode" if one.tokens == 1 else "prefill",
            environment=environment(),
            definition=one.digest,
            **fields,
        )

    subject = Subject(" and ".join(one.title for one in asked), tuple(by_case), record)
    job = PackageJob(asked, bench.settings.families)
    yield from bench.measure(subject, PREPARE, lambda folder: msgspec.structs.replace(job, folder=folder))


def _tokens(function: Function) -> int:
    shapes = [item.value.type.shape for item in function.inputs if item.value.name == TOKENS]
    return int(shapes[0][-1] or 1) if shapes and shapes[0] else 0


def _precision(function: Function) -> str:
    """Return the compute precision: ``FLOAT16`` if any op gives float16."""
    types = {value.type.dtype.name for op in function.body.ops for value in op.outputs}
    return "FLOAT16" if "fp16" in types else "FLOAT32"


def _digest(path: Path) -> str:
    """Return a digest of a package's files."""
    found = hashlib.sha256()
    for file in sorted(one for one in path.rglob("*") if one.is_file()):
        found.update(str(file.relative_to(path)).encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                found.update(block)
    return found.hexdigest()[:16]


# In the child -------------------------------------------------------------------------------------------------------


def prepare(body: bytes, announce: Callable[[str], None]) -> Iterator[bytes]:
    """Answer a :class:`PackageJob`."""
    job = msgspec.json.decode(body, type=PackageJob)
    for item in _prepare(job, announce):
        yield encode(item)


def _prepare(job: PackageJob, announce: Callable[[str], None]) -> Iterator[Item]:
    programs: dict[str, Program] = {}
    for number, one in enumerate(job.functions):
        announce(f"read {one.title}")
        program = programs.setdefault(one.path, load(one.path))
        function = program.functions[one.function or program.default]
        inputs = str(Path(job.folder) / f"inputs-{number}.npz")
        np.savez(inputs, **random_inputs(function))  # type: ignore[arg-type]
        if not number:
            yield Values(inputs, "")
        predictions = tuple(predict(function, family, one.title, None) for family in job.families)
        yield Prepared(
            one.case,
            one.path,
            _norms(one.path),
            function=one.function,
            inputs=inputs,
            predictions=predictions,
        )


def _norms(path: str) -> tuple[str, ...]:
    import ane_rms

    return tuple(site.name for site in ane_rms.report(path).fused)

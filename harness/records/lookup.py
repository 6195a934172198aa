"""Find the records a command names: a run, a file, or the baselines of the working tree or a git revision."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.records import baselines
from harness.records.run_files import read_asked, read_records
from harness.system import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.records.baselines import Baseline
    from harness.records.schema import Record

LATEST = re.compile(r"latest(?:~(\d+))?")
BASELINES = "baselines"


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: a run's records, or baselines."""

    name: str
    records: list[Record] = field(default_factory=list)
    baselines: dict[str, Baseline] = field(default_factory=dict)
    others: tuple[str, ...] | None = None
    """Models that a run was not asked for; None where nobody said, and every row of a base is expected in it."""


def find(name: str, results: Path, damaged: Callable[[str], None] | None = None) -> Side:
    """Return the records or baselines a name stands for.

    Parameters
    ----------
    name: ``baselines``, ``latest`` or ``latest~N`` (the run N before it), a file of records, a results folder (its
        latest run), a baseline or a folder of them, a run's id or its beginning, or a git revision, for the baselines
        committed there.
    results: the results folder.
    damaged: called with a sentence about a half-written last line.

    Raises
    ------
    RecordError: if nothing answers to the name, or what does cannot be read.
    """
    if name == BASELINES:
        return _folder(name, results / "baselines")
    if LATEST.fullmatch(name):
        return _run(_latest(name, results), damaged)
    path = Path(name)
    if (path / "runs").is_dir():
        return _run(_latest("latest", path), damaged, name)
    if path.is_dir():
        return _folder(name, path)
    if path.suffix == ".json" and path.exists():
        one = baselines.read(path)
        return Side(name, baselines={one.model: one})
    if path.exists() or path.suffix == ".jsonl":
        return _run(path, damaged, name)
    started = [run for run in runs(results) if run.stem.startswith(name)]
    if len(started) > 1:
        raise RecordError(f"{name}: {len(started)} runs begin so: {', '.join(run.stem for run in started[:3])} ...")
    if started:
        return _run(started[0], damaged)
    return Side(name, baselines=_at_revision(name, results))


def runs(results: Path) -> list[Path]:
    """Return the files of all runs, oldest first."""
    return sorted((results / "runs").glob("*.jsonl"))


def _latest(name: str, results: Path) -> Path:
    match = LATEST.fullmatch(name)
    back = int(match[1] or 0) if match else 0
    found = runs(results)
    if back >= len(found):
        have = f"{len(found)} run{'s' * (len(found) != 1)}"
        raise RecordError(f"{name}: {results / 'runs'} holds {have}; make one with `ane-harness run`")
    return found[-1 - back]


def _run(path: Path, damaged: Callable[[str], None] | None, name: str = "") -> Side:
    return Side(name or path.stem, records=list(read_records(path, damaged)), others=read_asked(path).others)


def _folder(name: str, folder: Path) -> Side:
    found = baselines.read_folder(folder)
    if not found:
        raise RecordError(f"{folder}: no baselines there; write them with `ane-harness expect --update`")
    return Side(name, baselines=found)


def _at_revision(revision: str, results: Path) -> dict[str, Baseline]:
    """Return the baselines committed at a git revision."""
    if revision.startswith("-") or _git(results, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise RecordError(
            f"{revision}: no run under {results / 'runs'}, no file, and no git revision of this name; "
            "known too: latest, latest~1, baselines"
        )
    names = (_git(results, "ls-tree", "--name-only", revision, "baselines/") or "").split()
    found = {}
    for name in names:
        if name.endswith(".json"):
            text = _git(results, "show", f"{revision}:./{name}")
            one = baselines.decode((text or "").encode(), f"{revision}:{name}")
            found[one.model] = one
    if not found:
        raise RecordError(f"{revision}: this revision has no {results / 'baselines'}/*.json")
    return found


def _git(folder: Path, *words: str) -> str | None:
    return command.output("git", "-C", str(folder), *words, seconds=60)

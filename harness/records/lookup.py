"""Find the records a command names: a run, a file, or the baselines of the working tree or a git revision."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.records import baselines, listing
from harness.records.run_files import read_asked, read_records
from harness.system import command
from harness.system.text import MODEL_KEY, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

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
    """Models that a run was not asked for; None if unknown, and then every row of a base is expected in it."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """The reason why a baseline cannot be read, by model; a caller that needs that baseline must refuse."""

    def only(self, models: Collection[str] | None) -> Side:
        """Return the side with these models only; all of it for None."""
        if models is None:
            return self
        return replace(
            self,
            records=[record for record in self.records if record.model in models],
            baselines={name: one for name, one in self.baselines.items() if name in models},
            unreadable={name: why for name, why in self.unreadable.items() if name in models},
        )


def find(name: str, results: Path, damaged: Callable[[str], None] | None = None) -> Side:
    """Return the records or baselines a name stands for.

    Parameters
    ----------
    name: ``baselines``, ``latest`` or ``latest~N`` (the run N before it), a file of records, a results folder (its
        latest run), a baseline or a folder of them, a run's id or its beginning, or a git revision, for the baselines
        committed there.
    results: the results folder.
    damaged: called with a sentence about a half-written last line, and about each file that is left out.

    Raises
    ------
    RecordError: if the name stands for nothing, or for something that cannot be read.
    """
    if name == BASELINES:
        return _folder(name, results / "baselines", damaged)
    if LATEST.fullmatch(name):
        return _run(_latest(name, results, damaged), damaged)
    path = Path(name)
    if (path / "runs").is_dir():
        return _run(_latest("latest", path, damaged), damaged, name)
    if path.is_dir():
        return _folder(name, path, damaged)
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
    return _at_revision(name, results, damaged)


def check_readable(base: Side, other: Side, told: Callable[[str], None]) -> None:
    """Refuse to judge a model whose baseline cannot be read; report those that the other side has no row of.

    Raises
    ------
    RecordError: for a baseline that the other side needs.
    """
    needed = {record.model for record in other.records} | other.baselines.keys()
    for model, why in base.unreadable.items():
        if model in needed:
            raise RecordError(why)
        told(f"{why}; left out")


def runs(results: Path, damaged: Callable[[str], None] | None = None) -> list[Path]:
    """Return the files of all runs, oldest first; `damaged` is called for each file that is left out."""
    return list(listing.tell(listing.runs(results), damaged))


def _latest(name: str, results: Path, damaged: Callable[[str], None] | None) -> Path:
    match = LATEST.fullmatch(name)
    back = int(match[1] or 0) if match else 0
    found = runs(results, damaged)
    if back >= len(found):
        have = plural(len(found), "run")
        raise RecordError(f"{name}: {results / 'runs'} holds {have}; make one with `ane-harness run`")
    return found[-1 - back]


def _run(path: Path, damaged: Callable[[str], None] | None, name: str = "") -> Side:
    """Return a run's records; a plan that cannot be read is a note, since the records are compared without it too."""
    records = list(read_records(path, damaged))
    try:
        others = read_asked(path).others
    except RecordError as error:
        if damaged is None:
            raise
        damaged(f"{error}; left out")
        others = None
    return Side(name or path.stem, records=records, others=others)


def baselines_of(folder: Path, damaged: Callable[[str], None] | None, name: str = "") -> Side:
    """Return the baselines of a folder, and which of them cannot be read."""
    errors: dict[str, RecordError] = {}
    found = baselines.read_folder(folder, damaged, errors.__setitem__)
    return Side(name, baselines=found, unreadable={model: str(error) for model, error in errors.items()})


def _folder(name: str, folder: Path, damaged: Callable[[str], None] | None) -> Side:
    side = baselines_of(folder, damaged, name)
    if not side.baselines and side.unreadable:
        raise RecordError(next(iter(side.unreadable.values())))
    if not side.baselines:
        raise RecordError(f"{folder}: no baselines there; write them with `ane-harness expect --update`")
    return side


def _at_revision(revision: str, results: Path, damaged: Callable[[str], None] | None) -> Side:
    """Return the baselines committed at a git revision.

    git lists names separated by NUL, since in lines it quotes those that are not ASCII.
    """
    if revision.startswith("-") or _git(results, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") is None:
        raise RecordError(
            f"{revision}: no run under {results / 'runs'}, no file, and no git revision of this name; "
            "known too: latest, latest~1, baselines"
        )
    entries = (_git(results, "ls-tree", "-z", revision, "baselines/") or "").split("\0")
    side = Side(revision)
    for entry in filter(None, entries):
        about, _, name = entry.partition("\t")
        mode, _, blob = about.split(" ")
        stem = PurePosixPath(name).stem
        if stem.startswith(".") or not name.endswith(".json"):
            continue
        where = f"{revision}:{name}"
        if not mode.startswith("100") or not MODEL_KEY.fullmatch(stem):
            if damaged:
                damaged(f"{where}: left out: not a file named by a model's key")
            continue
        try:
            one = baselines.decode((_git(results, "cat-file", "blob", blob) or "").encode(), where)
            side.baselines[one.model] = one
        except RecordError as error:
            side.unreadable[stem] = str(error)
    if not side.baselines and side.unreadable:
        raise RecordError(next(iter(side.unreadable.values())))
    if not side.baselines:
        raise RecordError(f"{revision}: this revision has no {results / 'baselines'}/*.json")
    return side


def _git(folder: Path, *words: str) -> str | None:
    return command.output("git", "-C", str(folder), *words, seconds=60)

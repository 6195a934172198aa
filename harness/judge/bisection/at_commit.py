"""Measure a row at a commit: ``python -m harness run`` or ``bench`` in that commit's work tree, by its own code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.judge.bisection.answers import Answer
from harness.judge.bisection.question import figure_of, public, subject_of
from harness.records.lookup import runs
from harness.records.run_files import read_records
from harness.system.text import squeezed

if TYPE_CHECKING:
    from harness.judge.bisection.question import Question
    from harness.records.schema import Record


def words_of(question: Question, results: Path) -> list[str]:
    """Return the command, after ``python``, that measures the question's row into a results folder."""
    one, timed = question.about, question.measure in {*question.about.samples, *question.bad.record.samples}
    shape = f"{one.shape}:{one.sequence_length}"
    words = ["-m", "harness", "bench" if timed else "run"]
    words += ["--checkpoint", one.checkpoint] if one.checkpoint else [one.model]
    variants = dict.fromkeys(("off", one.variant)) if timed else (one.variant,)
    words += [word for name in variants for word in ("--variant", name)]
    words += ["--frontend", one.frontend, "--shape", shape, "--results", str(results)]
    words += ["--lowering", one.lowering] if one.lowering else []
    if not timed:
        words += ["--size", one.size, "--precision", one.policy, "--no-cache"]
        words += ["--compression", one.compression] if one.compression else []
    return words


def measure(
    question: Question, commit: str, tree: Path, python: Path, pins: tuple[tuple[str, str], ...], seconds: float
) -> Answer:
    """Return what a commit's own code measures.

    Parameters
    ----------
    question: names the row and the figure.
    commit: of the work tree.
    tree: the work tree's folder, from which the code is taken.
    python: the interpreter of the environment.
    pins: versions that the environment must have; empty for any.
    seconds: time limit of the command.
    """
    with tempfile.TemporaryDirectory(prefix="ane-harness-bisect-") as folder:
        said = _run([str(python), *words_of(question, Path(folder))], tree, seconds)
        try:
            rows = [record for path in runs(Path(folder)) for record in read_records(path)]
        except RecordError as error:
            return Answer(commit, pins, None, f"its records cannot be read: {error}")
    found = [one for one in rows if subject_of(one) == subject_of(question.about)]
    if not found:
        return Answer(commit, pins, None, f"no record of the row: {said}")
    record = found[-1]
    why = _another(record, commit, pins)
    figure = figure_of(record, question.measure)
    if not why and figure is None and question.bad.figure is not None:
        why = f"{record.status}: {record.reason}" if record.reason else f"the row has no {question.measure}"
    return Answer(commit, pins, None if why else figure, why)


def _another(record: Record, commit: str, pins: tuple[tuple[str, str], ...]) -> str:
    """Return the reason why a record is not of this commit and environment; "" if it is."""
    env = record.environment
    if env.git_commit != commit:
        return f"commit {env.git_commit[:10] or 'unknown'} ran instead: an installed package hides the work tree"
    wrong = [f"{name} {env.versions.get(name)}" for name, one in pins if public(env.versions.get(name, "")) != one]
    return f"the environment has {', '.join(wrong)} instead" if wrong else ""


def _run(words: list[str], tree: Path, seconds: float) -> str:
    """Run a command in a work tree, and return the last line it said; its whole process group ends with it."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            words, cwd=tree, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"took longer than {seconds:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(max(said.seek(0, os.SEEK_END) - 4000, 0))
        lines = said.read().decode(errors="replace").strip().splitlines()
    return squeezed(lines[-1])[:300] if lines else f"exit code {process.returncode}"

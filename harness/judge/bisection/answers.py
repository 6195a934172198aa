"""The measured figures of a bisection, kept in a file after each measurement so that it can be resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from harness.errors import RecordError
from harness.records import atomic
from harness.system import limited_read

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_BYTES = 16_000_000


class Answer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measurement."""

    commit: str
    pins: tuple[tuple[str, str], ...]
    """Name and version of each package of the environment; empty for the one the bisection runs in."""
    figure: float | None
    """None if it is missing."""
    why: str = ""
    """The reason why nothing could be measured, if so."""


class Answers(msgspec.Struct, forbid_unknown_fields=True):
    """All measurements of one question."""

    question: str
    answers: list[Answer] = []

    def find(self, commit: str, pins: tuple[tuple[str, str], ...]) -> Answer | None:
        """Return the measurement of a commit in an environment, if it was made."""
        return next((one for one in self.answers if (one.commit, one.pins) == (commit, pins)), None)


def read(path: Path, question: str) -> Answers:
    """Return the answers of a file, or none yet if it does not exist or is about another question.

    Raises
    ------
    RecordError: if it cannot be read.
    """
    try:
        found = msgspec.json.decode(limited_read.read(path, LIMIT_BYTES), type=Answers)
    except FileNotFoundError:
        return Answers(question)
    except OSError as error:
        raise RecordError(f"{path}: cannot read: {error.strerror}") from None
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: not the state of a bisection ({error}); remove it to begin anew") from None
    return found if found.question == question else Answers(question)


def write(path: Path, answers: Answers) -> None:
    """Write the file atomically.

    Raises
    ------
    OutputError: if it cannot be written.
    """
    atomic.write(path, msgspec.json.format(msgspec.json.encode(answers), indent=1) + b"\n")

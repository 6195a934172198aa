"""Read prompts, the texts on which a checkpoint's precision is measured: lines of a file, or this project's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import ArgumentError
from harness.system import limited_read

if TYPE_CHECKING:
    from pathlib import Path

LIMIT_BYTES = 4_000_000
MOST = 1_000
"""Largest number of prompts, because each is a run of the model in an interpreter."""

DEFAULT = (
    (
        "The tide had gone out by noon, and the boats lay on their sides in the mud, waiting. An old man walked among "
        "them with a lamp, though the sun was high, and counted the planks of each hull aloud, as he had every spring."
    ),
    (
        "def mean_square(values):\n    total = 0.0\n    for value in values:\n        total += value * value\n"
        "    return total / len(values)\n\n\nprint(mean_square([1.0, 2.0, 3.5, 4.25, 10.0]))\n"
    ),
    (
        "In 1687 it was written that a body stays at rest, or moves on in a straight line, unless a force acts on it; "
        "12 bodies, 3 forces and 40 seconds later, nobody in the room could say where any of them had got to."
    ),
)
"""Prompts for a checkpoint with a tokenizer if no file is given: prose, code, and prose with numbers."""


def read(path: Path) -> tuple[str, ...]:
    """Return the lines of a file that are not empty.

    Raises
    ------
    ArgumentError: in one line, for a file that is missing, not UTF-8 text, too large, or empty.
    """
    try:
        if not path.is_file():
            raise ArgumentError(f"--prompts {path}: no such file")
        lines = limited_read.read(path, LIMIT_BYTES).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ArgumentError(f"--prompts {path}: not UTF-8 text: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise ArgumentError(f"--prompts {path}: cannot be read: {error.strerror}") from None
    prompts = tuple(line.strip() for line in lines if line.strip())
    if not prompts:
        raise ArgumentError(f"--prompts {path}: no prompt in it: expected one a line")
    if len(prompts) > MOST:
        raise ArgumentError(f"--prompts {path}: {len(prompts):,} prompts; at most {MOST:,} are run")
    return prompts

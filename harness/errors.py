"""The harness's one error tree; the command line turns it into one line and an exit code.

HarnessError                 exit code 2, one line: the thing, the place, the mend
|- UnknownNameError          a name (model, variant, policy, op ...) that nothing answers to
|- ArgumentError             an option's value that cannot be used, or that contradicts another
|- ZooFileError              a models/<key>.toml that cannot be used
|- OutputError               a folder or file that cannot be written
|- RecordError               a record, baseline or results file that cannot be read
|- MissingPackageError       a package of an extra that a command needs and that is not installed
|- FleetError                the scheduler of a fleet, or a worker of it
|- CheckpointError           weights that cannot be found, or must not be read
|- ExportError               a PyTorch model that cannot be built, traced or exported
|  |- NotFiniteError         weights that are NaN or infinite
|  `- UnsuitedShapeError     a shape that a model does not have, such as decoding with an encoder
|- ConversionError           coremltools refused the program
|- RuntimeUnavailableError   Core ML, the Neural Engine or a device that is not to be had here
`- ExecutorError             the reference executor, or Core ML
   |- PackageError           a package that cannot be read
   |- UnsupportedOpError     an op (or a form of one) without an implementation
   |- InputError             wrong names, shapes or dtypes given to predict
   `- EvaluationError        values an op cannot take, met while running
"""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, TypeVar

from harness.system.text import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable

Name = TypeVar("Name", bound=str)
MOST_CHARACTERS = 2_000
"""Length of the longest message."""


class HarnessError(Exception):
    """What the user or the environment must mend. ``str()`` is the one line shown."""

    exit_code = 2

    def __str__(self) -> str:
        """Return the message on one line of at most :data:`MOST_CHARACTERS`: names in damaged files hold anything."""
        text = one_line(super().__str__())
        half = MOST_CHARACTERS // 2
        return text if len(text) <= MOST_CHARACTERS else f"{text[: half - 5]} ... {text[-half:]}"


class UnknownNameError(HarnessError):
    """A name that nothing answers to; the message offers the nearest known ones.

    Parameters
    ----------
    kind: what was looked for, for example ``"model"``.
    name: the name as given.
    known: every name that would have been right.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(str(name), names, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(names)}."
        super().__init__(f"unknown {kind} {name!r}. {hint}")


class ArgumentError(HarnessError):
    """An option's value that cannot be used, or that contradicts another's."""


class ZooFileError(HarnessError):
    """A zoo file that cannot be used: ``models/qwen3.toml: hidden_size: expected an integer, got '64k'``."""


class OutputError(HarnessError):
    """A folder or file that cannot be written."""


class RecordError(HarnessError):
    """A record, a baseline or a results file that cannot be read."""


class MissingPackageError(HarnessError):
    """A package that a command needs is not installed; the message names the extra."""


class FleetError(HarnessError):
    """The scheduler of a fleet that does not answer, or a worker that cannot be used."""


class CheckpointError(HarnessError):
    """A checkpoint that cannot be found, is damaged, or is read only if a flag allows it."""


class ExportError(HarnessError):
    """A PyTorch model that cannot be built, traced or exported."""


class NotFiniteError(ExportError):
    """Weights that are NaN or infinite, so that no output of the model means anything."""


class UnsuitedShapeError(ExportError):
    """A shape that a model does not have: no fault of anyone's, so a run skips the row."""


class ConversionError(HarnessError):
    """A program that coremltools refuses to convert."""


class RuntimeUnavailableError(HarnessError):
    """Core ML, the Neural Engine or a connected device is asked for and not to be had here."""


class ExecutorError(HarnessError):
    """Anything an executor refuses; the parent of the reference executor's own errors."""


class PackageError(ExecutorError):
    """A package that cannot be read: missing, truncated, of a newer specification."""


class UnsupportedOpError(ExecutorError):
    """An op, or a form of one, that the executor has no implementation for."""


class InputError(ExecutorError):
    """Wrong input names, shapes or dtypes given to ``predict``."""


class EvaluationError(ExecutorError, RuntimeError):
    """Values an op cannot take, met while running; a ``RuntimeError`` too, as ``MLModel.predict`` raises."""


def check_name(kind: str, name: str, known: Iterable[Name]) -> Name:
    """Return that of ``known`` which ``name`` is.

    Raises
    ------
    UnknownNameError: otherwise.
    """
    names = list(known)
    for one in names:
        if one == name:
            return one
    raise UnknownNameError(kind, name, names)

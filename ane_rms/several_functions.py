"""Convert all functions of a MIL program that has several, or has none called ``main``.

``ct.convert`` describes only the function ``main``, and fails if there is none, unless two attributes of the program
are set.

Source: coremltools 9.0, ``coremltools/converters/mil/backend/mil/load.py``.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coremltools.converters.mil.mil import Program

from ane_rms.undoing import undoing

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def exporting_every_function(model: Any) -> Iterator[None]:
    """Make ``ct.convert`` describe every function of a program; do nothing for any other model."""
    if not isinstance(model, Program) or model.export_as_multifunction or list(model.functions) == ["main"]:
        yield
        return
    before = model.default_function_name

    def undo() -> None:
        model.export_as_multifunction, model.default_function_name = False, before

    with undoing(undo):
        model.export_as_multifunction = True
        if before not in model.functions:
            model.default_function_name = next(iter(model.functions))
        yield

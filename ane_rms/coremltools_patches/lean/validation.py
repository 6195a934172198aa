"""Validate a program only after passes that may have broken it, not after each of about 110 passes."""

from __future__ import annotations

from typing import Any

from coremltools.converters.mil.mil import Program
from coremltools.converters.mil.mil.passes.graph_pass import AbstractGraphPass

from ane_rms.coremltools_patches.guard import Patch

TRUSTED = ("coremltools.", "ane_rms.")
"""The packages whose passes are trusted and not validated one by one."""


class Validation:
    """Validates a program after each untrusted pass, and at the end of a pipeline with at least one pass."""

    def __init__(self) -> None:
        self._trusted = False
        self._valid: Any = None
        """The program that the last validation found valid; None after a pass has run."""
        self._notes_passes = False
        """Whether a pass has been noted; if coremltools' own call of a pass was left unchanged, none ever is."""

    def patches(self) -> list[Patch]:
        """Return the replacements."""
        return [
            Patch(
                AbstractGraphPass,
                "__call__",
                "0497fb87459f9bbf",
                self._note_pass,
                "tells the next which pass has run",
            ),
            Patch(
                Program,
                "validate",
                "6272d10e561b2990",
                self._validate_less,
                "validating after each of coremltools' own passes takes a third of the conversion of a small model",
            ),
        ]

    def _note_pass(self, original: Any) -> Any:
        def call(graph_pass: Any, prog: Any) -> None:
            self._valid, self._notes_passes = None, True
            original(graph_pass, prog)
            self._trusted = type(graph_pass).__module__.startswith(TRUSTED)

        return call

    def _validate_less(self, original: Any) -> Any:
        def validate(program: Any, check_essential_scope: bool | None = False) -> None:  # noqa: FBT001, FBT002 - theirs
            if self._trusted:
                self._trusted = False  # for one validation: the next is that of a pipeline's end
                return
            if self._notes_passes and self._valid is program and not check_essential_scope:
                return
            original(program, check_essential_scope)
            self._valid = program

        return validate

"""Whether two conversions gave the same package, and helpers to make both."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import coremltools as ct
from coremltools.converters.mil.mil import Block
from coremltools.converters.mil.mil import Builder as mb

import ane_rms
from ane_rms.report import METADATA_KEY

if TYPE_CHECKING:
    from collections.abc import Callable


def outcome(convert: Callable[[], Any]) -> tuple[str, Any]:
    """Return ("model", the model) or, where a conversion fails, ("error", what it says)."""
    mb.name_count.clear()  # a conversion that failed leaves coremltools' numbering where it was
    Block.counter = 0  # numbers the blocks of a process
    try:
        return "model", convert()
    except Exception as error:  # noqa: BLE001 - whatever coremltools raises is compared
        return "error", f"{type(error).__name__}: {error}"


def parts(model: ct.models.MLModel) -> tuple[bytes, str, dict[str, bytes]]:
    """Return the specification without our metadata, the program's text, and the files of weights."""
    spec = model.get_spec()
    spec.description.metadata.userDefined.pop(METADATA_KEY, None)
    files = {path.name: path.read_bytes() for path in Path(model.weights_dir).iterdir()}
    return spec.SerializeToString(deterministic=True), str(model._mil_program), files


def assert_same(plain: tuple[str, Any], lean: tuple[str, Any]) -> None:
    """Compare two outcomes part by part."""
    assert plain[0] == lean[0], [found for found in (plain, lean) if found[0] == "error"]
    if plain[0] == "error":
        assert plain[1] == lean[1]
        return
    if not isinstance(plain[1], ct.models.MLModel):
        assert str(plain[1]) == str(lean[1])
        return
    spec, text, files = parts(plain[1])
    lean_spec, lean_text, lean_files = parts(lean[1])
    differing = [pair for pair in zip(text.splitlines(), lean_text.splitlines(), strict=False) if pair[0] != pair[1]]
    assert lean_text == text, differing[:3]
    assert lean_spec == spec
    assert lean_files.keys() == files.keys()
    for name, content in files.items():
        assert lean_files[name] == content, f"{name} differs"


def assert_lean_is_plain(model: Callable[[], Any], **arguments: Any) -> ct.models.MLModel:
    """Convert with ``ct.convert`` and leanly, compare, and return the lean model (or the error both gave).

    Parameters
    ----------
    model: gives the model; called for each conversion, for coremltools changes a MIL program that it converts.
    arguments: of both conversions. A value that is a function is called for each.
    """

    def given() -> dict[str, Any]:
        return {
            name: value() if callable(value) and not isinstance(value, type) else value
            for name, value in arguments.items()
        }

    plain = outcome(lambda: ct.convert(model(), **given()))
    lean = outcome(lambda: ane_rms.convert(model(), lean=True, **given()))
    assert_same(plain, lean)
    return lean[1]

"""The registry of ``ane_rms``, for rooms that must answer before coremltools is imported.

``import ane_rms`` imports coremltools, which takes seconds. Its module ``registry`` does not need coremltools, so
it is loaded here from its file, under its own name: there is one class ``Registry``, whichever is imported first.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from ane_rms.registry import Registry

NAME = "ane_rms.registry"


def ane_rms_folder() -> Path:
    """Return the folder of the package ``ane_rms``, without importing it.

    Raises
    ------
    ModuleNotFoundError: if the package is not installed.
    """
    spec = importlib.util.find_spec("ane_rms")  # a top-level package is found without being imported
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'ane_rms'", name="ane_rms")
    return Path(spec.origin).parent


def _load() -> ModuleType:
    """Return the module ``ane_rms.registry``, loaded without its package."""
    if NAME in sys.modules:
        return sys.modules[NAME]
    spec = importlib.util.spec_from_file_location(NAME, ane_rms_folder() / "registry.py")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError(f"No module named {NAME!r}", name=NAME)
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[NAME]
        raise
    return module


if not TYPE_CHECKING:
    Registry = _load().Registry

__all__ = ["Registry", "ane_rms_folder"]

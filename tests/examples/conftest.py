"""Run an example in this process as a user does: its folder on the path, its own warnings and log levels."""

from __future__ import annotations

import gc
import importlib
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from harness.system import log_noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import an example by its file's name; what it changes in the process is undone afterwards."""
    loggers = [logging.getLogger(name) for name in log_noise.CHATTY]
    levels = [logger.level for logger in loggers]
    modules = {path.stem for path in (ROOT / "examples").glob("*.py")}
    for name in modules:
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(ROOT / "examples")
    yield importlib.import_module
    for name in modules:
        sys.modules.pop(name, None)
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    gc.collect()  # models go now, while the libraries' warnings are still ignored

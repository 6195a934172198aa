"""Fixtures shared by all tests, and the tables at the end of a session."""

from __future__ import annotations

import functools
import gc
import logging
import os
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

import tests.fuzz  # noqa: F401 - before any test: settings are taken where a test is defined
from tests.bench.speed import Speed
from tests.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ("harness.pytest_plugin", "pytester")

SPEED = pytest.StashKey[Speed]()
LEDGER = pytest.StashKey[Ledger]()
CACHE = pytest.StashKey[TemporaryDirectory]()
OWN_CACHE = "ANE_HARNESS_OWN_CACHE"
"""The variable that keeps the user's ``ANE_HARNESS_CACHE``, for the tests of fetched weights; workers inherit it."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--figures",
        metavar="RESULTS",
        type=Path,
        help="keep the shares that the benchmarks measure as a run of this results folder",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEDGER], config.stash[SPEED] = Ledger(), Speed()
    config.stash[CACHE] = TemporaryDirectory(prefix="ane-harness-cache-")
    os.environ.setdefault(OWN_CACHE, os.environ.get("ANE_HARNESS_CACHE", ""))
    os.environ["ANE_HARNESS_CACHE"] = config.stash[CACHE].name  # tests leave the user's own cache alone
    os.environ["ANE_RMS_CHECK_PASSES"] = "1"  # what each pass requires and ensures
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    if getattr(config.option, "cov_source", None):
        _let_children_save_their_coverage()
    if config.option.markexpr == "bench" and not config.option.benchmark_json:
        config.option.benchmark_autosave = config.option.benchmark_save_data = True  # where pytest-benchmark looks


def _let_children_save_their_coverage() -> None:
    """Have a child at rest end by itself before it is killed: what a killed process has measured is lost."""
    from harness.workers.child import Child

    kill = Child._stop

    def stop(self: Child) -> None:
        if self._process is not None and self._process.poll() is None and not self.busy:
            with open(os.devnull, "wb") as nothing:  # noqa: PTH123 - for its descriptor
                os.dup2(nothing.fileno(), self._requests)
            deadline = time.monotonic() + 10
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
        kill(self)

    Child._stop = stop


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave slow tests out unless the selection speaks of them: ``-m bench`` is what takes minutes, not hours."""
    selection = config.option.markexpr
    if not selection or "slow" in selection:
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if item not in slow]
    config.hook.pytest_deselected(items=slow)


def pytest_collection_finish() -> None:
    _freeze_garbage()
    _let_coremltools_collect_rarely()
    gc.set_threshold(20_000, 20, 50)  # what a conversion leaves behind is small, and walked through a hundred times
    _let_torch_list_its_ops_once()


def pytest_runtest_logstart(nodeid: str, location: tuple[str, int | None, str]) -> None:
    """Freeze what has been imported and kept since, where a file of tests begins."""
    if location[0] != _begun.get("file"):
        _begun["file"] = location[0]
        _freeze_garbage()


_begun: dict[str, str] = {}


def _freeze_garbage() -> None:
    """Spare coremltools the objects that are there already: it collects garbage after each conversion.

    A collection of all that torch and transformers have made takes half a second, longer than a small conversion.
    """
    gc.collect()
    gc.freeze()


class _Rarely:
    """The module :mod:`gc` as coremltools sees it: one of some dozen collections is carried out."""

    EVERY = 24

    def __init__(self) -> None:
        self._asked = 0

    def collect(self) -> int:
        """Collect garbage, if it is time to."""
        self._asked += 1
        return 0 if self._asked % self.EVERY else gc.collect()


def _let_coremltools_collect_rarely() -> None:
    """Spare most conversions the collection of garbage at their end.

    It takes as long as a small conversion, since the tests before have left objects of their own. Python's automatic
    collections go on.
    """
    entry: Any = sys.modules.get("coremltools.converters._converters_entry")
    if entry is not None:
        entry.gc = _Rarely()


def _let_torch_list_its_ops_once() -> None:
    """Spare each ``torch.export`` the list of all ops for each of their namespaces, half of a small export's time."""
    utils: Any = sys.modules.get("torch._export.utils")
    if utils is not None:
        list_ops = utils._collect_all_valid_cia_ops_for_namespace  # torch itself keeps the list of the largest one
        utils._collect_all_valid_cia_ops_for_namespace = functools.cache(list_ops)


def pytest_unconfigure(config: pytest.Config) -> None:
    config.stash[CACHE].cleanup()


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Where a test notes what it saw; printed when the session ends."""
    return request.config.stash[LEDGER]


@pytest.fixture
def speed(request: pytest.FixtureRequest) -> Speed:
    """Where a benchmark notes its shares; ``--figures`` writes them when the session ends."""
    return request.config.stash[SPEED]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of pytest-xdist saw."""
    node.config.stash[LEDGER].merge(getattr(node, "workeroutput", {}).get("ledger", []))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the benchmarks' figures, if that is asked for; hand over, in a worker of pytest-xdist, what it saw."""
    if figures := session.config.getoption("--figures"):
        session.config.stash[SPEED].write(figures)
    output = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["ledger"] = session.config.stash[LEDGER].notes()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    text = config.stash[LEDGER].render()
    if text:
        terminalreporter.section("what this session saw")
        terminalreporter.write_line(text)

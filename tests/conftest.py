"""Fixtures shared by all tests, and the tables at the end of a session."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from tests.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

LEDGER = pytest.StashKey[Ledger]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[LEDGER] = Ledger()
    logging.getLogger("coremltools").setLevel(logging.ERROR)


@pytest.fixture
def ledger(request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """Where a test notes what it saw; printed when the session ends."""
    return request.config.stash[LEDGER]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    text = config.stash[LEDGER].render()
    if text:
        terminalreporter.section("what this session saw")
        terminalreporter.write_line(text)

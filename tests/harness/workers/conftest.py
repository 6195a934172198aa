"""A scheduler and workers on this machine, started as users start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
HANDLERS = Path(__file__).parent


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Fleet:
    """The processes; ``address`` is the scheduler's."""

    def __init__(self, log):
        self.address = f"tcp://127.0.0.1:{free_port()}"
        self._log = log.open("wb")
        self._processes = []
        self._start("fleet", "scheduler", "--port", self.address.rpartition(":")[2])
        self._wait_for_port()

    def worker(self, *arguments):
        """Start a worker."""
        return self._start("fleet", "worker", self.address, *arguments)

    def wait_for(self, cluster, count):
        """Wait until so many workers are known."""
        deadline = time.monotonic() + 120
        while len(cluster.workers()) != count:
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def close(self):
        """End them all."""
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()
        self._log.close()

    def _start(self, *arguments):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{HANDLERS}"}
        command = [sys.executable, "-m", "harness", *arguments]
        process = subprocess.Popen(command, env=environment, stdout=self._log, stderr=self._log)
        self._processes.append(process)
        return process

    def _wait_for_port(self):
        host, _, port = self.address.removeprefix("tcp://").rpartition(":")
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection((host, int(port)), timeout=1).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            else:
                return


@pytest.fixture
def fleet(tmp_path):
    fleet = Fleet(tmp_path / "fleet.log")
    yield fleet
    fleet.close()

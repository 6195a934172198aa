"""The command line as tests call it: in a process of its own, or in this one."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from harness.cli.main import main

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """What a run of the command line left."""

    returncode: int
    stdout: str
    stderr: str


def process(*arguments):
    """Run the command line as a user does, in a process of its own."""
    command = [sys.executable, "-m", "harness", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    return Done(done.returncode, done.stdout, done.stderr)


def harness(*arguments):
    """Run the command line in this process: the same, without the seconds that imports take."""
    out, err = io.StringIO(), io.StringIO()
    with (
        warnings.catch_warnings(),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as exit_,
    ):
        main([str(argument) for argument in arguments])
    return Done(int(exit_.value.code or 0), out.getvalue(), err.getvalue())

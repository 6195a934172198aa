"""Run an optional external program (git, ``sysctl``, ``pmset`` ...) and return what it printed."""

from __future__ import annotations

import subprocess


def output(*words: str, seconds: float = 10) -> str | None:
    """Return a command's standard output; None if the program is absent, fails, or takes longer than ``seconds``."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None

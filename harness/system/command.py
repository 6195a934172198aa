"""What another program says: git, ``sysctl``, ``pmset`` and their like, none of which must be there."""

from __future__ import annotations

import subprocess


def output(*words: str, seconds: float = 10) -> str | None:
    """Return what a command prints; None where it is absent, fails, or takes longer than that."""
    try:
        done = subprocess.run(words, capture_output=True, timeout=seconds, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None

"""A command in a process of its own, and what it cost.

On Linux the peak that the system tells of a process begins with that of the one which started it (``ru_maxrss``
is kept through execve). Earlier tests of a session may have held gigabytes: a small process stands between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
BETWEEN = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE)
wall_s, used = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
peak_bytes = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
cost = dict(wall_s=wall_s, cpu_s=used.ru_utime + used.ru_stime, peak_bytes=peak_bytes, output=done.stdout.decode())
print(json.dumps(cost))
sys.exit(done.returncode)
"""


@dataclass(frozen=True)
class Cost:
    """What a process cost, and what it wrote to stdout."""

    wall_s: float
    cpu_s: float
    peak_bytes: int
    output: str


def run(*arguments: object) -> Cost:
    """Run Python with arguments, ``"-m", "harness", ...``, importing from the repository. Its exit code must be 0."""
    done = subprocess.run(
        [sys.executable, "-c", BETWEEN, sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Cost(**json.loads(done.stdout))

"""A real repository of 64 commits with a tiny ``harness`` package, and a tiny dependency in several versions.

The package's ``python -m harness run`` rounds numbers to a number of bits, and records the relative error of that. The
number of bits is in the code, less one that is lost by some versions of the dependency.
"""

from __future__ import annotations

import json
import subprocess
import zipfile

import msgspec

from tests.harness.example_records import MAC, record, write_run

MAIN = """\
import json, math, pathlib, subprocess, sys
from harness.rounding import BITS
try:
    from importlib.metadata import version
    import planted
    loss, versions = planted.LOSS, {"planted": version("planted")}
except ImportError:
    loss, versions = 0, {}
words = sys.argv[1:]
results = pathlib.Path(words[words.index("--results") + 1])
row = json.loads((pathlib.Path(__file__).parent / "row.json").read_text())
if words[1] != row["model"] or words[words.index("--variant") + 1] != row["variant"]:
    sys.exit("no such row")
scale = 2 ** (BITS - loss)
values = [math.sqrt(n) for n in range(1, 100)]
error = math.dist(values, [round(one * scale) / scale for one in values]) / math.hypot(*values)
commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
row["metrics"]["rel_l2"] = error
row["environment"] |= {"git_commit": commit, "git_clean": True, "versions": {"python": "3.11", **versions}}
(results / "runs").mkdir(parents=True)
(results / "runs" / "20260301T000000.000000Z.jsonl").write_text(json.dumps(row) + chr(10))
print(error)
"""
PROJECT = '[project]\nname = "tiny"\ndependencies = ["planted"]\n'


def repository(folder, bits, broken=()):
    """Make a repository with a commit for each number of bits; return the commits, oldest first.

    The code of commits in ``broken`` cannot be run.
    """
    subprocess.run(["git", "init", "--quiet", "-b", "main", str(folder)], check=True)
    row = msgspec.to_builtins(record())
    files = {"harness/__init__.py": "", "harness/__main__.py": MAIN, "pyproject.toml": PROJECT}
    files["harness/row.json"] = json.dumps(row)
    stream = []
    for number, many in enumerate(bits, 1):
        files["harness/rounding.py"] = "nothing" if number - 1 in broken else f"BITS = {many}  # {number}\n"
        stream += [f"commit refs/heads/main\nmark :{number}\ncommitter A <a@example.com> {1767225600 + number} +0000"]
        stream += [_data(f"Change {number - 1}")]
        stream += [f"M 100644 inline {name}\n{_data(text)}" for name, text in files.items()]
        files = {}
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input="\n".join(stream) + "\n", text=True, check=True)
    subprocess.run(["git", "reset", "--quiet", "--hard"], cwd=folder, check=True)
    said = subprocess.run(
        ["git", "rev-list", "--reverse", "HEAD"], cwd=folder, capture_output=True, text=True, check=True
    )
    return said.stdout.split()


def _data(text):
    return f"data {len(text.encode())}\n{text}"


def wheels(folder, losses):
    """Write a wheel of the dependency for each version."""
    folder.mkdir()
    for version, loss in losses.items():
        about = f"planted-{version}.dist-info"
        with zipfile.ZipFile(folder / f"planted-{version}-py3-none-any.whl", "w") as wheel:
            wheel.writestr("planted.py", f"LOSS = {loss}\n")
            wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: planted\nVersion: {version}\n")
            wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{about}/RECORD", "")


def nights(results, ends):
    """Write ten nights at the first end and four at the second; an end is a commit, an error and versions."""
    for day in range(1, 15):
        commit, error, versions = ends[day > 10]
        made_with = msgspec.structs.replace(MAC, git_commit=commit, versions={"python": "3.11", **versions})
        row = record(environment=made_with, time=f"2026-02-{day:02}T01:00:00+00:00")
        write_run(
            results,
            f"202602{day:02}T010000.000000Z",
            [msgspec.structs.replace(row, metrics={**row.metrics, "rel_l2": error})],
        )

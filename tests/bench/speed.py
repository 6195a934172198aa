"""Keep the figures of benchmarks as a run of records, so that ``ane-harness history`` watches the project's own speed.

A benchmark is a row whose model is the benchmark's name. Its figures are samples named ``share_...``: one share for
each pair that was measured in turn, ours divided by the other's. Absolute times are not kept, because those of two
machines say nothing about a commit.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from harness.records.environment import environment
from harness.records.run_files import RunFolder
from harness.records.schema import SHARE, Record

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MARK = "benchmark"


class Speed:
    """The shares that the benchmarks of a session have measured, by benchmark and figure."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, tuple[float, ...]]] = defaultdict(dict)

    def note(self, benchmark: str, **shares: Iterable[float]) -> None:
        """Note the shares of one benchmark, for each figure those of all its pairs."""
        self._rows[benchmark].update({f"{SHARE}{name}": tuple(some) for name, some in shares.items()})

    def write(self, results: Path) -> None:
        """Write a run of these figures into a results folder; nothing if no benchmark has noted any.

        Raises
        ------
        OutputError: if the folder cannot be written.
        """
        if not self._rows:
            return
        folder = RunFolder.new(results)
        try:
            for benchmark, samples in self._rows.items():
                folder.append(_record(folder.run_id, benchmark, samples))
        finally:
            folder.close()


def _record(run_id: str, benchmark: str, samples: dict[str, tuple[float, ...]]) -> Record:
    return Record(
        run_id=run_id,
        time=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        model=benchmark,
        variant="",
        frontend="trace",
        size="",
        compute_units="",
        compute_precision="FLOAT16",
        executor="reference",
        policy="",
        lowering="",
        seed=0,
        sequence_length=0,
        status="ok",
        environment=environment(),
        samples=samples,
        marks=(MARK,),
    )

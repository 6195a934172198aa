"""``fleet``: start and show the machines to which a run's models can be sent."""

from __future__ import annotations

import os
import platform
import sys
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions

app = typer.Typer(
    no_args_is_help=True,
    help="Start and look at the machines of a fleet.",
    epilog="Example: ane-harness fleet status tcp://192.168.1.10:8786",
)

WORKERS_LOST = 3
"""Number of lost workers after which a job counts as the cause."""

Address = Annotated[
    str, typer.Argument(help="The scheduler's address, for example tcp://mini-1.local:8786.", metavar="ADDRESS")
]


@app.command()
def scheduler(
    host: Annotated[str, typer.Option(help="Address to listen on; whoever reaches it can run code.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8786,
) -> None:
    """Start a scheduler, in the foreground.

    Example: ane-harness fleet scheduler --host 192.168.1.10
    """
    os.environ.setdefault("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", str(WORKERS_LOST - 1))
    _become("distributed.cli.dask_scheduler", "--host", host, "--port", str(port))


@app.command()
def worker(
    address: Address,
    *,
    jobs: options.Jobs = 2,
    memory: options.Memory = None,
    ane: Annotated[
        bool | None, typer.Option(help="Announce a Neural Engine. Default: whether this is an Apple Silicon Mac.")
    ] = None,
) -> None:
    """Start this machine's worker, in the foreground: one a machine.

    Example: ane-harness fleet worker tcp://192.168.1.10:8786 -j 2 --memory 20G
    """
    from harness.cli.quantities import memory_budget

    has_ane = (sys.platform == "darwin" and platform.machine() == "arm64") if ane is None else ane
    resources = {"memory": memory_budget(memory), **({"ANE": 1} if has_ane else {})}
    _become(
        "distributed.cli.dask_worker",
        address,
        *("--nthreads", str(jobs), "--nworkers", "1", "--name", f"{platform.node()}-{os.getpid()}"),
        *("--no-nanny", "--memory-limit", "0", "--no-dashboard"),  # the children hold the memory, and have limits
        *("--resources", " ".join(f"{name}={value}" for name, value in resources.items())),
    )


@app.command()
@expanded
def status(address: Address, *, shown: TableOptions) -> None:
    """Show the workers behind a scheduler: what they announce, and what they have in hand.

    Example: ane-harness fleet status tcp://192.168.1.10:8786
    """
    from harness.report.table import DECIDING, DETAIL, Document, Table, head, places
    from harness.workers.cluster import Cluster

    columns = places(
        head("worker", priority=DECIDING, width=16),
        head("host", priority=DECIDING, width=16),
        head("jobs side by side", "d"),
        head("in hand", "d", priority=DECIDING),
        head("ANE", priority=DECIDING),
        head("memory", priority=DECIDING),
        head("last seen", priority=DETAIL),
    )
    shown.check(columns)
    with Cluster(address) as cluster:
        busy = cluster.processing()
        rows = [_row(one, busy.get(key, 0)) for key, one in cluster.workers().items()]
    shown.show(Document([Table(columns, sorted(rows))]))
    if not rows:
        say("no workers; start one on each machine: ane-harness fleet worker ADDRESS", err=True)


def _row(worker: dict, in_hand: int) -> list[str | int]:  # type: ignore[type-arg]
    import time

    from harness.workers.memory import text

    resources = worker.get("resources", {})
    memory = text(resources["memory"]) if "memory" in resources else "-"
    seen = max(0.0, time.time() - worker.get("last_seen", time.time()))
    ane = "yes" if resources.get("ANE") else "no"
    return [
        str(worker["name"]),
        worker["host"],
        worker["nthreads"],
        in_hand,
        ane,
        memory,
        f"{seen:.0f} s ago",
    ]


def _become(module: str, *arguments: str) -> None:
    """Replace this process with one that runs another Python module.

    Raises
    ------
    FleetError: if dask.distributed is not installed.
    """
    import importlib.util

    from harness.errors import FleetError
    from harness.system.extras import install

    if importlib.util.find_spec("distributed") is None:
        raise FleetError(f"dask.distributed is not installed: {install('fleet')}")
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606 - no shell wanted

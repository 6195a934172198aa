"""``cache``: list and remove the packages kept by runs."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.option_set import expanded
from harness.cli.output import say
from harness.cli.table_options import TableOptions
from harness.system.text import plural

app = typer.Typer(
    no_args_is_help=True,
    help="Look at and prune the cache of converted packages.",
    epilog="Example: ane-harness cache prune --size 10G",
)

Folder = Annotated[
    Path | None, typer.Option("--cache", help="The cache's folder. Default: $ANE_HARNESS_CACHE, or the platform's.")
]


@app.command("list")
@expanded
def list_entries(*, folder: Folder = None, shown: TableOptions) -> None:
    """Show every package kept, the one used last first.

    Example: ane-harness cache list
    """
    from harness.report.table import DECIDING, Document, Table, head, places
    from harness.run.cache import Cache, default_folder

    columns = places(
        head("key", _short, priority=DECIDING),
        head("of", priority=DECIDING, width=20, absent="(unreadable)"),
        head("size", _megabytes, priority=DECIDING),
        head("last used", _when, priority=DECIDING),
    )
    shown.check(columns)
    cache = Cache(folder or default_folder())
    entries = cache.entries()
    rows = [(one.key, one.title, one.size_bytes, one.used) for one in entries]
    shown.show(Document([Table(columns, rows)]))
    total = sum(one.size_bytes for one in entries)
    say(f"{plural(len(entries), 'package')}, {_megabytes(total)}: {cache.root}", err=True)


@app.command()
def prune(
    *,
    size: Annotated[str | None, typer.Option(help="Keep the packages used last, up to this: 10G, 500M.")] = None,
    age: Annotated[str | None, typer.Option(help="Remove what was not used for longer than this: 36h, 90m.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every package.")] = False,
    folder: Folder = None,
) -> None:
    """Remove packages that were not used for longest; those in use by a run stay.

    Example: ane-harness cache prune --size 10G
    """
    from harness.cli import quantities
    from harness.errors import ArgumentError
    from harness.run.cache import Cache, default_folder

    if not (size or age or everything):
        raise ArgumentError("cache prune: say what to remove: --size 10G, --age 36h or --all")
    limit = 0 if everything else None if size is None else quantities.size_bytes(size, "--size")
    older_than = None if age is None else quantities.seconds(age, "--age")
    removed = Cache(folder or default_folder()).prune(max_bytes=limit, older_than=older_than)
    say(f"removed {plural(len(removed), 'package')}, {_megabytes(sum(one.size_bytes for one in removed))}")


def _short(key: str) -> str:
    return key[:12]


def _megabytes(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:,.1f} MB"


def _when(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(sep=" ", timespec="minutes").removesuffix("+00:00")

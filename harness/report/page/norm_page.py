"""The plot of a norm's own cost as one HTML file, with a panel for each precision and number of tokens.

It is drawn when the file is opened, by the vendored Observable Plot, under the same policy as the report.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from harness.report.norm_table import costs
from harness.report.page.embedded_data import embedded
from harness.report.page.html import HERE, LIBRARIES, policy
from harness.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record


def norm_page(records: Sequence[Record]) -> bytes:
    """Return the file: medians and quartiles, in microseconds, of the paired differences."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = HERE / "templates"
    style = (folder / "norm.css").read_text(encoding="utf-8")
    own = (folder / "norm.js").read_text(encoding="utf-8")
    scripts = [*((HERE / "vendor" / name).read_text(encoding="utf-8") for name in LIBRARIES), own]
    found = [asdict(one) for one in costs(records)]
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(folder))
    page = environment.get_template("norm.html.j2").render(
        executors=plain(", ".join(sorted({one["executor"] for one in found})) or "none"),
        policy=policy([style], scripts),
        style=Markup(style),  # noqa: S704 - the project's own files, and JSON that was made safe
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        data=Markup(embedded(found)),  # noqa: S704
    )
    return page.encode()

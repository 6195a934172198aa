"""The report: one HTML file that needs neither a network nor a server.

Data from records reach the page in two ways: through jinja2 with autoescape, and as JSON in which no character can end
its element, from where scripts put them into text nodes. A content security policy allows the file's own style
and scripts, each by its hash, and nothing else: no request can leave the file, whatever a record contains.
"""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.report.page.embedded_data import details, embedded, table
from harness.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.records.schema import Record
    from harness.report.page.content import Page

HERE = Path(__file__).parent
LIBRARIES = ("d3.min.js", "plot.umd.min.js")
"""Observable Plot and d3, on which it depends; unchanged from npm."""


def render(page: Page, records: Sequence[Record]) -> str:
    """Return the report as one HTML document."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = HERE / "templates"
    style = (folder / "report.css").read_text(encoding="utf-8")
    own = "".join(path.read_text(encoding="utf-8") for path in sorted((folder / "js").glob("*.js")))
    scripts = [*((HERE / "vendor" / name).read_text(encoding="utf-8") for name in LIBRARIES), own]
    data = {
        "page": page.embedded(),
        "columns": table(records, page.before),
        "details": details(records, page.before),
        "history": page.history,
    }
    environment = Environment(autoescape=True, undefined=StrictUndefined, loader=FileSystemLoader(folder))
    environment.filters["plain"] = plain
    return environment.get_template("report.html.j2").render(
        page=page,
        policy=policy([style], scripts),
        style=Markup(style),  # noqa: S704 - the project's own files, and JSON that was made safe
        scripts=[Markup(script) for script in scripts],  # noqa: S704
        data={name: Markup(embedded(value)) for name, value in data.items()},  # noqa: S704
    )


def policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """Return the content security policy that allows these inline styles and scripts alone."""
    directives: dict[str, list[Any]] = {
        "default-src": ["'none'"],
        "script-src": [_hash(script) for script in scripts],
        "style-src": [_hash(style) for style in styles],
        "base-uri": ["'none'"],
        "form-action": ["'none'"],
    }
    return "; ".join(" ".join([name, *values]) for name, values in directives.items())


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"

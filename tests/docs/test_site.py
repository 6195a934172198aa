"""The documentation's site: built strictly, every internal link leading somewhere, and quiet in a browser."""

from __future__ import annotations

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.harness.report.conftest import browser  # noqa: F401 - a fixture

pytest.importorskip("mkdocs", reason="the site's generator is in the extra docs")

ROOT = Path(__file__).parents[2]
TARGET = re.compile(r'(?:href|src)="(?P<path>[^"#:?]*)(?:#(?P<anchor>[^"]*))?"')


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folder of the site, built with warnings as errors."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARNING" not in done.stdout + done.stderr
    return folder


def pages(folder):
    return sorted(path for path in folder.rglob("*.html") if path.name != "404.html")


def test_every_internal_link_leads_to_a_page_and_a_place_on_it(site):
    lost = []
    for page in pages(site):
        for found in TARGET.finditer(page.read_text(encoding="utf-8")):
            if found[0].split('"')[1].startswith(("http", "//", "data:", "mailto:")):
                continue
            target = (page.parent / found["path"]).resolve() if found["path"] else page
            if not target.exists():
                lost.append((page.name, found[0]))
            elif found["anchor"] and target.suffix == ".html":
                text = target.read_text(encoding="utf-8")
                if f'id="{found["anchor"]}"' not in text and f'name="{found["anchor"]}"' not in text:
                    lost.append((page.name, found[0]))
    assert lost == []


def test_every_command_is_on_the_reference_page(site):
    import typer

    from harness.cli.main import app

    text = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    assert [name for name in typer.main.get_command(app).commands if f"ane-harness {name}" not in text] == []


@pytest.fixture
def address(site):
    """Return where the site is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            """Say nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.browser
def test_no_page_says_anything_on_the_console_or_asks_another_host(browser, address, site):  # noqa: F811
    for page in pages(site):
        browser.driver.get(f"{address}/{page.relative_to(site)}")
        assert browser.driver.title
        assert [said for said in browser.said() if "favicon" not in said] == [], page.name
    asked = [url for url in browser.requests() if url.startswith("http")]
    assert asked
    assert [url for url in asked if not url.startswith(address)] == []

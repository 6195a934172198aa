"""A bench whose Core ML is scripted, in real child processes."""

from __future__ import annotations

import dataclasses
import json

import pytest

from harness.bench import session
from harness.bench.outcome import Settings
from harness.plan.run_plan import Options
from harness.zoo import catalog
from tests.scripted import native

SETTINGS = Settings("scripted", samples=12, limit_s=60.0)


@pytest.fixture(scope="session")
def script_path(tmp_path_factory):
    return tmp_path_factory.mktemp("script") / "script.json"


@pytest.fixture(scope="session")
def llama():
    return catalog.load_zoo()["llama"]


@pytest.fixture(scope="module")
def bench(script_path, children):
    """Return a bench whose children are used by one test after the other."""
    options = Options(("off", "on"), run_id="20260131T000000.000000Z")
    settings = dataclasses.replace(SETTINGS, environment={native.VARIABLE: str(script_path)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "PREPARE", "tests.scripted.runtime:prepare")
        patch.setattr(session, "MEASURE", "tests.scripted.runtime:measure")
        patch.setattr(session, "Child", children)
        with session.Bench(options, settings) as made:
            yield made


@pytest.fixture
def play(bench, script_path, llama):
    """Return a function that measures under a script and settings, and returns the rows by variant and units."""
    settings = bench.settings

    def records(script=None, **changed):
        default = {"*": {"predict_s": 0.001, "framework_s": 0.0008}}
        script_path.write_text(json.dumps({**default, **(script or {})}))
        bench.settings = dataclasses.replace(settings, **changed)
        return list(bench.model(llama))

    yield records
    bench.settings = settings

"""Run coremltools' own shipped op tests with ``ReferenceModel`` in place of ``MLModel.predict``.

coremltools ships the tests of its ops inside the installed package; on a Mac they compare Core ML's results
with expected ones, elsewhere they stop short of predicting. This script makes them predict anywhere::

    python tests/contracts/coremltools_op_tests.py [FAMILY ...] [--precision fp32] [--opsets all] [-k EXPR] [--every N]

It prints passed and run cases a family and every failing case with its reason. Tolerances are the tests' own. All
opsets of all families are over 30,000 cases and hours; ``--every N`` runs each Nth case of those chosen, and says so.

Cases of a float32 backend (``--precision``; coremltools itself leaves them out unless told) that declare float16 values
hold them to 1e-4 of a float32 result, or of one that numpy or torch rounded at other places: less than a float16's own
rounding. What fails is therefore run again in float64 arithmetic: what fails there too is counted apart, as ``exact``.
The tests import ``PIL`` and ``attrs``, which the project does not need otherwise.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import importlib.util
import io
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

NEEDED = ("PIL", "attrs")
MACOS = (15, 5)
"""The version the tests are told they run on: the first that runs iOS 18 programs with all known fixes."""

REASONS = {
    "holds a neuralNetwork": "converts to a neural network, which is not an ML program",
    "rtol=1e-05, atol=0.0001": "float16 inputs or parameters in a float32 case: their rounding alone exceeds 1e-4",
}
"""Why a case cannot pass, by what its failure says; shown beside the failure."""

OTHER_FAMILIES = ("random", "recurrent", "image_resizing")
"""Families beside those the executor promises; counted, but kept apart."""


def main(argv: list[str] | None = None) -> int:
    """Run the chosen families; return 0 when at least 98 % of the promised families' cases pass."""
    options = _options(argv)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _say(f"the shipped tests import {', '.join(missing)}: install pillow and attrs to run them")
        return 2
    os.environ["PYMIL_TEST_TARGETS"] = "mlprogram"
    if options.precision in ("fp32", "both"):
        os.environ["INCLUDE_MIL_FP32_UNIT_TESTS"] = "1"
    if options.opsets == "all":
        os.environ["RUN_BACKWARD_COMPATIBILITY"] = "1"
    policy = Policy("fp16")
    predict_with_reference(policy)
    arguments = [
        "-c",
        os.devnull,
        "-q",
        "-x" if options.stop else "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
    ]
    arguments += ["-W", "ignore", "--tb=short", *(["-k", options.expression] if options.expression else [])]
    arguments += [f"--timeout={options.timeout_s}"]
    arguments += _files(options.families)
    outcome = Outcome(policy, options.every)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main(arguments, plugins=[outcome])
    return outcome.report()


def _options(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run coremltools' op tests on the reference executor.")
    parser.add_argument("families", nargs="*", help="for example reduction; all when left out")
    parser.add_argument("--precision", choices=("fp16", "fp32", "both"), default="both")
    parser.add_argument("--opsets", choices=("own", "all"), default="own")
    parser.add_argument("-k", dest="expression", default="")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run each Nth case only")
    parser.add_argument("-x", dest="stop", action="store_true")
    parser.add_argument("--timeout-s", type=int, default=120)
    return parser.parse_args(argv)


def _files(families: list[str]) -> list[str]:
    import coremltools

    root = Path(coremltools.__file__).parent / "converters" / "mil" / "mil" / "ops" / "tests"
    found = sorted(root.glob("*/test_*.py"))
    return [str(path) for path in found if not families or path.stem.removeprefix("test_") in families]


@dataclass(slots=True)
class Policy:
    """The numeric policy that models run under."""

    name: str

    @contextlib.contextmanager
    def exact(self) -> Iterator[None]:
        """Run models in float64 for as long as the context lasts."""
        usual, self.name = self.name, "fp64"
        try:
            yield
        finally:
            self.name = usual


def predict_with_reference(policy: Policy) -> None:
    """Make ``MLModel`` predict through ``ReferenceModel``, and the tests believe they run on a Mac."""
    import coremltools as ct
    from coremltools.converters.mil import testing_utils

    sys.path.insert(0, str(Path(__file__).parents[2]))
    from harness.interpreter import ReferenceModel

    def reference(model: Any) -> Any:
        if not hasattr(model, "_reference"):
            model._reference = ReferenceModel(model, precision=policy.name)
        return model._reference

    def predict(model: Any, data: Mapping[str, Any], state: Any = None) -> Any:
        return reference(model).predict(data, state)

    testing_utils._IS_MACOS = True
    ct.utils._macos_version = lambda: MACOS
    ct.models.MLModel.predict = predict
    ct.models.MLModel.make_state = lambda model: reference(model).make_state()


class Outcome:
    """Run each ``every``-th case, in float64 once more if it fails, and collect results by family."""

    def __init__(self, policy: Policy, every: int) -> None:
        self.policy, self.every, self.collected = policy, every, 0
        self.exact: set[str] = set()
        self.passed: collections.Counter[str] = collections.Counter()
        self.skipped: collections.Counter[str] = collections.Counter()
        self.skips: collections.Counter[tuple[str, str]] = collections.Counter()
        self.failed: dict[str, list[tuple[str, str]]] = collections.defaultdict(list)

    @pytest.hookimpl(trylast=True)  # after -k has chosen
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave each Nth case of those ``-k`` chose; a prime N meets every value of every parameter."""
        self.collected = len(items)
        items[:] = items[:: self.every]

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool:
        """Run a case, and if it fails see whether it does so in float64 arithmetic as well."""
        reports = _seeded(item, nextitem)
        if any(report.failed for report in reports):
            with self.policy.exact():
                item._initrequest()  # type: ignore[attr-defined]  # as pytest-rerunfailures does
                again = _seeded(item, nextitem)
            if any(report.failed for report in again):
                self.exact.add(item.nodeid)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a call that passed, and whatever failed or was skipped in any phase."""
        family = _family(report.nodeid)
        if report.failed:
            self.failed[family].append((report.nodeid, _reason(report)))
        elif report.skipped:
            self.skipped[family] += 1
            self.skips[family, _skip_reason(report)] += 1
        elif report.when == "call":
            self.passed[family] += 1

    def report(self) -> int:
        """Print the table and the failing cases; return the exit code."""
        if self.every > 1:
            _say(f"a sample: each {self.every}th of {self.collected} cases collected")
        families = sorted({*self.passed, *self.failed, *self.skipped})
        beyond = collections.Counter(_family(case) for case in self.exact)
        _say(f"{'family':24} {'passed':>7} {'run':>7} {'exact':>7} {'skipped':>8}")
        for family in families:
            run = self.passed[family] + len(self.failed[family])
            _say(f"{family:24} {self.passed[family]:7d} {run:7d} {beyond[family]:7d} {self.skipped[family]:8d}")
        promised = [family for family in families if family not in OTHER_FAMILIES]
        passed = sum(self.passed[family] for family in promised)
        run = passed + sum(len(self.failed[family]) for family in promised)
        _say(f"promised families: {passed} of {run} cases pass ({passed / max(run, 1):.2%})")
        self._list(families)
        return 0 if run and passed >= 0.98 * run else 1

    def _list(self, families: list[str]) -> None:
        for (family, reason), count in sorted(self.skips.items()):
            _say(f"SKIPPED {family}: {count}: {reason}")
        for family in families:
            for node, reason in self.failed[family]:
                path, _, case = node.partition("::")
                known = next((why for mark, why in REASONS.items() if mark in reason), "unexplained")
                also = "; in float64 too" if node in self.exact else ""
                _say(f"FAILED {family} {Path(path).parent.name}::{case}: {known}{also}: {reason}")


def _seeded(item: pytest.Item, nextitem: pytest.Item | None) -> list[pytest.TestReport]:
    """Run a case on the numbers it would draw first: they are the same whenever it runs."""
    import numpy as np
    import torch

    np.random.seed(0)  # noqa: NPY002 - what the tests draw from
    torch.manual_seed(0)
    reports: list[pytest.TestReport] = runtestprotocol(item, log=False, nextitem=nextitem)
    return reports


def _family(node: str) -> str:
    return Path(node.partition("::")[0]).stem.removeprefix("test_")


def _reason(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    message = crash.message if crash is not None else str(report.longrepr)
    return " ".join(message.split())[:300]


def _skip_reason(report: pytest.TestReport) -> str:
    message = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return " ".join(message.removeprefix("Skipped: ").split())[:200]


def _say(line: str) -> None:
    sys.__stdout__.write(f"{line}\n") if sys.__stdout__ else None


if __name__ == "__main__":
    raise SystemExit(main())

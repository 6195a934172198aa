"""The pytest plugin: checks of one's own, over models of the zoo, in one's own repository.

``pytest --zoo llama,qwen3 --variant on`` runs every test that uses a fixture of this module once for each model and
variant. Without ``--zoo`` such a test is skipped, and says so. A project that only has ane-rms installed notes nothing
of it: nothing heavy is imported before a fixture is used.

PYTEST_DONT_REWRITE: nothing is asserted here, and pytest would warn where the module is imported before it asks for it.
"""

from __future__ import annotations

import os
import platform
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import coremltools as ct

    import ane_rms
    from harness.export import ExportedModel
    from harness.interpreter import ReferenceModel
    from harness.plan.variants import Variant
    from harness.zoo.catalog import ModelSpec

MARKERS = {
    "quick": "a fast correctness run over the zoo's quick tier",
    "slow": "takes minutes; run nightly",
    "macos": "needs macOS and its Core ML runtime; skipped elsewhere",
    "ane": "needs a Mac whose Neural Engine is reachable; skipped elsewhere, or a failure with REQUIRE_ANE=1",
    "bench": "measures time or memory",
    "browser": "opens the report in headless Chromium",
}
TIERS = ("quick", "nightly")


@dataclass(frozen=True, slots=True)
class ZooCase:
    """What a test runs with: a model of the zoo in a variant and, for the variant ``on``, a lowering."""

    spec: ModelSpec
    variant: Variant
    lowering: str

    @property
    def id(self) -> str:
        """The case in a test's name: ``llama-on-layer_norm``."""
        return "-".join(filter(None, (self.spec.key, self.variant.name, self.lowering)))


CASES: pytest.StashKey[list[ZooCase]] = pytest.StashKey()
ABSENT: pytest.StashKey[frozenset[str]] = pytest.StashKey()
EXPORTED: pytest.StashKey[tuple[str, ExportedModel]] = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--zoo`` and ``--variant``."""
    group = parser.getgroup("ane-rms", "models of ane-rms's zoo")
    group.addoption(
        "--zoo",
        dest="ane_rms_zoo",
        action="append",
        metavar="MODELS",
        help="models for tests that use converted, reference_model or fusion_report: keys of the zoo, separated by "
        "commas, or a tier, quick or nightly; may be repeated",
    )
    group.addoption(
        "--variant",
        dest="ane_rms_variant",
        action="append",
        metavar="VARIANTS",
        help="off, on or cpu, separated by commas; on:max_abs is on with that lowering. Default: on",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the markers, and resolve ``--zoo`` before anything is collected.

    A marker that the project registers itself keeps the project's meaning: its tests are not skipped by this plugin.
    """
    own = {line.partition(":")[0].partition("(")[0].strip() for line in config.getini("markers")}
    for name, about in MARKERS.items():
        if name not in own:
            config.addinivalue_line("markers", f"{name}: {about}")
    config.stash[ABSENT] = frozenset({"macos", "ane"} - own)
    config.stash[CASES] = _cases(config.getoption("ane_rms_zoo"), config.getoption("ane_rms_variant"))


def _cases(models: list[str] | None, variants: list[str] | None) -> list[ZooCase]:
    """Return every model in every variant; none without ``--zoo``.

    Raises
    ------
    pytest.UsageError: in one line, for a name that nothing answers to.
    """
    if not models:
        if variants:
            raise pytest.UsageError("--variant says how the models of --zoo are converted, and there is no --zoo")
        return []
    try:
        from harness.errors import HarnessError
        from harness.plan.variants import with_lowering
        from harness.zoo import catalog
    except ImportError as error:
        from harness.system.extras import install

        raise pytest.UsageError(f"--zoo: {error}; {install('harness')}") from None
    try:
        known = catalog.load_zoo()
        names = _split(models)
        specs = {spec.key: spec for name in names for spec in _specs(known, name)}
        forms = [with_lowering(name) for name in _split(variants or ["on"])]
    except HarnessError as error:
        raise pytest.UsageError(str(error)) from None
    return [ZooCase(spec, variant, lowering) for spec in specs.values() for variant, lowering in forms]


def _split(values: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(name.strip() for value in values for name in value.split(",") if name.strip()))


def _specs(known: dict[str, ModelSpec], name: str) -> list[ModelSpec]:
    from harness.zoo import catalog

    return catalog.select(known, tier=name) if name in TIERS else catalog.select(known, [name])


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test that uses the zoo, itself or through a fixture, each case; or its skip."""
    if "zoo_case" not in metafunc.fixturenames:
        return
    asked = metafunc.config.stash[CASES]
    cases: list[Any] = [*asked]
    if not cases:
        why = "uses models of the zoo, and none is asked for: pytest --zoo llama"
        cases = [pytest.param(None, marks=pytest.mark.skip(reason=why), id="no-zoo")]
    metafunc.parametrize("zoo_case", cases, indirect=True, scope="session", ids=lambda case: case.id)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what this machine cannot run: tests marked ``ane`` or ``macos``."""
    absent = item.config.stash[ABSENT]
    if "ane" in absent and item.get_closest_marker("ane") and (why := _no_neural_engine()):
        if os.environ.get("REQUIRE_ANE") == "1":
            pytest.fail(f"REQUIRE_ANE=1, and there is no Neural Engine: {why}", pytrace=False)
        pytest.skip(f"no Neural Engine: {why}")
    if "macos" in absent and item.get_closest_marker("macos") and platform.system() != "Darwin":
        pytest.skip("needs macOS and its Core ML runtime")


@cache
def _no_neural_engine() -> str:
    """Say why there is no Neural Engine here; "" if there is."""
    if platform.system() != "Darwin":
        return "needs a Mac with Apple silicon"
    from harness.runtime.diagnosis import neural_engine

    found = neural_engine()
    return "" if found.state == "ok" else found.detail


@pytest.fixture(scope="session")
def zoo_case(request: pytest.FixtureRequest) -> ZooCase:
    """Return the model and the variant that the test runs with."""
    case: ZooCase = request.param
    return case


@pytest.fixture(scope="session")
def exported(zoo_case: ZooCase, pytestconfig: pytest.Config) -> ExportedModel:
    """Return the model before conversion: ``module`` in PyTorch, ``program``, and example ``inputs`` by name."""
    from harness.export import export

    key, model = pytestconfig.stash.get(EXPORTED, ("", None))
    if key != zoo_case.spec.key or model is None:
        with _one_line_errors(zoo_case):
            model = export(zoo_case.spec)
        pytestconfig.stash[EXPORTED] = zoo_case.spec.key, model
    return model


@pytest.fixture(scope="session")
def converted(zoo_case: ZooCase, exported: ExportedModel) -> ct.models.MLModel:
    """Return the model converted in its variant. It is not loaded: on a Mac, save it and load it to predict with it."""
    from ane_rms.passes.strategies import DEFAULT_STRATEGY
    from harness.convert.conversion import convert

    with _one_line_errors(zoo_case):
        return convert(exported, zoo_case.variant, lowering=zoo_case.lowering or DEFAULT_STRATEGY).model


@pytest.fixture(scope="session")
def numeric_policy() -> str:
    """Return what the reference executor stores and computes in; redefine it for another, ``"fp32"`` for example."""
    return "fp16"


@pytest.fixture(scope="session")
def reference_model(zoo_case: ZooCase, converted: ct.models.MLModel, numeric_policy: str) -> ReferenceModel:
    """Return the converted model on the reference executor, which runs on any machine: ``predict(inputs)``."""
    from harness.interpreter import ReferenceModel

    with _one_line_errors(zoo_case):
        return ReferenceModel(converted, numeric_policy)


@pytest.fixture(scope="session")
def outcome(zoo_case: ZooCase, exported: ExportedModel, reference_model: ReferenceModel) -> str:
    """Return the quality of the output beside float32 PyTorch's: fine, degraded, collapsed or not finite.

    The test fails if float32 PyTorch's own logits are not sound, such as all zero: no output can be held against them.
    """
    from harness.measure.metrics import measure
    from harness.measure.model_precision import Trial
    from harness.records.outcomes import outcome_of

    (logits,) = reference_model.predict(exported.inputs).values()
    trial = Trial.of(replace(exported, logits=None))  # a fixture of the project may have changed the module since
    if trial.problem:
        pytest.fail(f"{zoo_case.id}: {trial.problem}", pytrace=False)
    return outcome_of(measure(trial.expected[0], logits[0]))


@pytest.fixture(scope="session")
def fusion_report(zoo_case: ZooCase, converted: ct.models.MLModel) -> ane_rms.FusionReport:
    """Return every norm site, fused or missed with its reason; in the variant ``off`` all stand as missed."""
    import ane_rms

    if zoo_case.variant.through == "ane_rms.convert":
        return ane_rms.report(converted)
    found = ane_rms.find(converted._mil_program)  # noqa: SLF001 - the only way to the program of a converted model
    why = "plain coremltools fuses none"
    standing = (ane_rms.Miss(site.name, site.spelling, why, site.shape, site.module) for site in found.fused)
    return ane_rms.FusionReport(missed=(*standing, *found.missed), compute_units=zoo_case.variant.compute_units)


@contextmanager
def _one_line_errors(case: ZooCase) -> Iterator[None]:
    """Turn the harness's errors into one line, and keep the libraries' warnings to themselves."""
    from harness.errors import HarnessError

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except HarnessError as error:
            pytest.fail(f"{case.id}: {error}", pytrace=False)

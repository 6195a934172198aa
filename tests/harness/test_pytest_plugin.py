"""The pytest plugin as another project meets it: a folder of its own, with tests that know nothing of this one."""

from __future__ import annotations

import platform
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import harness.pytest_plugin as plugin
from harness.runtime.diagnosis import Finding

ROOT = Path(__file__).parents[2]
PLUGIN = ("-p", "harness.pytest_plugin", "-p", "no:cacheprovider")
elsewhere = pytest.mark.skipif(platform.system() == "Darwin", reason="is about machines without Core ML")


@pytest.fixture(scope="module")
def libraries():
    """Import what a conversion needs: pytester forgets modules imported inside it, and torch can be imported once."""
    from harness.explain.fusion import of_model
    from harness.interpreter import ReferenceModel

    assert ReferenceModel
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        of_model("llama")


@pytest.fixture
def project(libraries, pytester, monkeypatch):
    """Return a fresh project whose every warning is an error, with a function that runs its tests in this process."""
    monkeypatch.delenv("REQUIRE_ANE", raising=False)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeini("[pytest]\naddopts = --strict-markers\nfilterwarnings = error")
    pytester.run_tests = lambda *arguments: pytester.runpytest_inprocess(*PLUGIN, *arguments)
    return pytester


COUNTS = """
def test_counts(fusion_report, zoo_case):
    print(f"{zoo_case.id}: {len(fusion_report.fused)} fused, {len(fusion_report.missed)} missed")
"""


def test_each_model_is_run_in_each_variant(project):
    project.makepyfile(COUNTS)
    done = project.run_tests("--zoo", "llama,olmo", "--variant", "on,off", "-s")
    done.assert_outcomes(passed=4)
    # 2 layers of 2 norms and a last one; OLMo is a control, which has no RMSNorm.
    done.stdout.fnmatch_lines_random(
        [
            "*llama-on-layer_norm: 5 fused, 0 missed*",
            "*llama-off: 0 fused, 5 missed*",
            "*olmo-on-layer_norm: 0 fused, 0 missed*",
            "*olmo-off: 0 fused, 0 missed*",
        ]
    )


def test_the_outcome_is_the_records(project):
    project.makepyfile(
        """
        def test_outcome(outcome, zoo_case):
            assert outcome == {"off": "collapsed", "on": "fine"}[zoo_case.variant.name]
        """
    )
    project.run_tests("--zoo", "llama", "--variant", "on,off").assert_outcomes(passed=2)


def test_a_model_whose_own_logits_are_broken_has_no_outcome(project):
    project.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def exported(exported):
            exported.module.network.lm_head.weight.data.zero_()
            return exported
        """
    )
    project.makepyfile("def test_outcome(outcome): pass")
    done = project.run_tests("--zoo", "llama")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*llama-on-layer_norm: every logit of the float32 PyTorch model is zero*"])


def test_a_lowering_is_part_of_a_variant(project):
    project.makepyfile(
        """
        def test_lowering(converted, fusion_report):
            kinds = {op.op_type for op in converted._mil_program.functions["main"].operations}
            assert fusion_report.lowering == "max_abs"
            assert "reduce_max" in kinds
        """
    )
    project.run_tests("--zoo", "llama", "--variant", "on:max_abs").assert_outcomes(passed=1)


def test_the_document_is_a_project_that_passes(project):
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8"), re.DOTALL)
    project.makepyfile(code)
    done = project.run_tests("--zoo", "llama")
    done.assert_outcomes(passed=4)


def test_the_numeric_policy_is_the_projects_to_choose(project):
    project.makeconftest(
        """
        import pytest

        @pytest.fixture(scope="session")
        def numeric_policy():
            return "fp32"
        """
    )
    project.makepyfile(
        """
        from harness.interpreter.precision import POLICIES

        def test_policy(reference_model):
            assert reference_model.precision == POLICIES["fp32"]
        """
    )
    project.run_tests("--zoo", "llama", "--variant", "off").assert_outcomes(passed=1)


def test_without_zoo_such_a_test_is_skipped_and_says_why_and_others_run(project):
    project.makepyfile(COUNTS, test_other="def test_other():\n    pass")
    done = project.run_tests("-rs")
    done.assert_outcomes(passed=1, skipped=1)
    done.stdout.fnmatch_lines(["*none is asked for: pytest --zoo llama*"])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("--zoo", "lama"), "unknown model 'lama'. Did you mean llama"),
        (("--zoo", "llama", "--variant", "onn"), "unknown variant 'onn'. Did you mean on"),
        (("--zoo", "llama", "--variant", "on:max"), "unknown lowering 'max'"),
        (("--zoo", "llama", "--variant", "off:max_abs"), "only the variant on has a lowering"),
        (("--variant", "on"), "there is no --zoo"),
    ],
)
def test_a_wrong_name_is_one_line_before_anything_runs(arguments, line, project):
    project.makepyfile(COUNTS)
    done = project.run_tests(*arguments)
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    errors = [text for text in done.stderr.lines if text.strip()]
    assert len(errors) == 1
    assert line in errors[0]


def test_a_model_that_cannot_be_converted_is_one_line(project, monkeypatch):
    own = project.mkdir("models")
    text = (ROOT / "models" / "llama.toml").read_text(encoding="utf-8")
    (own / "llama.toml").write_text(text.replace('"LlamaForCausalLM"', '"LlamaForNothing"'), encoding="utf-8")
    monkeypatch.setenv("ANE_HARNESS_MODELS", str(own))
    project.makepyfile(COUNTS)
    done = project.run_tests("--zoo", "llama")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*llama-on-layer_norm: *LlamaForNothing*"])
    done.stdout.no_fnmatch_line("*Traceback*")
    done.stdout.no_fnmatch_line("*pytest_plugin.py*")


MARKED = """
import pytest

@pytest.mark.macos
def test_macos(): pass

@pytest.mark.ane
def test_ane(): pass

@pytest.mark.{others}
def test_others(): pass
"""


@elsewhere
def test_what_needs_a_mac_is_skipped_elsewhere(project):
    project.makepyfile(MARKED.format(others="quick"))
    done = project.run_tests("-rs")
    done.assert_outcomes(passed=1, skipped=2)
    done.stdout.fnmatch_lines_random(["*needs macOS*", "*no Neural Engine: needs a Mac*"])


@elsewhere
def test_a_neural_engine_that_is_required_and_missing_is_a_failure(project, monkeypatch):
    monkeypatch.setenv("REQUIRE_ANE", "1")
    project.makepyfile(MARKED.format(others="bench"))
    done = project.run_tests()
    done.assert_outcomes(passed=1, skipped=1, failed=0, errors=1)
    done.stdout.fnmatch_lines(["*REQUIRE_ANE=1, and there is no Neural Engine*"])


def test_where_there_is_a_neural_engine_its_tests_run(project, monkeypatch):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr("harness.runtime.diagnosis.neural_engine", lambda: Finding("Neural Engine", "ok", "found"))
    plugin._no_neural_engine.cache_clear()
    try:
        project.makepyfile(MARKED.format(others="browser"))
        project.run_tests().assert_outcomes(passed=3)
    finally:
        plugin._no_neural_engine.cache_clear()


def test_a_marker_that_the_project_registers_keeps_its_meaning(project):
    project.makeini("[pytest]\naddopts = --strict-markers\nmarkers =\n    macos: about packages for macOS")
    project.makepyfile("import pytest\n\n@pytest.mark.macos\ndef test_package(): pass")
    project.run_tests().assert_outcomes(passed=1)


def test_every_marker_is_registered(project):
    done = project.run_tests("--markers")
    done.stdout.fnmatch_lines_random([f"@pytest.mark.{name}: *" for name in plugin.MARKERS])


def test_a_project_that_does_not_use_it_imports_nothing_heavy(project):
    project.makepyfile(
        """
        import sys

        def test_light():
            heavy = {"torch", "coremltools", "transformers", "msgspec", "numpy", "typer", "ane_rms"}
            assert heavy & set(sys.modules) == set()
        """
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *PLUGIN],
        env={"PYTHONPATH": str(ROOT), "PATH": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_the_wheel_alone_brings_the_plugin_the_zoo_and_the_report(tmp_path):
    """A fresh environment installs the wheel; the dependencies, gigabytes of them, are borrowed from this one."""
    wheel = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT],
        capture_output=True,
        text=True,
        check=False,
    )
    assert wheel.returncode == 0, wheel.stderr
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    (built,) = tmp_path.glob("ane_rms-*.whl")
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", built], check=True)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    borrowed = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (site / "borrowed.pth").write_text("\n".join(borrowed), encoding="utf-8")

    project = tmp_path / "project"
    project.mkdir()
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "pytest.md").read_text(encoding="utf-8"), re.DOTALL)
    where = f"\ndef test_where():\n    import harness\n    assert harness.__file__.startswith({str(site)!r})\n"
    (project / "test_own.py").write_text("".join(code) + where, encoding="utf-8")
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "--zoo", "llama", "-p", "no:cacheprovider"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "4 passed" in done.stdout, done.stdout + done.stderr
    report = (
        "from harness.report.page.html import render; from harness.report.page.content import Page; "
        "print(len(render(Page([], 'x'), [])))"
    )
    size = subprocess.run([python, "-c", report], cwd=project, capture_output=True, text=True, check=True)
    assert int(size.stdout) > 500_000, "the charts' libraries are inside"

"""The names of lowerings are the registered ones, before and after ``ane_rms`` is imported."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ane_rms.passes.strategies import DEFAULT_STRATEGY, STRATEGIES, strategy
from harness.plan.lowerings import _declared as declared
from harness.plan.lowerings import default_lowering, lowerings
from harness.plan.run_plan import Options

TRAITS = ("doubles_axis", "keeps_epsilon", "squares_stay_inside", "rescales_rows", "folds_gamma")
ROOT = Path(__file__).parents[3]


def test_the_names_read_from_the_source_are_the_registered_ones():
    assert tuple(declared()) == tuple(STRATEGIES)
    for name, traits in declared().items():
        assert traits == {one for one in TRAITS if getattr(STRATEGIES[name], one)}
    assert default_lowering() == DEFAULT_STRATEGY
    assert Options(variants=("on",)).lowerings == (DEFAULT_STRATEGY,)


def test_a_lowering_registered_since_is_known():
    @strategy()
    def my_own(op):
        return op.x

    try:
        assert lowerings() == (*declared(), "my_own")
    finally:
        STRATEGIES.remove("my_own")
    with pytest.raises(ValueError, match="unknown lowering 'my_own'"):
        STRATEGIES.check("my_own")


def test_a_wrong_lowering_is_refused_before_anything_heavy_is_imported():
    code = (
        "import sys\n"
        "from harness.cli.main import main\n"
        "sys.argv = ['ane-harness', 'run', 'llama', '--lowering', 'layer_nrom']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    code = end.code\n"
        "heavy = {'torch', 'coremltools', 'transformers', 'ane_rms'} & set(sys.modules)\n"
        "sys.exit(f'{code} {heavy}' if code != 2 or heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "unknown lowering 'layer_nrom'. Did you mean layer_norm" in done.stderr

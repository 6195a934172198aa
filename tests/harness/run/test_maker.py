"""Programs that are only executed: their weights stay in memory, and the figures are those of a written package."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.interpreter.blobs import METADATA_BYTES
from harness.measure.model_precision import measure
from harness.plan.run_plan import Options
from harness.run.maker import Maker
from harness.run.steps import Steps
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()


def made(key, *, only_executed, **more):
    options = Options(variants=("on",), **more)
    steps = Steps(lambda _: None)
    maker = Maker(ZOO[key], options, steps.say, only_executed=only_executed)
    return [maker.make(case, steps) for case in options.cases()]


def weights_files(one):
    files = Path(one.converted.model.weights_dir).iterdir()
    return [path for path in files if path.stat().st_size > METADATA_BYTES]  # an empty one is a header


@pytest.mark.parametrize("policy", ["fp16", "fp32"])
@pytest.mark.parametrize("key", ["llama", "phi"])
def test_a_program_with_weights_in_memory_computes_what_its_package_does(key, policy):
    (kept,), (written,) = (made(key, only_executed=only, policy=policy) for only in (True, False))
    assert kept.converted.kept
    assert not weights_files(kept)
    assert not written.converted.kept
    assert weights_files(written)
    assert measure(kept.trial, kept.converted, policy) == measure(written.trial, written.converted, policy)
    assert msgspec.to_builtins(kept.facts) == msgspec.to_builtins(written.facts)


@pytest.mark.parametrize("more", [{"compressions": ("int8",)}, {"shape": "both"}, {"lean": False}])
def test_compressed_joined_and_plainly_converted_programs_are_written(more):
    (one,) = made("llama", only_executed=True, **more)
    assert not one.converted.kept
    assert weights_files(one)

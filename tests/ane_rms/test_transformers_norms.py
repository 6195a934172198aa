"""Every norm class that transformers ships: fused once where it is an RMSNorm, with its own values.

Classes are found by name in the sources, so that a new release brings its own. Most are copies of each other: the
default run converts one of each kind through both frontends, the slow one all of them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import coremltools as ct
import numpy as np
import pytest
import torch

import ane_rms
from tests.ane_rms.test_libraries import FLOAT32_ROUNDING, convert, predict, seeded, values

transformers = pytest.importorskip("transformers")

D, GROUP = 64, 16
SHAPE = (2, 8, D)
PATTERN = re.compile("RMS|Rms|T5LayerNorm|L2Norm")
NO_NORM = {
    "VoxtralRealtimeTextAdaRmsNorm": "computes a scale from a condition",
    "HYV4UnweightedRMSNorm": "computes the inverse root alone",
}
"""Classes with the name of a norm that compute none."""
ROOT_ALONE = {"HYV4UnweightedRMSNorm"}
"""Those whose root is an output, and so a miss."""
ARGUMENTS = {
    "hidden_size": D,
    "dim": D,
    "group_size": GROUP,
    "n_groups": 4,
    "config": SimpleNamespace(hidden_size=D),
}


@cache
def kinds():
    """Return the (model, class) pairs, those of the same code together."""
    found = defaultdict(list)
    for path in sorted((Path(transformers.__file__).parent / "models").glob("*/modeling_*.py")):
        text = path.read_text(encoding="utf-8")
        if not PATTERN.search(text):
            continue
        for node in ast.parse(text).body:
            if isinstance(node, ast.ClassDef) and PATTERN.search(node.name):
                code = "".join(ast.dump(part) for part in node.body if isinstance(part, ast.FunctionDef))
                found[code.replace(node.name, "")].append((path.parent.name, node.name))
    return list(found.values())


def instance(model, name):
    """Return (module, number of inputs), or skip a class that takes a whole configuration."""
    module = importlib.import_module(f"transformers.models.{model}.modeling_{model}")
    kind = getattr(module, name)
    given = {
        key: ARGUMENTS[key]
        for key, one in inspect.signature(kind.__init__).parameters.items()
        if key in ARGUMENTS and (one.default in (inspect.Parameter.empty, None) or key == "n_groups")
    }
    if inspect.signature(kind.__init__).parameters.keys() >= {"with_scale"} and "dim" not in given:
        given["dim"] = D
    try:
        return seeded(kind(**given)), 2 if "gate" in inspect.signature(kind.forward).parameters else 1
    except AttributeError as error:
        pytest.skip(f"takes a whole configuration: {error}")


def check(model, name, frontend):
    norm, count = instance(model, name)
    shapes = [SHAPE] * count
    converted = convert(norm, shapes, frontend, compute_precision=ct.precision.FLOAT32)
    report = ane_rms.report(converted)
    assert len(report.fused) == (name not in NO_NORM)
    assert [miss.name for miss in report.missed if name not in ROOT_ALONE] == []
    assert len(report.missed) == (name in ROOT_ALONE)
    given = values(shapes)
    expected = norm(*map(torch.from_numpy, given)).numpy()
    np.testing.assert_allclose(predict(converted, given), expected, rtol=FLOAT32_ROUNDING, atol=FLOAT32_ROUNDING)


@pytest.mark.parametrize("frontend", ["trace", "export"])
@pytest.mark.parametrize(("model", "name"), [same[0] for same in kinds()], ids=lambda value: value)
def test_one_of_each_kind(model, name, frontend, ledger):
    check(model, name, frontend)
    ledger.note("transformers", name, frontend, "no norm" if name in NO_NORM else "fused")


@pytest.mark.slow
@pytest.mark.parametrize(("model", "name"), [one for same in kinds() for one in same[1:]], ids=lambda value: value)
def test_every_class(model, name):
    check(model, name, "trace")

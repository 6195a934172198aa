"""Plain packages of the zoo, rewritten: the counts and the values of a direct conversion."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import ane_rms
from harness.convert.compression import compress
from harness.convert.conversion import convert
from harness.errors import ConversionError, UnsuitedShapeError
from harness.export import export
from harness.interpreter import ReferenceModel
from harness.measure.metrics import rel_l2
from harness.plan.shapes import parse
from harness.plan.variants import VARIANTS
from harness.zoo import catalog

ZOO = catalog.load_zoo()
LARGEST_ROUNDING = 1e-6
"""A deviation above this is of another form of the norm, not of a rounded constant."""

FORMS = [
    ("prefill:16", "FLOAT16", ""),
    ("prefill:16", "FLOAT32", ""),
    ("decode:16", "FLOAT16", ""),
    ("both:16", "FLOAT16", ""),
    ("prefill:16", "FLOAT16", "palette4"),
    ("prefill:16", "FLOAT16", "int8"),
]


def check(key, shape, precision, scheme):
    """Compare a rewritten plain package with a direct conversion: sites, and values in the same precision."""
    # A palette per tensor costs massive channels more than the rewrite could.
    spec = msgspec.structs.replace(ZOO[key], activations="tame") if scheme else ZOO[key]
    exported = export(spec, shape=parse(shape))
    made = [convert(exported, VARIANTS[name], compute_precision=precision) for name in ("off", "on")]
    told = ane_rms.report(made[1].model)
    made = [compress(one, scheme) for one in made]  # kept: a package of two functions goes with its conversion
    plain, direct = (one.model for one in made)
    done = ane_rms.rewrite(plain, skip_model_load=True)
    found = ane_rms.report(done)
    assert len(found.fused) == len(told.fused)
    assert len(found.missed) == len(told.missed)
    if not shape.startswith("prefill"):
        return
    policy = "fp16" if precision == "FLOAT16" else "fp32"
    # A finished package computes coremltools' own expansion of torch.nn.RMSNorm, whose epsilon differs (issue 2821).
    as_written = any(site.deviation_bound > LARGEST_ROUNDING for site in found.fused)
    exact, ours, theirs = (
        next(iter(ReferenceModel(model, precision=one).predict(exported.inputs).values()))
        for model, one in ((plain if as_written else direct, "fp32"), (done, policy), (direct, policy))
    )
    assert np.isfinite(ours).all()
    # Both round in float16, each in its own order, and the plain program has rounded epsilon and gamma before.
    assert rel_l2(exact, ours) <= 3 * rel_l2(exact, theirs) + 1e-4


@pytest.mark.parametrize(("shape", "precision", "scheme"), [FORMS[0], FORMS[1], FORMS[3]])
def test_a_llama(shape, precision, scheme):
    check("llama", shape, precision, scheme)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "precision", "scheme"), FORMS)
@pytest.mark.parametrize("key", sorted(ZOO))
def test_the_zoo(key, shape, precision, scheme):
    try:
        check(key, shape, precision, scheme)
    except UnsuitedShapeError as error:
        pytest.skip(f"{key} has no such shape: {error}")
    except ConversionError as error:
        pytest.skip(f"coremltools does not convert or compress it: {error}")

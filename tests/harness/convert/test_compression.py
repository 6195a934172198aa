"""Compressed weights: smaller, near, and every norm still where it was."""

from __future__ import annotations

import functools
from pathlib import Path

import msgspec
import pytest

import ane_rms
from harness.convert.compression import SCHEMES, compress, scheme
from harness.convert.conversion import convert
from harness.convert.norm_counts import lowered_sites
from harness.errors import UnknownNameError
from harness.export import export
from harness.interpreter import ReferenceModel
from harness.measure.model_precision import Trial, measure
from harness.plan.shapes import parse
from harness.plan.variants import VARIANTS
from harness.zoo.catalog import load_zoo

ZOO = load_zoo()

LIMITS = {"palette4": 0.4, "palette6": 0.12, "int8": 0.04, "int4": 0.5}
"""Relative L2 of the logits: a step of the weights over their size, some layers deep; twice what is seen."""

SHARE = {"palette4": 0.45, "palette6": 0.55, "int8": 0.6, "int4": 0.4}
"""Size of the weights file beside float16's, at most: the bits a weight, and what stays whole."""


@functools.cache
def exported(shape):
    tame = msgspec.structs.replace(ZOO["llama"], activations="tame")  # a palette per tensor costs massive channels more
    return export(tame, shape=parse(shape))


@functools.cache
def converted(shape, name):
    target = SCHEMES[name].deployment_target if name else ""
    return convert(exported(shape), VARIANTS["on"], at_least=target)


def size(model):
    return Path(model.model.weights_dir, "weight.bin").stat().st_size


@pytest.mark.parametrize("name", SCHEMES)
def test_a_compressed_model_is_smaller_and_near_and_has_every_norm(name):
    plain = converted("prefill:16", name)
    smaller = compress(plain, name)
    assert size(smaller) < SHARE[name] * size(plain)
    found = measure(Trial.of(exported("prefill:16")), smaller, "fp16")
    exact = measure(Trial.of(exported("prefill:16")), plain, "fp16")
    assert 2 * exact["rel_l2"] < found["rel_l2"] < LIMITS[name]
    assert ane_rms.report(smaller.model) == ane_rms.report(plain.model)
    assert lowered_sites(smaller.program) == ZOO["llama"].expected_norms()


@pytest.mark.parametrize("name", SCHEMES)
def test_nothing_of_a_norm_is_compressed(name):
    smaller = compress(converted("prefill:16", name), name)
    read_by = {"linear", "gather", "matmul", "conv"}
    ops = ReferenceModel(smaller.model).function.body.ops
    made = {value.name for op in ops if op.op_type.startswith("constexpr_") for value in op.outputs}
    assert made
    for op in ops:
        for argument in op.inputs.values():
            for item in argument if isinstance(argument, tuple) else (argument,):
                if getattr(item, "name", "") in made:
                    assert op.op_type in read_by


@pytest.mark.slow
@pytest.mark.parametrize("name", ["palette4", "int4"])
def test_both_functions_are_compressed_and_share_what_is_left(name):
    both = compress(converted("both:16", name), name)
    assert list(both.models) == ["prefill", "decode"]
    assert size(both) < 1.1 * size(compress(converted("prefill:16", name), name))
    assert lowered_sites(both.program) == 2 * ZOO["llama"].expected_norms()
    found = measure(Trial.of(exported("both:16")), both, "fp16")
    assert found["rel_l2"] < LIMITS[name]


def test_no_scheme_leaves_the_model_alone():
    plain = converted("prefill:16", "")
    assert compress(plain, "") is plain


def test_unknown_and_double_names():
    with pytest.raises(UnknownNameError, match=r"unknown compression 'palette5'\. Did you mean palette"):
        compress(converted("prefill:16", ""), "palette5")
    with pytest.raises(ValueError, match="registered already"):
        scheme("again")(SCHEMES["int8"].apply)

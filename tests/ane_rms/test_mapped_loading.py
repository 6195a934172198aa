"""A program that is loaded for a rescale has coremltools' constants, and none of them is in memory."""

from __future__ import annotations

import mmap

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.frontend.milproto import load as loader
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.optimize import coreml as cto

import ane_rms
from ane_rms import mapped_arrays, mil
from ane_rms.package.files import open_model
from ane_rms.package.patch import loaded
from ane_rms.package.storage import Storage
from tests.ane_rms.finished import D, plain
from tests.ane_rms.test_mapped_arrays import backing

FEWEST = 32


def quantised(dtype):
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(dtype=dtype, weight_threshold=FEWEST))
    return lambda model: cto.linear_quantize_weights(model, config)


def palettised(bits):
    config = cto.OptimizationConfig(cto.OpPalettizerConfig(mode="uniform", nbits=bits, weight_threshold=FEWEST))
    return lambda model: cto.palettize_weights(model, config)


def pruned(model):
    config = cto.OptimizationConfig(cto.OpMagnitudePrunerConfig(target_sparsity=0.5, weight_threshold=FEWEST))
    return cto.prune_weights(model, config)


KINDS = {
    "float16": (ct.target.iOS16, ct.precision.FLOAT16, lambda model: model),
    "float32": (ct.target.iOS17, ct.precision.FLOAT32, lambda model: model),
    "int8": (ct.target.iOS16, ct.precision.FLOAT16, quantised("int8")),
    "int4": (ct.target.iOS18, ct.precision.FLOAT16, quantised("int4")),
    "palette of iOS 16": (ct.target.iOS16, ct.precision.FLOAT16, palettised(4)),
    "palette of 1 bit": (ct.target.iOS18, ct.precision.FLOAT16, palettised(1)),
    "palette of 3 bits": (ct.target.iOS18, ct.precision.FLOAT16, palettised(3)),
    "palette of 6 bits": (ct.target.iOS18, ct.precision.FLOAT16, palettised(6)),
    "sparse": (ct.target.iOS18, ct.precision.FLOAT16, pruned),
}


def constants(program):
    """Return the arrays of a program's constants, in program order."""
    found = (op.outputs[0].val for block in mil.blocks(program) for op in block.operations if op.op_type == "const")
    return [value for value in found if isinstance(value, np.ndarray)]


@pytest.fixture
def everything_mapped(monkeypatch):
    monkeypatch.setattr(mapped_arrays, "SMALLEST_ELEMENTS", FEWEST)
    monkeypatch.setattr(mapped_arrays, "CHUNK_ELEMENTS", 1 << 10)  # a weight is several chunks
    monkeypatch.setattr("ane_rms.package.weights.CHUNK_ELEMENTS", 1 << 10)


@pytest.mark.usefixtures("everything_mapped")
@pytest.mark.parametrize("kind", KINDS)
def test_constants_are_those_that_coremltools_loads(kind):
    target, precision, compressed = KINDS[kind]
    opened = open_model(compressed(plain(target=target, precision=precision)))
    with mapped_arrays.in_files():
        ours = constants(loaded(opened.spec, opened))
    theirs = constants(load(opened.spec, opened.spec.specificationVersion, str(opened.folder / "weights")))
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
        assert (one.dtype, one.dtype.metadata) == (other.dtype, other.dtype.metadata)
        if one.size >= FEWEST and one.dtype != np.int32:  # int32 is always in the program
            assert isinstance(backing(one), mmap.mmap)


@pytest.mark.usefixtures("everything_mapped")
def test_a_rescale_holds_no_weight_in_memory(monkeypatch):
    planned, written = [], []
    original = Storage.kept
    monkeypatch.setattr(Storage, "kept", lambda self, array: written.append(array) or original(self, array))

    def measure(program):
        planned.extend(constants(program))
        return {"linear_0_cast_fp16": 1e5}

    done = ane_rms.rewrite(plain(target=ct.target.iOS16), rescale=measure, skip_model_load=True)
    assert ane_rms.report(done).rescaled
    for arrays in (planned, written):
        weights = [one for one in arrays if one.size == D * D]
        assert len(weights) == 1
        assert isinstance(backing(weights[0]), mmap.mmap)


def test_what_another_loads_meanwhile_is_read_by_coremltools():
    opened, other = (open_model(plain(target=target)) for target in (ct.target.iOS16, ct.target.iOS17))
    with mapped_arrays.in_files():
        loaded(opened.spec, opened)
    found = constants(load(other.spec, other.spec.specificationVersion, str(other.folder / "weights")))
    assert not any(isinstance(backing(one), mmap.mmap) for one in found)


def test_another_text_of_coremltools_loads_by_itself(monkeypatch):
    original = loader._load_value

    def altered(context, value):
        return original(context, value)

    monkeypatch.setattr(loader, "_load_value", altered)
    opened = open_model(plain(target=ct.target.iOS16))
    with mapped_arrays.in_files():
        ours = constants(loaded(opened.spec, opened))
    theirs = constants(load(opened.spec, opened.spec.specificationVersion, str(opened.folder / "weights")))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)
        assert not isinstance(backing(one), mmap.mmap)

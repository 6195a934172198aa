"""Packages of one's own: every function of each, on inputs of its own, described as they are."""

from __future__ import annotations

import coremltools as ct
import msgspec
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types

from harness.bench import packages
from harness.bench.messages import Prepared, decode_item
from harness.errors import PackageError
from tests.scripted import native


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("packages")
    native.package(found / "plain.mlpackage")
    (found / "inner").mkdir()
    native.package(found / "inner" / "plain.mlpackage", "layer_norm")

    @mb.program(
        input_specs=[mb.TensorSpec((1, 7), types.int32), mb.TensorSpec((1, 7), types.fp32)],
        opset_version=ct.target.iOS17,
    )
    def program(input_ids, mask):
        return mb.add(x=mb.cast(x=input_ids, dtype="fp32"), y=mask)

    options = {"skip_model_load": True, "convert_to": "mlprogram", "minimum_deployment_target": ct.target.iOS17}
    ct.convert(program, compute_precision=ct.precision.FLOAT32, **options).save(str(found / "tokens.mlpackage"))
    return found


def test_a_package_of_tokens_names_their_number(folder):
    (one,) = packages.functions([folder / "tokens.mlpackage"])
    assert (one.title, one.tokens, one.compute_precision, one.function) == ("tokens.mlpackage", 7, "FLOAT32", "")


def test_other_packages_have_no_tokens(folder):
    (one,) = packages.functions([folder / "plain.mlpackage"])
    assert (one.tokens, one.compute_precision) == (0, "FLOAT16")


def test_packages_of_one_name_are_told_apart_by_their_paths(folder):
    paths = [folder / "plain.mlpackage", folder / "inner" / "plain.mlpackage"]
    found = packages.functions(paths)
    assert [one.title for one in found] == list(map(str, paths))
    assert found[0].digest != found[1].digest


def test_a_package_twice_is_refused(folder):
    with pytest.raises(PackageError, match="is given twice"):
        packages.functions([folder / "plain.mlpackage"] * 2)


def test_each_has_inputs_of_its_declared_shapes_and_a_prediction(folder, tmp_path):
    asked = packages.functions([folder / "plain.mlpackage", folder / "tokens.mlpackage"])
    body = msgspec.json.encode(packages.PackageJob(asked, ("m1", "m5"), str(tmp_path)))
    items = [decode_item(item) for item in packages.prepare(body, lambda _text: None)]
    first, second = (item for item in items if isinstance(item, Prepared))
    assert [one.family for one in second.predictions] == ["m1", "m5"]
    with np.load(second.inputs) as arrays:
        assert {name: (arrays[name].shape, arrays[name].dtype.kind) for name in arrays} == {
            "input_ids": ((1, 7), "i"),
            "mask": ((1, 7), "f"),
        }
    assert first.inputs != second.inputs

"""Whatever stands in a package's files, and whatever is given to ``predict``: a result, or one line of our own."""

from __future__ import annotations

import shutil
from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.proto import Model_pb2

from harness.errors import ExecutorError, HarnessError, InputError, PackageError, UnknownNameError
from harness.interpreter import ReferenceModel

DATA = {"x": np.ones((2, 16), np.float32)}


@mb.program(input_specs=[mb.TensorSpec(shape=(2, 16))], opset_version=ct.target.iOS17)
def small(x):
    weight = np.random.default_rng(0).standard_normal((16, 16)).astype(np.float32)
    y = mb.layer_norm(x=mb.linear(x=x, weight=weight), axes=[-1])
    y = mb.concat(values=[y, mb.relu(x=y)], axis=1)
    flag = mb.greater(x=mb.reduce_max(x=x, keep_dims=False), y=np.float32(0))
    return mb.cond(pred=flag, _true_fn=lambda: mb.tanh(x=y), _false_fn=lambda: mb.identity(x=y))


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "small.mlpackage"
    model = ct.convert(small, minimum_deployment_target=ct.target.iOS17, skip_model_load=True)
    model.save(str(path))
    return path


@pytest.fixture
def package(sound, tmp_path):
    return Path(shutil.copytree(sound, tmp_path / "damaged.mlpackage"))


def damage(content, rng):
    """Return the bytes with a few of them flipped, replaced, left out or put in."""
    damaged = bytearray(content)
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, how = int(rng.integers(len(damaged))), rng.integers(4)
        if how == 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif how == 1:
            damaged[at] = int(rng.integers(256))
        elif how == 2:
            del damaged[at : at + int(rng.integers(1, 8))]
        else:
            damaged[at:at] = rng.bytes(int(rng.integers(1, 4)))
    return bytes(damaged)


@pytest.mark.parametrize("file", ["model.mlmodel", "weight.bin"])
def test_damaged_bytes_run_or_are_refused_in_one_line(package, file):
    (path,) = package.rglob(file)
    content, rng, refused = path.read_bytes(), np.random.default_rng(17), []
    for _ in range(150):
        path.write_bytes(damage(content, rng))
        try:
            ReferenceModel(package).predict(DATA)
        except HarnessError as error:
            refused.append(str(error))
    assert refused
    assert all(line.isprintable() for line in refused)


def operations(spec):
    function = spec.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def last(spec, kind):
    return [operation for operation in operations(spec) if operation.type == kind][-1]


def a_result_too_many(spec):
    operation = last(spec, "concat")
    operation.outputs.add(name="more").type.CopyFrom(operation.outputs[0].type)


def an_input_too_few(spec):
    del last(spec, "concat").inputs["axis"]


def a_parameter_too_many(spec):
    last(spec, "relu").inputs["slope"].CopyFrom(last(spec, "relu").inputs["x"])


def an_unknown_op(spec):
    last(spec, "relu").type = "flash_relu"


def an_unknown_element_type(spec):
    last(spec, "relu").outputs[0].type.tensorType.dataType = 13


def a_value_never_defined(spec):
    last(spec, "relu").inputs["x"].arguments[0].name = "nothing"


def an_output_never_defined(spec):
    function = spec.mlProgram.functions["main"]
    function.block_specializations[function.opset].outputs[0] = "nothing"


def a_branch_too_few(spec):
    del last(spec, "cond").blocks[1]


def a_branch_without_results(spec):
    del last(spec, "cond").blocks[1].outputs[:]


def no_predicate(spec):
    del last(spec, "cond").inputs["pred"]


def no_function(spec):
    spec.mlProgram.functions.clear()


def an_opset_to_come(spec):
    spec.mlProgram.functions["main"].opset = "CoreML99"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (a_result_too_many, r"\(concat\): it has 1 results, not the 2 declared"),
        (an_input_too_few, r"\(concat\) of function 'main': missing parameter axis"),
        (a_parameter_too_many, r"\(relu\) of function 'main': unknown parameter slope"),
        (an_unknown_op, r"unknown op 'flash_relu'\. Did you mean .*relu"),
        (an_unknown_element_type, "element type 'bfloat16' is not supported"),
        (a_value_never_defined, "reads 'nothing', which nothing before it defines"),
        (an_output_never_defined, "the output 'nothing' is defined nowhere"),
        (a_branch_too_few, r"\(cond\) .* has not the input and the two blocks it needs"),
        (a_branch_without_results, r"\(cond\) .* differ in how many values"),
        (no_predicate, r"\(cond\) .* has not the input"),
        (no_function, "holds no function"),
        (an_opset_to_come, "unknown opset 'CoreML99'"),
    ],
)
def test_what_a_program_lacks_is_named(package, edit, message):
    (path,) = package.rglob("model.mlmodel")
    spec = Model_pb2.Model.FromString(path.read_bytes())
    edit(spec)
    path.write_bytes(spec.SerializeToString())
    with pytest.raises(ExecutorError, match=message) as caught:
        ReferenceModel(package).predict(DATA)
    assert str(caught.value).isprintable()
    assert str(package) in str(caught.value) or edit is a_result_too_many  # the one that is found while running


@pytest.mark.parametrize("chosen", [{"precision": None}, {"precision": 16}, {"function_name": 3}], ids=str)
def test_a_choice_that_is_no_name(sound, chosen):
    with pytest.raises(UnknownNameError):
        ReferenceModel(sound, **chosen)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b"\xff\xfe",
        b'{"itemInfoEntries": [], "rootModelIdentifier": 3}',
        b'{"itemInfoEntries": {"a": {"path": 5}}, "rootModelIdentifier": "a"}',
        b'{"itemInfoEntries": {"a": {"path": ""}}, "rootModelIdentifier": "a"}',
        b'{"itemInfoEntries": {"a": {"path": "a\\nb"}}, "rootModelIdentifier": "a"}',
        b"[" * 100_000,
    ],
    ids=["empty", "null", "no text", "list", "number", "no path", "line break", "deep"],
)
def test_a_manifest_of_any_kind(package, content):
    (package / "Manifest.json").write_bytes(content)
    with pytest.raises(PackageError) as caught:
        ReferenceModel(package)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("path", ["", "/dev/null", "a\0b", "x" * 5000, "."])
def test_a_path_of_any_kind(path):
    with pytest.raises(PackageError):
        ReferenceModel(path)


@pytest.mark.parametrize("kind", ["folder", "device", "dangling link"])
def test_weights_that_are_no_file(package, kind):
    (weights,) = package.rglob("weight.bin")
    weights.unlink()
    if kind == "folder":
        weights.mkdir()
    else:
        weights.symlink_to("/dev/null" if kind == "device" else "nowhere")
    with pytest.raises(PackageError, match="weight"):
        ReferenceModel(package)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [1],
        {},
        {3: DATA["x"]},
        {"x": None},
        {"x": [[1], [1, 2]]},
        {"x": b"abc"},
        {"x": DATA["x"].astype(complex)},
        {"x": np.full((2, 16), None)},
        {"x": np.full((2, 16), "2026-01-01", "datetime64[s]")},
        {"x": np.ones((0, 16))},
        {"x": 3.0},
    ],
    ids=lambda data: type(data).__name__,
)
def test_inputs_of_any_kind(sound, data):
    with pytest.raises(InputError) as caught:
        ReferenceModel(sound).predict(data)
    assert str(caught.value).isprintable()

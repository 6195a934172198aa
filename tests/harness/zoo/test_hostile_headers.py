"""Headers of weights with values of other types, in odd encodings, or not whole: read, or refused in one line."""

from __future__ import annotations

import json
import shutil
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.errors import HarnessError
from harness.export import build
from harness.plan import run_plan
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import inspect_checkpoint, spec_of
from tests.fuzz import fuzz
from tests.harness.zoo.checkpoints import INDEX, WEIGHTS, inspected, sharded, single
from tests.harness.zoo.test_gguf_file import write
from tests.hostile_json import odd_json

ZOO = load_zoo()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Return the folders of a small Llama in one file, and in shards."""
    network = build(ZOO["llama"])
    place = tmp_path_factory.mktemp("saved")
    single(network, place / "single")
    sharded(network, place / "sharded")
    return place


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "small.gguf"
    write(path)
    return path.read_bytes()


def refusal(inspect, source):
    """Return why a checkpoint is refused; "" if it is not, and a run can be planned with it."""
    try:
        found = inspect(source)
    except HarnessError as error:
        return str(error)
    assert found.digest
    options = run_plan.Options(("on",), size="full", checkpoint=found)
    spec = spec_of(found, ZOO)
    msgspec.json.encode(run_plan.Plan(options, (spec,)))
    assert run_plan.record(spec, options, options.cases()[0], status="ok").definition
    return ""


def answered(said, source):
    assert said == "" or (str(source) in said and "\n" not in said and len(said) <= 2_000)
    assert all(one.isprintable() for one in said)


def header_of(path):
    raw = path.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


@pytest.mark.timeout(3600)
@fuzz(20, deadline=None)
@given(data=st.data())
def test_any_header_of_safetensors(data, saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved / "single", folder)
    entries, rest = header_of(folder / WEIGHTS)
    text = data.draw(odd_json(entries))
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(text)) + text + rest)
    answered(refusal(inspected, folder), folder)


@pytest.mark.timeout(3600)
@fuzz(20, deadline=None)
@given(data=st.data())
def test_any_index_and_configuration(data, saved, tmp_path):
    folder = tmp_path / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(saved / "sharded", folder)
    for name in data.draw(st.sampled_from([("config.json",), ("config.json",), (INDEX,), (INDEX, "config.json")])):
        (folder / name).write_bytes(data.draw(odd_json(json.loads((folder / name).read_text()))))
    answered(refusal(inspected, folder), folder)


@pytest.mark.timeout(3600)
@fuzz(40, deadline=None)
@given(data=st.data())
def test_any_header_of_gguf(data, small, tmp_path):
    content = bytearray(small)
    wide = st.sampled_from([struct.pack("<I", one) for one in (0, 1, 7, 8, 9, 2**31, 2**32 - 1)])
    wide |= st.sampled_from([struct.pack("<Q", one) for one in (0, 1, 2**32, 2**63, 2**64 - 1)]) | st.binary(max_size=9)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(4, 2_200))
        new = data.draw(wide)
        content[at : at + data.draw(st.sampled_from([0, len(new)]))] = new
    path = tmp_path / "odd.gguf"
    path.write_bytes(content[: data.draw(st.sampled_from([len(content), len(content), len(content) // 2]))])
    answered(refusal(lambda source: inspect_checkpoint(str(source)), path), path)

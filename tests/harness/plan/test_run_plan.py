"""Which rows a run has."""

from __future__ import annotations

import msgspec

from harness.plan.run_plan import Case, Options, definition, record, rescale_of, row_of
from harness.zoo.catalog import load_zoo
from harness.zoo.checkpoint import Checkpoint

ZOO = load_zoo()
CHECKPOINT = Checkpoint("a/b", "/somewhere", "llama", "LlamaForCausalLM", "bfloat16", revision="main", digest="1")


def test_compressions_are_rows_beside_the_plain_ones():
    options = Options(variants=("off", "on", "cpu"), lowerings=("layer_norm", "max_abs"), compressions=("", "int8"))
    assert options.cases() == (
        Case("off"),
        Case("off", compression="int8"),
        Case("on", "layer_norm"),
        Case("on", "layer_norm", "int8"),
        Case("on", "max_abs"),
        Case("on", "max_abs", "int8"),
        Case("cpu"),
    )


def test_a_record_tells_its_row():
    options = Options(variants=("on",), compressions=("int8",), shape="decode", checkpoint=CHECKPOINT, run_id="1")
    (case,) = options.cases()
    made = record(ZOO["llama"], options, case, status="ok")
    assert row_of(made) == ("llama", case)
    assert (made.shape, made.compression, made.checkpoint) == ("decode", "int8", "a/b@main")


def test_other_weights_or_prompts_are_another_thing_measured():
    options = Options(variants=("on",))
    chosen = [
        options,
        msgspec.structs.replace(options, checkpoint=CHECKPOINT),
        msgspec.structs.replace(options, checkpoint=msgspec.structs.replace(CHECKPOINT, digest="2")),
        msgspec.structs.replace(options, checkpoint=CHECKPOINT, prompts=("a prompt",)),
    ]
    assert len({definition(ZOO["llama"], one) for one in chosen}) == len(chosen)


def test_options_survive_json():
    options = Options(variants=("on",), checkpoint=CHECKPOINT, prompts=("a", "\u00e9"), shape="both", run_id="1")
    assert msgspec.json.decode(msgspec.json.encode(options), type=Options) == options


def test_a_checkpoint_is_rescaled_by_calibration_and_a_zoo_model_only_if_its_file_asks():
    plain, trained = Options(variants=("on",)), Options(variants=("on",), checkpoint=CHECKPOINT)
    llama, asking = ZOO["llama"], msgspec.structs.replace(ZOO["llama"], rescale="2^-3")
    on, off = Case("on", "layer_norm"), Case("off")
    assert [rescale_of(spec, plain, on) for spec in (llama, asking)] == ["off", "2^-3"]
    assert [rescale_of(llama, trained, case) for case in (on, off)] == ["auto", "off"]
    assert rescale_of(llama, msgspec.structs.replace(trained, rescale="off"), on) == "off"
    sums = msgspec.structs.replace(trained, aim="sums")
    assert record(llama, sums, on, status="ok").rescale == "auto sums"

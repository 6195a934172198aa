"""The command line: what it prints, writes and returns, and one line for every kind of bad input."""

from __future__ import annotations

import json

import coremltools as ct
import msgspec
import pytest
import typer
from coremltools.converters.mil.mil import Builder as mb

from harness.cli.main import app
from harness.records.run_files import read_records
from harness.report.columns import COLUMNS
from harness.zoo.catalog import load_zoo
from tests.harness.command_line import harness, process

pytestmark = pytest.mark.usefixtures("_kept_children")


def commands(group, words=()):
    """Yield the words that name each command, and it; groups of commands, the whole among them, too."""
    yield words, group
    for name, one in getattr(group, "commands", {}).items():
        yield from commands(one, (*words, name))


@pytest.mark.parametrize(
    ("words", "command"), [pytest.param(*one, id=" ".join(one[0])) for one in commands(typer.main.get_command(app))]
)
def test_the_help_of_every_command_has_an_example_of_it(words, command):
    text = " ".join(filter(None, (command.help, command.epilog)))
    assert f"Example: {' '.join(('ane-harness', *words))}" in " ".join(text.split())
    assert harness(*words, "--help").returncode == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return a finished run of two models, one of them a control."""
    out = tmp_path_factory.mktemp("results")
    return process("run", "llama", "olmo", "--no-cache", "--out", out), out


@pytest.mark.quick
def test_a_run_prints_a_row_per_model_and_variant(run):
    done, _ = run
    assert done.returncode == 0, done.stderr
    table, _, reasons = done.stdout.strip().partition("\n\n")
    assert "collapses first at" in reasons
    header, _, *rows = table.splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")] == [
        column.header for column in COLUMNS if column.usual is None and not column.on_terminal_only
    ]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert [row[:2] for row in cells] == [[m, v] for m in ("llama", "olmo") for v in ("off", "on", "cpu")]
    assert {row[3] for row in cells} == {"reference"}
    assert {row[-1] for row in cells} == {"ok"}
    fused = {(row[0], row[1]): row[5:8] for row in cells}
    assert fused["llama", "off"] == ["5", "0", "5"]
    assert fused["llama", "on"] == ["5", "5", "0"]
    assert fused["llama", "cpu"] == ["5", "0", "5"]
    assert {tuple(fused["olmo", variant]) for variant in ("off", "on", "cpu")} == {("0", "0", "0")}


@pytest.mark.quick
def test_a_run_says_nothing_of_the_libraries(run):
    done, _ = run
    assert len(done.stderr.strip().splitlines()) == 1
    assert "6 of 6 rows ok" in done.stderr


def test_a_run_keeps_records_and_the_table(run):
    done, out = run
    (path,) = (out / "runs").glob("*.jsonl")
    records = list(read_records(path))
    assert [(record.model, record.variant) for record in records] == [
        (model, variant) for model in ("llama", "olmo") for variant in ("off", "on", "cpu")
    ]
    (table,) = (out / "tables").glob("*.md")
    assert table.read_text().strip() == done.stdout.strip()
    on = records[1]
    assert (on.executor, on.policy, on.status, on.compute_units) == ("reference", "fp16", "ok", "CPU_AND_NE")
    assert [site.fused for site in on.sites] == [True] * 5
    assert on.environment.versions["coremltools"]
    assert on.metrics["top1"] >= 0.95
    assert on.ops_after < on.ops_before
    assert 0 < on.metrics["rel_l2"] < 5e-3
    assert set(on.seconds) == {"export", "convert", "execute"}


@pytest.mark.parametrize("form", ["tsv", "json"])
def test_other_formats(form, tmp_path):
    done = harness("run", "llama", "--variant", "on", "--format", form, "--precision", "fp32", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    if form == "json":
        (record,) = json.loads(done.stdout)
        assert (record["model"], record["policy"], record["compute_precision"]) == (
            "llama",
            "fp32",
            "FLOAT32",
        )
        assert record["metrics"]["rel_l2"] < 1e-5
    else:
        header, row = done.stdout.rstrip("\n").splitlines()
        assert header.split("\t")[0] == "model"
        assert len(header.split("\t")) == len(row.split("\t"))
        assert row.split("\t")[:2] == ["llama", "on"]


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("run", "lama"), "unknown model 'lama'. Did you mean llama"),
        (("run", "llama", "--variant", "onn"), "unknown variant 'onn'. Did you mean on"),
        (("run", "llama", "--precision", "fp61"), "unknown precision 'fp61'. Did you mean"),
        (("run", "llama", "--frontend", "tracer"), "unknown frontend 'tracer'. Did you mean trace"),
        (("run", "llama", "--format", "markdown"), "unknown format 'markdown'. Known: csv, github, json, table, tsv."),
        (("run", "llama", "--lowering", "layer_norm,max_ab"), "unknown lowering 'max_ab'. Did you mean max_abs"),
        (("run", "--regimes", "--precision", "fp16,fp17"), "unknown precision 'fp17'. Did you mean"),
        (("explain", "llama", "--axes", "all"), "unknown axes 'all'. Known: any, last."),
        (("run", "--tier", "quickly"), "unknown tier 'quickly'. Did you mean quick"),
        (("list", "--tier", "daily"), "unknown tier 'daily'"),
        (("explain", "qwen33"), "unknown model 'qwen33'. Did you mean qwen3"),
        (("explain", "absent.mlpackage"), "absent.mlpackage: no such package"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments, line, tmp_path):
    more = ("--out", tmp_path) if arguments[0] == "run" else ()
    done = harness(*arguments, *more)
    assert done.returncode == 2
    assert line in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""


def test_an_unwritable_out_is_one_line(tmp_path):
    blocked = tmp_path / "a-file"
    blocked.write_text("in the way")
    done = harness("run", "llama", "--out", blocked / "results")
    assert done.returncode == 2
    assert "cannot write results there" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_folder_that_is_no_package_is_one_line(tmp_path):
    (tmp_path / "broken.mlpackage").mkdir()
    done = harness("explain", tmp_path / "broken.mlpackage")
    assert done.returncode == 2
    assert "broken.mlpackage: not a Core ML package" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_malformed_zoo_file_is_one_line(own_zoo, tmp_path):
    path = own_zoo / "qwen3.toml"
    path.write_text(path.read_text().replace("[quick]\n", '[quick]\nintermediate_size = "64k"\n', 1))
    done = harness("run", "llama", "--out", tmp_path / "results")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "qwen3.toml" in done.stderr


def test_one_models_failure_is_a_row_and_the_others_run(own_zoo, tmp_path):
    path = own_zoo / "llama.toml"
    path.write_text(path.read_text().replace('"LlamaForCausalLM"', '"LlamaForNothing"'))
    done = harness("run", "llama", "qwen3", "--variant", "on", "--out", tmp_path / "results")
    assert done.returncode == 1
    (records,) = (tmp_path / "results" / "runs").glob("*.jsonl")
    status = {record.model: (record.status, record.reason) for record in read_records(records)}
    assert status["qwen3"] == ("ok", "")
    assert status["llama"][0] == "failed"
    assert "LlamaForNothing" in status["llama"][1]
    assert "Traceback" not in done.stderr


def test_a_wrong_count_is_exit_code_1_and_names_model_and_sites(own_zoo, tmp_path):
    path = own_zoo / "llama.toml"
    path.write_text(path.read_text().replace('norms = "2*L + 1"', 'norms = "2*L"'))
    done = harness("run", "llama", "--variant", "on", "--out", tmp_path / "results")
    assert done.returncode == 1
    assert "llama on layer_norm: wrong: 5 RMSNorm modules are executed, the zoo file's formula says 4" in done.stderr
    assert "5 of 4 norms fused" in done.stderr
    assert "network.model.norm" in done.stderr


def test_lowerings_stand_against_each_other(tmp_path):
    names = ["layer_norm", "layer_norm_affine", "max_abs"]
    done = harness(
        "run", "llama", "--variant", "on", "--lowering", ",".join(names), "--format", "json", "--out", tmp_path
    )
    assert done.returncode == 0, done.stderr
    records = {record["lowering"]: record for record in json.loads(done.stdout)}
    assert list(records) == names
    assert {name: record["norm_ops"] // 5 for name, record in records.items()} == {
        "layer_norm": 5,
        "layer_norm_affine": 4,
        "max_abs": 19,
    }
    assert records["layer_norm_affine"]["norm_bytes"] < records["layer_norm"]["norm_bytes"]
    assert all(0 < record["metrics"]["rel_l2"] < 5e-3 for record in records.values())


def test_the_table_of_regimes(tmp_path):
    done = harness("run", "--regimes", "--lowering", "layer_norm,none", "--precision", "fp16", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    header, _, *rows = done.stdout.strip().splitlines()
    assert [cell.strip() for cell in header.strip("|").split("|")][:4] == ["lowering", "policy", "N(0, 1)", "zeros"]
    assert [row.split("|")[1].strip() for row in rows] == ["(rounding)", "layer_norm", "none"]
    (table,) = (tmp_path / "tables").glob("*.md")
    assert table.read_text().strip() == done.stdout.strip()


def test_list_names_every_model():
    done = harness("list")
    assert done.returncode == 0
    for key in load_zoo():
        assert f"| {key} " in done.stdout


def test_doctor_finds_nothing_missing_here():
    done = process("doctor")
    assert done.returncode == 0, done.stdout
    for subject in ("coremltools", "torch", "transformers", "numpy", "zoo", "Core ML", "Neural Engine"):
        assert subject in done.stdout
    assert "missing" not in done.stdout


def test_verbose_shows_what_the_libraries_say(tmp_path):
    @mb.program(input_specs=[mb.TensorSpec(shape=(2, 8))])
    def program(x):
        return mb.relu(x=x)

    path = tmp_path / "relu.mlpackage"
    ct.convert(program, convert_to="mlprogram", skip_model_load=True).save(str(path))
    quiet, loud = process("explain", path), process("-v", "explain", path)
    assert quiet.stderr == ""
    assert "has not been tested with coremltools" in loud.stderr


def test_a_record_survives_a_round_trip(run):
    _, out = run
    (path,) = (out / "runs").glob("*.jsonl")
    record = next(read_records(path))
    assert msgspec.json.decode(msgspec.json.encode(record), type=type(record)) == record

"""``--format``, ``--columns`` and ``--results``: one implementation, in every command that has them."""

from __future__ import annotations

import csv
import json

import pytest
import typer

from harness.cli.main import app
from harness.zoo.catalog import load_zoo
from tests.harness.command_line import harness

COMMANDS = typer.main.get_command(app).commands
TABLES = ("list", "run", "regimes", "bench", "placement", "explain", "engine", "rewrite", "diff", "compare", "history")


def spelled(command):
    return {name for parameter in command.params for name in parameter.opts}


@pytest.mark.parametrize("name", [*TABLES, "doctor", "cache list", "weights list", "fleet status"])
def test_a_command_with_a_table_has_the_three_options(name):
    group, _, inner = name.partition(" ")
    command = COMMANDS[group].commands[inner] if inner else COMMANDS[group]
    assert {"--format", "--wide", "--columns"} <= spelled(command)


def test_help_has_one_spelling_of_the_results_folder():
    assert not [name for name, command in COMMANDS.items() if "--out" in spelled(command)]
    assert "--results" in spelled(COMMANDS["run"])


def test_the_former_spelling_is_accepted(tmp_path):
    by_both = [harness("compare", "latest~1", option, tmp_path) for option in ("--results", "--out")]
    assert by_both[0] == by_both[1]
    assert str(tmp_path) in by_both[0].stderr


@pytest.mark.parametrize("name", ["list", "doctor", "weights list"])
def test_json_is_data_alone_with_the_keys_of_comma_separated_values(name):
    rows = json.loads(harness(*name.split(), "--format", "json").stdout)
    header, *lines = csv.reader(harness(*name.split(), "--format", "csv").stdout.splitlines())
    assert [list(row) for row in rows] == [header] * len(lines)


def test_list_as_json_has_every_model():
    assert [row["model"] for row in json.loads(harness("list", "--format", "json").stdout)] == list(load_zoo())


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--columns", "colour"),
        ("run", "llama", "--columns", "model,colour"),
        ("bench", "llama", "--columns", "model,colour"),
        ("bench", "--norm", "--columns", "colour"),
        ("history", "--columns", "colour"),
        ("explain", "llama", "--columns", "colour"),
        ("engine", "llama", "--columns", "colour"),
        ("doctor", "--columns", "colour"),
        ("cache", "list", "--columns", "colour"),
        ("compare", "a", "b", "--columns", "colour"),
        ("list", "--format", "colour"),
    ],
)
def test_an_unknown_name_is_one_line_and_exit_code_2(arguments):
    done = harness(*arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "'colour'" in done.stderr

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from connector.cli.main import cli

SETTINGS = """
[[libraries]]
code = "LIB"
name = "测试馆"

[[libraries]]
code = "TWO"
name = "第二馆"

[ils]
adapter = "local"
"""


@pytest.fixture
def run(tmp_path):
    config = tmp_path / "onecard.toml"
    config.write_text(SETTINGS, encoding="utf-8")

    def run(*words):
        return CliRunner().invoke(cli, ["--config", str(config), "adapters", *words])

    return run


def test_adapters_are_listed(run):
    (local,) = [row for row in json.loads(run("list", "--json").stdout) if row["name"] == "local"]
    assert local["version"]
    assert {"checkout", "set_due_date", "fetch_changes"} <= set(local["capabilities"])
    assert "local 1.0: add_bib" in run("list").stdout


def test_they_are_listed_without_a_settings_file(tmp_path):
    result = CliRunner().invoke(cli, ["-c", str(tmp_path / "none.toml"), "adapters", "list"])
    assert (result.exit_code, "local" in result.stdout) == (0, True)


def test_the_suite_runs_against_a_library(run, tmp_path):
    result = run("test", "LIB", "--yes", "--json", "--only", "checkin or parallel")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert (report["library"], report["adapter"], report["failed"]) == ("LIB", "local", 0)
    assert report["passed"] == len(report["results"]) > 3
    assert (tmp_path / "local-LIB.db").exists()


def test_a_failure_is_exit_code_1(run):
    result = run("test", "LIB", "--yes", "--only", "no such test")
    assert result.exit_code == 1
    assert "0 passed, 0 failed" in result.stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("test", "LIB"), "add --yes"),
        (("test", "koha", "--yes"), "No library uses 'koha'"),
        (("test", "local", "--yes"), "More than one library"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(run, words, why):
    result = run(*words)
    assert result.exit_code == 1
    assert why in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_without_a_name_the_usage_is_wrong(run):
    assert run("test").exit_code == 2

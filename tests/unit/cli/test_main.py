"""The root of the command line: help, errors in one line, exit codes."""

import json

import click
import pytest
from click.testing import CliRunner

from connector.cli import main
from connector.cli.context import explain
from connector.errors import (
    AdapterUnavailable,
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    StorageUnavailable,
)

SECRET = "张三 110101200001011232"


def run(*arguments):
    return CliRunner().invoke(main.cli, arguments)


@pytest.fixture
def raising(monkeypatch):
    """Give a command that raises what it is told to."""

    def add(error):
        @click.command("boom")
        def boom():
            raise error

        monkeypatch.setitem(main.cli.commands, "boom", boom)
        return run("boom")

    return add


def test_help_lists_every_command_without_importing_it():
    result = run("--help")
    assert result.exit_code == 0
    assert [name for name in main.COMMANDS if f"\n  {name} " not in result.stdout] == []


def all_commands():
    """Yield every command with its path."""

    def walk(command, path):
        yield path, command
        if isinstance(command, click.Group):
            for name in command.list_commands(click.Context(command)):
                yield from walk(command.get_command(click.Context(command), name), (*path, name))

    for name in main.COMMANDS:
        yield from walk(main.cli.get_command(click.Context(main.cli), name), (name,))


@pytest.mark.parametrize("name", main.COMMANDS)
def test_command_can_be_loaded_and_explains_itself(name):
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Usage:")


def test_every_command_that_does_something_shows_an_example():
    missing = []
    for path, command in all_commands():
        if not isinstance(command, click.Group):
            result = run(*path, "--help")
            if "Example" not in result.stdout:
                missing.append(" ".join(path))
    assert missing == []


def test_unknown_command_is_wrong_usage():
    result = run("nope")
    assert result.exit_code == 2
    assert "No such command 'nope'" in result.stderr
    assert result.stdout == ""


def test_command_that_cannot_be_imported_leaves_the_others_usable(monkeypatch):
    monkeypatch.setattr(main, "COMMANDS", {**main.COMMANDS, "absent_part": "Not there."})
    result = run("absent_part")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: onecard absent_part cannot be loaded")
    assert run("plugins", "list").exit_code == 0


def test_missing_settings_are_one_line_with_the_remedy(tmp_path):
    result = run("--config", str(tmp_path / "none.toml"), "ledger", "unknown")
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert "onecard init" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("error", "what", "remedy"),
    [
        (ConfigurationError("It is wrong.", "Mend it."), "It is wrong.", "Mend it."),
        (AdapterUnavailable("koha", "A", "timeout"), "koha", "try again"),
        (OutcomeUnknown("koha", "A", "timeout"), "koha", "onecard ledger unknown"),
        (StorageUnavailable("database out of reach"), "database out of reach", "[store] url"),
        (NotFound("patron"), "patron not found", "Check"),
        (PermissionError(13, "Permission denied", "/x/onecard.key"), "/x/onecard.key", "denied"),
    ],
)
def test_error_is_one_line_with_the_remedy(raising, error, what, remedy):
    result = raising(error)
    assert result.exit_code == 1
    assert what in result.stderr
    assert remedy in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_unexpected_error_shows_class_and_place_but_not_its_text(raising):
    result = raising(ValueError(SECRET))
    assert result.exit_code == 1
    assert "ValueError at test_main.py:" in result.stderr
    assert "张三" not in result.output
    assert "110101" not in result.output


def test_unexpected_error_is_raised_for_who_debugs(raising, monkeypatch):
    monkeypatch.setenv("ONECARD_DEBUG", "1")
    result = raising(ValueError("boom"))
    assert isinstance(result.exception, ValueError)


def test_explanation_of_an_error_without_a_place():
    assert "ValueError" in explain(ValueError(SECRET))


def test_version_is_told():
    result = run("--version")
    assert result.stdout.startswith("onecard ")


@pytest.mark.parametrize(
    ("environ", "lang"),
    [
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LANG": "C"}, "en"),
        ({"LANG": "C", "LC_ALL": "zh_CN"}, "zh"),
    ],
)
def test_language_is_that_of_the_terminal(environ, lang, monkeypatch):
    seen = []

    @click.command("look")
    @click.pass_obj
    def look(obj):
        seen.append(obj.lang)

    monkeypatch.setitem(main.cli.commands, "look", look)
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    run("look")
    run("--lang", "en", "look")
    assert seen == [lang, "en"]


def test_plugins_list_names_the_built_in_adapter():
    result = run("plugins", "list", "--json")
    assert result.exit_code == 0
    (local,) = [row for row in json.loads(result.stdout) if row["name"] == "local"]
    assert "register_ils_adapters" in local["hooks"]
    assert "local" in run("plugins", "list").stdout


def test_plugin_that_is_switched_off_is_not_listed(tmp_path):
    config = tmp_path / "onecard.toml"
    config.write_text(
        '[library]\ncode = "A"\nname = "A"\n[plugins]\ndisabled = ["local", "sip2"]\n'
    )
    result = run("--config", str(config), "plugins", "list", "--json")
    assert json.loads(result.stdout) == []


def test_examples_are_laid_out_as_written():
    assert [path for path, _ in all_commands() if "\\b" in run(*path, "--help").stdout] == []


def test_a_port_that_cannot_be_is_wrong_usage(onecard):
    result = onecard("demo", "--port", "99999")
    assert (result.exit_code, "99999 is not in the range" in result.output) == (2, True)

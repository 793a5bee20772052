"""The documents are true: hooks with their exact arguments, commands, links, dependencies, templates."""

import configparser
import inspect
import re
import shlex
import tomllib
from collections import Counter
from pathlib import Path

import click
import pytest
from pydantic import BaseModel

from connector.cli.main import COMMANDS, cli
from connector.domain.circulation import Decision, Reason
from connector.plugins import hookspecs
from connector.plugins.hookspecs import HOOKS, hookimpl
from connector.plugins.manager import build_plugins
from connector.ports.decisions import DecisionRequest
from connector.ports.ils import AdapterSpec, Capability
from connector.ports.store import Identifier
from connector.settings import parse_settings
from connector.sip2.abilities import PERMISSIONS, REQUIREMENTS
from connector.sip2.screen import TEXTS

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("adapters/*/README.md")])
HOOKS_PAGE = (ROOT / "docs/reference/hooks.md").read_text("utf-8")


def signature(name):
    found = inspect.signature(HOOKS[name])
    arguments = ", ".join(str(p) for key, p in found.parameters.items() if key != "self")
    return f"{name}({arguments}) -> {found.return_annotation}".replace("'", "")


@pytest.mark.parametrize("hook", sorted(HOOKS))
def test_hook_is_documented_with_its_exact_arguments(hook):
    section = HOOKS_PAGE.partition(f"### `{hook}`\n")[2].partition("\n### ")[0]
    assert f"```text\n{signature(hook)}\n```" in section


def test_no_hook_is_documented_that_does_not_exist():
    assert set(re.findall(r"^### `(\w+)`", HOOKS_PAGE, re.MULTILINE)) == set(HOOKS)


def python_blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def test_every_documented_plugin_example_is_accepted_by_the_manager():
    class MySettings(BaseModel):
        pass

    given = {
        "hookimpl": hookimpl, "click": click, "Decision": Decision, "Reason": Reason,
        "DecisionRequest": DecisionRequest, "Identifier": Identifier, "AdapterSpec": AdapterSpec,
        "CAPABILITIES": frozenset({Capability.CHECKOUT}), "MySettings": MySettings, "build": None,
        "HealthCheck": hookspecs.HealthCheck, "HealthResult": hookspecs.HealthResult,
        "COUNTS": Counter(), "RUNNING": [], "STOCK": [],
    }  # fmt: skip
    blocks = [
        block
        for name in ("docs/reference/hooks.md", "docs/how-to/write-a-plugin.md")
        for block in python_blocks(ROOT / name)
    ]
    assert len(blocks) == len(HOOKS) + 1
    for block in blocks:
        scope = dict(given)
        exec(compile(block, "example", "exec"), scope)  # our own documents
        plugin = type("Example", (), {k: staticmethod(v) for k, v in scope.items() if k in HOOKS})
        (info,) = build_plugins(extra={"x": plugin}, disabled=["local", "sip2"]).describe()
        assert len(info.hooks) == 1


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_settings_in_the_documents_are_read(page, tmp_path):
    for block in re.findall(r"```toml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        raw = tomllib.loads(block)
        text = (
            block
            if {"library", "libraries"} & set(raw)
            else f'{block}\n[library]\ncode = "A"\nname = "A"\n'
        )
        for name in re.findall(r'_file = "([^"]+)"', text):
            (tmp_path / name).write_text("secret")
        assert parse_settings(text, base_dir=tmp_path, environ={}).libraries


def test_every_command_is_documented():
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    assert [name for name in COMMANDS if f"`onecard {name}" not in page] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_in_the_documents_exist(page):
    for name in re.findall(
        r"onecard(?: --config \S+)? ([a-z][a-z0-9]*)\b", page.read_text("utf-8")
    ):
        assert name in COMMANDS, name


def test_make_targets_in_the_documents_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for page in PAGES:
        used = set(re.findall(r"(?:`|^)make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))
        assert used <= targets, page


def requirements():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"] + config["options.extras_require"]["dev"]
    names = [re.split(r"[\[<>=]", line)[0].strip() for line in lines.splitlines()]
    return {name.lower() for name in names if name}


def test_every_dependency_has_its_reason():
    page = (ROOT / "docs/dependencies.md").read_text("utf-8")
    cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    named = {name.strip().lower() for cell in cells for name in cell.split(",")} - {"package"}
    assert named == requirements()


def test_every_dependency_is_pinned_without_a_place_to_fetch_it_from():
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    assert all(re.fullmatch(r"[a-z0-9._-]+==[^\s@]+", line) for line in lines)
    assert requirements() <= {line.partition("==")[0] for line in lines}


def test_every_reason_stands_with_its_words_on_the_page():
    page = (ROOT / "docs/reference/reasons.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", page, re.MULTILINE)
    assert rows == [
        (str(key), TEXTS["en"][key], TEXTS["zh"][key])
        for key in [*Reason, *(key for key in TEXTS["en"] if key not in set(Reason))]
    ]
    assert set(TEXTS["zh"]) == set(TEXTS["en"])


def test_every_sip2_message_stands_on_the_page_with_what_it_needs():
    page = (ROOT / "docs/reference/sip2.md").read_text("utf-8")
    for code, needed in REQUIREMENTS.items():
        (row,) = re.findall(rf"^\| {code} .+$", page, re.MULTILINE)
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert (needed is None) is (cells[2] == "")
        assert needed is None or f"`{needed}`" in cells[2]
        permission = PERMISSIONS.get(code)
        assert cells[3] == ("" if permission is None else f"`{permission}`")


def test_every_subcommand_is_documented():
    page = (ROOT / "docs/reference/commands.md").read_text("utf-8")
    for name in COMMANDS:
        group = cli.get_command(click.Context(cli), name)
        if isinstance(group, click.Group):
            (rows,) = ["\n".join(re.findall(rf"^\| `onecard {name} .+?\|", page, re.MULTILINE))]
            for sub in group.commands:
                assert re.search(rf"\b{sub}\b", rows), f"{name} {sub}"


def options_of(words):
    """Return the options of a command in the documents, or None where the line is no command."""
    command = cli
    for word in words[1:]:
        if not isinstance(command, click.Group):
            break
        command = command.get_command(click.Context(cli), word) or command
    return {option for param in command.params for option in (*param.opts, *param.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_options_in_the_documents_exist(page):
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in block.splitlines():
            if line.strip().startswith("onecard "):
                words = shlex.split(line)
                used = {word for word in words if word.startswith("--")}
                assert used <= options_of(words) | {"--help"}, line

"""The layers and the other import contracts, and what every module must have."""

import ast
import configparser
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from connector.log import ALLOWED_KEYS

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for package in ("connector", "adapters")
    for path in (ROOT / package).rglob("*.py")
    if "versions" not in path.parts
)
PURE_SIP2 = {
    "checksums", "codec", "dialects", "framing", "profiles", "replay", "replies", "resync", "session",
    "shapes", "spec", "tags", "terminal", "timestamps",
}  # fmt: skip
NO_IO = {
    "asyncio", "logging", "os", "pathlib", "random", "requests", "secrets", "select", "socket",
    "sqlalchemy", "sqlite3", "ssl", "structlog", "subprocess", "threading", "time", "urllib",
}  # fmt: skip


def imported(path):
    """Return the top names that a module imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def tops(path):
    return {name.partition(".")[0] for name in imported(path)}


def name_of(path):
    return str(path.relative_to(ROOT))


def test_import_contracts_hold():
    lint = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


@pytest.mark.parametrize(
    "path", sorted((ROOT / "connector/domain").glob("*.py")), ids=lambda p: p.stem
)
def test_domain_does_no_io(path):
    assert tops(path) & NO_IO == set()


@pytest.mark.parametrize("stem", sorted(PURE_SIP2))
def test_pure_protocol_module_does_no_io(stem):
    path = ROOT / f"connector/sip2/{stem}.py"
    assert path.exists()
    assert tops(path) & NO_IO == set()


def test_pymarc_is_imported_only_where_marc_lives():
    users = {name_of(path) for path in MODULES if "pymarc" in tops(path)}
    assert users
    assert all(name.startswith("connector/marc/") for name in users)


def test_sqlalchemy_is_imported_only_by_storage_and_the_embedded_ils():
    users = {name_of(path) for path in MODULES if tops(path) & {"sqlalchemy", "alembic"}}
    assert users
    assert all(name.startswith(("connector/storage/", "adapters/local/")) for name in users)


def test_core_names_no_adapter():
    users = {
        name_of(path)
        for path in MODULES
        if path.parts[-3:][0] != "adapters" and "adapters" in tops(path)
    }
    assert {name for name in users if name.startswith("connector/")} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_and_its_public_names_have_docstrings(path):
    tree = ast.parse(path.read_text("utf-8"))
    if path.name == "__init__.py" and not tree.body:
        return
    assert ast.get_docstring(tree), "the module"
    for node in tree.body:
        if isinstance(
            node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        ) and not node.name.startswith("_"):
            assert ast.get_docstring(node), node.name


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_exported_names_exist(path):
    tree = ast.parse(path.read_text("utf-8"))
    defined, exported = set(), None
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            defined |= {alias.asname or alias.name for alias in node.names}
    for node in tree.body:
        targets = (
            node.targets
            if isinstance(node, ast.Assign)
            else [node.target]
            if isinstance(node, ast.AnnAssign)
            else []
        )
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        defined |= names
        if "__all__" in names:
            exported = ast.literal_eval(node.value)
    if exported is not None:
        assert [name for name in exported if name not in defined] == []
        assert len(exported) == len(set(exported))


def adapters():
    return sorted(path.parent for path in (ROOT / "adapters").glob("*/adapter.py"))


@pytest.mark.parametrize("folder", adapters(), ids=lambda p: p.name)
def test_adapter_has_its_files_and_a_true_quality_ledger(folder):
    for name in (
        "__init__.py",
        "adapter.py",
        "mapping.py",
        "settings.py",
        "README.md",
        "quality.toml",
    ):
        assert (folder / name).exists(), name
    ledger = tomllib.loads((folder / "quality.toml").read_text("utf-8"))
    rules = {
        f"{group}.{name}": rule for group, table in ledger.items() for name, rule in table.items()
    }
    assert set(ledger) == {"contract", "behaviour", "privacy", "operation"}
    for name, rule in rules.items():
        assert rule["status"] in {"done", "todo", "exempt"}, name
        assert rule["status"] == "done" or rule.get("why"), f"{name} needs a why"
        if "test" in rule:
            assert (ROOT / rule["test"]).exists(), rule["test"]
    assert rules["contract.suite"].get("test")


def test_settings_of_tools_are_where_they_belong():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert set(pyproject) == {"build-system"}


def log_calls(path):
    """Yield the keyword arguments of every call of a logger in a module."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"debug", "info", "warning", "error", "exception", "critical"}
            and isinstance(node.func.value, ast.Name)
            and node.func.value.id.lstrip("_") in {"log", "logger"}
        ):
            yield node


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_log_lines_use_allowed_keys_and_an_event_name(path):
    for call in log_calls(path):
        keys = {keyword.arg for keyword in call.keywords}
        assert keys <= ALLOWED_KEYS | {"exc_info"}, f"line {call.lineno}"
        events = [
            node.value
            for node in ast.walk(call.args[0])
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        ]
        assert events
        assert all(re.fullmatch(r"[a-z0-9]+\.[a-z_]+", event) for event in events), (
            f"line {call.lineno}"
        )


def test_log_calls_are_found():
    assert sum(1 for path in MODULES for _ in log_calls(path)) > 5


IMPORTED_AS = {
    "argon2-cffi": "argon2", "fonttools": "fontTools", "fpdf2": "fpdf",
    "prometheus-client": "prometheus_client", "pydantic-settings": "pydantic_settings",
    "python-calamine": "python_calamine", "python-stdnum": "stdnum",
}  # fmt: skip
NEVER_IMPORTED = {"tzdata"}
"""Data only: zoneinfo finds it by itself."""


def test_every_dependency_of_the_program_is_used():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split()
    names = {re.split(r"[\[<>=]", line)[0].lower() for line in lines} - NEVER_IMPORTED
    used = {
        top for path in [*MODULES, *ROOT.glob("connector/**/versions/*.py")] for top in tops(path)
    }
    assert {name for name in names if IMPORTED_AS.get(name, name) not in used} == set()


@pytest.mark.parametrize("top", ["connector", "adapters"])
def test_every_folder_with_code_is_packaged(top):
    folders = {path.parent for path in (ROOT / top).rglob("*.py")}
    bare = [folder for folder in folders if not (folder / "__init__.py").exists()]
    assert bare == [], "without __init__.py an installed copy has not these modules"

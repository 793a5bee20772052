"""What the pages tell to type is typed: the way of a school, on a real installation."""

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from connector.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/enrol-a-school.md").read_text("utf-8")


def blocks(kind):
    for block in re.findall(rf"^ *```{kind}\n(.*?)```", PAGE, re.DOTALL | re.MULTILINE):
        yield "\n".join(line.strip() for line in block.splitlines()) + "\n"


@pytest.fixture
def onecard(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(line):
        word, *arguments = shlex.split(line)
        assert word == "onecard"
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, f"{line}: {result.output}"
        return result.stdout

    run("onecard init .")
    return run


def test_a_school_is_enrolled_as_the_page_tells(onecard, tmp_path):
    (roster,) = blocks("csv")
    (tmp_path / "roster.csv").write_text(roster, "utf-8")
    lines = [line for block in blocks("sh") for line in block.splitlines() if line]
    batch = "2026-0001"
    for line in lines:
        onecard(line.replace("2026-0001", batch))
        if "import" in line and "--dry-run" not in line:
            (row,) = json.loads(onecard("onecard enrol batches --json"))
            batch = row["batch"]
    pins = (tmp_path / "pins.csv").read_text("utf-8").splitlines()
    assert len(pins) == 3
    card = pins[1].split(",")[1]
    assert json.loads(onecard(f"onecard ledger show {card} --json")) == []
    assert "500230201803010017" not in onecard(f"onecard enrol show {batch}")

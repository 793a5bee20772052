"""``onecard backup`` and ``onecard restore`` over a real installation."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

import pytest


def backup(onecard, folder, *more):
    return onecard("backup", "--to", str(folder / "data"), "--keys-to", str(folder / "keys"), *more)


@pytest.fixture
def new_place(installation, onecard):
    """Make a second installation with the settings of the first, without keys and database."""
    folder = installation / "new"
    folder.mkdir()
    settings = (installation / "onecard.toml").read_text("utf-8")
    (folder / "onecard.toml").write_text(settings, "utf-8")
    for name in installation.glob("*.password"):
        (folder / name.name).write_bytes(name.read_bytes())
        (folder / name.name).chmod(0o600)
    return folder


def test_backup_and_restore_end_to_end(installation, application, onecard, patron, new_place):
    result = backup(onecard, installation, "--json", "--by", "admin1")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["ok"], report["verified"], report["persons"]) == (True, True, 1)
    (made,) = application.store.audit.search(action="backup.made")
    assert made.actor == "admin1"
    restored = onecard(
        "restore", report["data"], "--keys", report["keys"], config="new/onecard.toml"
    )
    assert restored.exit_code == 0, restored.output
    assert "onecard ledger adopt --all" in restored.stdout
    assert onecard("doctor", config="new/onecard.toml").exit_code == 0
    shown = onecard("ledger", "show", patron.card, "--json", config="new/onecard.toml")
    assert shown.exit_code == 0, shown.output
    again = onecard("restore", report["data"], "--keys", report["keys"], config="new/onecard.toml")
    assert again.exit_code == 1
    assert "not empty" in again.stderr


def test_texts_are_chinese_on_request(installation, onecard, patron, new_place):
    result = backup(onecard, installation)
    assert "A copy was restored" in result.stdout
    keys = installation / "keys" / "onecard-keys.tar.gz"
    (data,) = (installation / "data").glob("*.tar.gz")
    result = onecard(
        "--lang", "zh", "restore", str(data), "--keys", str(keys), config="new/onecard.toml"
    )
    assert "已恢复" in result.stdout


def test_damaged_archive_is_one_line(installation, onecard, patron, new_place):
    report = json.loads(backup(onecard, installation, "--json").stdout)
    with Path(report["data"]).open("r+b") as file:
        file.truncate(300)
    result = onecard("restore", report["data"], "--keys", report["keys"], config="new/onecard.toml")
    assert result.exit_code == 1
    assert "is damaged" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (new_place / "onecard.db").exists()
    assert not (new_place / "onecard.key").exists()


def test_data_and_keys_apart(installation, onecard):
    folder = str(installation / "x")
    result = onecard("backup", "--to", folder, "--keys-to", folder)
    assert result.exit_code == 1
    assert "two folders" in result.stderr
    assert onecard("backup", "--keys-to", folder).exit_code == 2
    assert onecard("backup", "--to", folder, "--keys-to", folder, "--keys-only").exit_code == 2
    assert onecard("backup", "--keys-only", "--keys-to", folder).exit_code == 0


def test_embedded_library_system_is_copied_only_when_asked(installation, onecard, patron):
    backup(onecard, installation)
    assert list((installation / "data").glob("*.db")) == []
    (installation / "later").mkdir()
    result = backup(onecard, installation / "later", "--with-local-ils", "--no-verify")
    assert "IN CLEAR" in result.stdout
    assert "not checked" in result.stdout
    (copy,) = (installation / "later" / "data").glob("onecard-local-LIB-*.db")
    connection = sqlite3.connect(copy)
    assert connection.execute("SELECT COUNT(*) FROM patron").fetchone() == (1,)
    connection.close()


def test_doubtful_backup_ends_with_code_one(installation, application, onecard, patron):
    with application.store.database.write() as connection:
        connection.exec_driver_sql("UPDATE audit SET actor = 'x' WHERE seq = 1")
        connection.exec_driver_sql("UPDATE person SET name = guardian_name, phone = name")
    result = backup(onecard, installation)
    assert result.exit_code == 1
    assert "audit is broken" in result.stderr
    assert "1 persons do not open" in result.stderr
    assert list((installation / "data").glob("*.tar.gz"))

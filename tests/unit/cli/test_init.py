"""``onecard init``: what it writes, and what it never overwrites."""

import stat

import pytest

from connector.settings import load_settings


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_writes_settings_keys_password_and_database(tmp_path, onecard):
    folder = tmp_path / "new"
    result = onecard("init", str(folder), "--code", "MAIN", "--name", '图书馆 "一"')
    assert result.exit_code == 0, result.output
    assert {path.name for path in folder.iterdir()} >= {
        "onecard.toml", "onecard.key", "kiosk-1.password", "onecard.db",
    }  # fmt: skip
    assert mode(folder / "onecard.key") == 0o600
    assert mode(folder / "kiosk-1.password") == 0o600
    settings = load_settings(folder / "onecard.toml")
    assert (settings.libraries[0].code, settings.libraries[0].name) == ("MAIN", '图书馆 "一"')
    assert len(settings.sip2.terminals[0].password) == 32


def test_prints_the_next_three_steps(tmp_path, onecard):
    out = onecard("init", str(tmp_path / "new")).stdout
    assert [line[2] for line in out.splitlines() if line.startswith("  ")] == ["1", "2", "3"]
    assert "doctor" in out
    assert "serve" in out


def test_new_installation_is_in_order(installation, onecard):
    result = onecard("doctor")
    assert result.exit_code == 0, result.output
    assert "FAIL" not in result.stdout


def test_two_installations_have_different_secrets(tmp_path, onecard):
    for name in ("a", "b"):
        onecard("init", str(tmp_path / name))
    for name in ("onecard.key", "kiosk-1.password"):
        assert (tmp_path / "a" / name).read_text() != (tmp_path / "b" / name).read_text()


@pytest.mark.parametrize(
    "present", ["onecard.toml", "onecard.key", "onecard.db", "kiosk-1.password"]
)
def test_nothing_is_overwritten(tmp_path, onecard, present):
    (tmp_path / present).write_text("precious")
    result = onecard("init", str(tmp_path))
    assert result.exit_code == 1
    assert present in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [present]
    assert (tmp_path / present).read_text() == "precious"


def test_wrong_value_leaves_nothing_behind(tmp_path, onecard):
    result = onecard("init", str(tmp_path / "new"), "--timezone", "Mars/Base")
    assert result.exit_code == 1
    assert "time zone" in result.stderr
    assert list((tmp_path / "new").iterdir()) == []

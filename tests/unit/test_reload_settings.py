"""Reading the settings of a running program again: when, what counts, and what is only named."""

from __future__ import annotations

import json
from contextlib import closing

import pytest

from connector.bootstrap import build
from connector.bootstrap.reload import Reloader, find_restarts
from connector.settings import load_settings, parse_settings
from connector.sip2.server import Sip2Server
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database

SETTINGS = """
[library]
code = "LIB"
name = "Library"

[sip2]
port = 0

[[sip2.terminals]]
login = "kiosk-1"
password_file = "kiosk.password"
"""


@pytest.fixture
def path(tmp_path):
    (tmp_path / "kiosk.password").write_text("s3cret")
    path = tmp_path / "onecard.toml"
    path.write_text(SETTINGS, "utf-8")
    settings = load_settings(path)
    Keyring.generate().save(settings.store.key_file)
    upgrade_database(settings.store.url)
    return path


@pytest.fixture
def app(path):
    with closing(build(load_settings(path))) as app:
        yield app


@pytest.fixture
def server(app):
    return Sip2Server(app.gateway)


def log_of(capsys, event):
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["event"] == event]


@pytest.fixture(autouse=True)
def json_log():
    import structlog

    import connector.log

    class Json:
        level, format = "info", "json"

    connector.log.configure(Json())
    yield
    structlog.reset_defaults()


def test_a_file_counts_when_it_looks_the_same_twice(app, path):
    reloader = Reloader(path, app)
    assert [reloader.has_changed() for _ in range(2)] == [False, False]
    path.write_text(SETTINGS + 'location = "hall"\n', "utf-8")
    assert [reloader.has_changed() for _ in range(3)] == [False, True, True]
    assert reloader.read() is not None
    assert not reloader.has_changed()


def test_a_password_file_counts_and_a_missing_file_is_a_change(app, path):
    reloader = Reloader(path, app)
    (path.parent / "kiosk.password").write_text("another")
    assert [reloader.has_changed() for _ in range(2)] == [False, True]
    reloader.read()
    path.unlink()
    assert [reloader.has_changed() for _ in range(2)] == [False, True]
    assert reloader.read() is None
    assert not reloader.has_changed()


def test_terminals_and_words_are_taken_over(app, path, server, capsys):
    more = 'location = "hall"\n[[sip2.terminals]]\nlogin = "kiosk-2"\nallow_from = ["10.0.0.0/8"]\n'
    path.write_text(SETTINGS + more + '[sip2.messages.zh]\nbad_request = "请重试"\n', "utf-8")
    reloader = Reloader(path, app)
    reloader.apply(reloader.read(), server)
    assert app.terminals["kiosk-1"].location == "hall"
    assert app.gateway.log_in("kiosk-2", "", "", "10.0.0.1").terminal_id == "kiosk-2"
    assert app.texts.render("bad_request", "zh") == "请重试"
    (line,) = log_of(capsys, "settings.reloaded")
    assert (line["created"], line["updated"], line["closed"]) == (1, 1, 0)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (SETTINGS + 'encoding = "utf-16"\n', "Terminal kiosk-1"),
        (SETTINGS + "= 1\n", "no valid TOML"),
        (SETTINGS + 'password = "s3cret-in-the-file"\n', "is a secret"),
        (
            SETTINGS.replace("[library]", "[[libraries]]").replace(
                "[sip2]\n", '[[libraries]]\ncode = "NEW"\nname = "New"\n[sip2]\n'
            )
            + 'library = "NEW"\n',
            "library NEW, which is not served yet",
        ),
    ],
)
def test_a_mistake_is_one_line_and_changes_nothing(app, path, capsys, text, error):
    before = dict(app.terminals)
    reloader = Reloader(path, app)
    path.write_text(text, "utf-8")
    assert reloader.read() is None
    assert dict(app.terminals) == before
    (line,) = log_of(capsys, "settings.reload_refused")
    assert error in line["error"]
    assert line["remedy"]
    assert "s3cret" not in json.dumps(line)


def test_what_needs_a_restart_is_named_and_never_shown(app, path, server, capsys):
    text = SETTINGS.replace("port = 0", "port = 6009\nworkers = 3")
    path.write_text(text + '[store]\nurl = "sqlite:///other.db"\n', "utf-8")
    reloader = Reloader(path, app)
    reloader.apply(reloader.read(), server)
    (line,) = log_of(capsys, "settings.restart_needed")
    assert line["setting"] == "store.url, sip2.port, sip2.workers"
    assert "6009" not in json.dumps(line)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ("", ()),
        ('[sip2.messages.zh]\nbad_request = "x"\n', ()),
        ("[policy.student]\neffective_from = 2026-09-01\n", ("policy",)),
        ("[log]\nlevel = 'debug'\n", ("log.level",)),
        ('[sip2.tls]\ncert_file = "a"\nkey_file = "b"\n', ("sip2.tls",)),
    ],
)
def test_names_of_what_differs(path, more, named):
    running = load_settings(path)
    wanted = parse_settings(SETTINGS + more, base_dir=path.parent)
    assert find_restarts(running, wanted) == named

"""``onecard sip2 terminals``, and what the doctor says of ports and clocks."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from connector.ports.terminals import TerminalClock

NOW = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)


def note(application, seconds, terminal="kiosk-1"):
    clock = TerminalClock(terminal, timedelta(seconds=seconds), NOW)
    application.store.terminal_clocks.save_clocks([clock])


def check(onecard, name):
    document = json.loads(onecard("doctor", "--json").stdout)
    return next(one for one in document["checks"] if one["name"] == name)


def test_terminals_are_listed_with_their_clocks(onecard, application):
    note(application, -400)
    result = onecard("sip2", "terminals")
    assert result.exit_code == 0
    (line,) = [line for line in result.output.splitlines() if line.startswith("kiosk-1")]
    assert line.split()[1:7] == ["LIB", "selfcheck", "utf-8", "CR", "strict", "standard"]
    assert "-400 s on 2026-11-21 12:00 !" in line


def test_terminals_as_json(onecard, application):
    (one,) = json.loads(onecard("sip2", "terminals", "--json").stdout)["terminals"]
    assert (one["login"], one["library"], one["kind"]) == ("kiosk-1", "LIB", "selfcheck")
    assert (one["clock_offset_s"], one["clock_measured_at"]) == (None, None)
    assert "password" not in one
    note(application, 90)
    (one,) = json.loads(onecard("sip2", "terminals", "--json").stdout)["terminals"]
    assert one["clock_offset_s"] == 90
    assert datetime.fromisoformat(one["clock_measured_at"]) == NOW


def test_no_terminal(onecard, installation):
    path = installation / "onecard.toml"
    text = path.read_text("utf-8")
    start, end = text.index("[[sip2.terminals]]"), text.index("# Other words on the screen")
    path.write_text(text[:start] + text[end:], "utf-8")
    assert "No terminal is configured" in onecard("sip2", "terminals").output


@pytest.mark.parametrize(
    ("seconds", "terminal", "status"),
    [(300, "kiosk-1", "ok"), (301, "kiosk-1", "warn"), (-900, "kiosk-1", "warn"), (900, "x", "ok")],
)
def test_doctor_warns_of_a_wrong_clock(onecard, application, seconds, terminal, status):
    note(application, seconds, terminal)
    found = check(onecard, "kiosk clocks")
    assert found["status"] == status
    assert ("kiosk-1" in found["message"]) == (status == "warn")


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        ('host = "127.0.0.1"', "ok"),
        ('host = "::1"', "ok"),
        ('host = "localhost"', "ok"),
        ('host = "0.0.0.0"', "warn"),
        ('host = "kiosks.library.example"', "warn"),
        ('host = "0.0.0.0"\nallow_from = ["192.0.2.0/24"]', "ok"),
    ],
)
def test_doctor_warns_of_an_open_plain_port(onecard, installation, lines, status):
    path = installation / "onecard.toml"
    text = path.read_text("utf-8")
    assert 'host = "127.0.0.1"' in text
    path.write_text(text.replace('host = "127.0.0.1"', lines, 1), "utf-8")
    found = check(onecard, "kiosk port")
    assert found["status"] == status
    assert bool(found["remedy"]) == (status == "warn")


def test_doctor_accepts_terminals_that_are_tied_to_addresses(onecard, installation):
    path = installation / "onecard.toml"
    text = path.read_text("utf-8").replace('host = "127.0.0.1"', 'host = "0.0.0.0"', 1)
    text = text.replace(
        '# allow_from = ["192.0.2.0/24"]\n# certificate', 'allow_from = ["192.0.2.0/24"]\n#', 1
    )
    path.write_text(text, "utf-8")
    assert check(onecard, "kiosk port")["status"] == "ok"


def test_doctor_warns_of_words_that_nothing_shows(onecard, installation):
    path = installation / "onecard.toml"
    text = path.read_text("utf-8")
    own = text.replace("# messages = {", "messages = {", 1)
    path.write_text(own, "utf-8")
    assert check(onecard, "kiosk words")["status"] == "ok"
    path.write_text(own.replace("checkin_ok =", "chekin_ok =", 1), "utf-8")
    found = check(onecard, "kiosk words")
    assert (found["status"], "chekin_ok in messages of kiosk-1" in found["message"]) == (
        "warn",
        True,
    )

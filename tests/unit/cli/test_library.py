"""``onecard library``: switching a mode with its way back, and the report before going live."""

import json
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.ids import InstitutionId, TerminalId
from connector.ports.ledger import Place, Verb

LIB = InstitutionId("LIB")


def mode(onecard, *arguments):
    return json.loads(onecard("library", "mode", "LIB", *arguments, "--json").stdout)


def test_a_switch_is_shown_with_who_why_and_the_way_back(onecard, installation, application):
    assert mode(onecard)["mode"] == "enforce"
    out = onecard(
        "library", "mode", "LIB", "observe", "--reason", "first week", "--by", "li"
    ).stdout
    assert "LIB: observe; the settings say enforce." in out
    assert "by li: first week" in out
    assert 'onecard library mode LIB settings --reason "switched back"' in out
    shown = mode(onecard)
    assert (shown["mode"], shown["by"], shown["reason"]) == ("observe", "li", "first week")
    application.libraries.refresh()
    assert application.libraries[LIB].mode.value == "observe", "another process follows"
    back = mode(onecard, "settings", "--reason", "switched back")
    assert (back["mode"], back["switch_back"]) == (
        "enforce",
        'onecard library mode LIB observe --reason "switched back"',
    )
    looked = "SELECT actor FROM audit WHERE action = 'library.mode_switched'"
    assert ("li",) in application.store.database.fetch(looked, ())


def test_a_switch_for_two_hours_says_what_comes_then(onecard, installation):
    onecard("library", "mode", "LIB", "observe", "--reason", "first week")
    before = datetime.now(UTC)
    shown = mode(onecard, "bypass", "--for", "2h", "--reason", "queue at the door")
    assert (shown["mode"], shown["then"]) == ("bypass", "observe")
    until = datetime.fromisoformat(shown["until"])
    assert timedelta(hours=2) <= until - before < timedelta(hours=2, minutes=5)
    checks = json.loads(onecard("doctor", "--json").stdout)["checks"]
    (check,) = [check for check in checks if check["name"] == "mode LIB"]
    assert (check["status"], "bypass" in check["message"]) == ("warn", True)


def test_the_way_back_to_a_switch_with_an_end_keeps_the_end(onecard, installation):
    first = mode(onecard, "bypass", "--for", "2h", "--reason", "queue at the door")
    back = mode(onecard, "enforce", "--reason", "all is well")["switch_back"]
    assert back.startswith("onecard library mode LIB bypass --until ")
    again = mode(onecard, *shlex.split(back)[4:])
    assert again["mode"] == "bypass"
    end = datetime.fromisoformat(again["until"])
    assert end == datetime.fromisoformat(first["until"]).replace(microsecond=0)


def test_the_last_switches_are_shown_with_their_reasons(onecard, installation):
    assert mode(onecard)["switches"] == []
    mode(onecard, "observe", "--reason", "first week", "--by", "li")
    mode(onecard, "settings", "--reason", "all is well", "--by", "wang")
    switches = mode(onecard)["switches"]
    assert [(one["mode"], one["by"], one["reason"]) for one in switches] == [
        ("settings", "wang", "all is well"),
        ("observe", "li", "first week"),
    ]
    out = onecard("library", "mode", "LIB").stdout
    assert out.index("settings by wang: all is well") < out.index("observe by li: first week")


@pytest.mark.parametrize(
    "arguments",
    [
        ("bypass",),
        ("bypass", "--reason", "   "),
        ("bypass", "--reason", "x" * 201),
        ("bypass", "--reason", "x", "--for", "two"),
        ("bypass", "--reason", "x", "--for", "2h", "--until", "2099-01-01"),
        ("bypass", "--reason", "x", "--until", "2020-01-01"),
        ("--reason", "x"),
        ("often", "--reason", "x"),
    ],
)
def test_what_is_not_complete_is_wrong_usage(onecard, installation, arguments):
    assert onecard("library", "mode", "LIB", *arguments).exit_code == 2
    assert mode(onecard)["since"] is None


@pytest.mark.parametrize("command", ["mode", "report"])
def test_an_unknown_library_is_refused(onecard, installation, command):
    result = onecard("library", command, "NO")
    assert (result.exit_code, "LIB" in result.output) == (1, True)


def note(application, patron, verb, reason="", kind="selfcheck"):
    now = datetime.now(UTC)
    place = Place(
        LIB,
        now,
        application.libraries[LIB].today(now),
        terminal=TerminalId("kiosk1"),
        kind=kind,
        test=reason == "rehearsal",
    )
    patron_id = None if reason == "passed_through" else patron.patron_id
    application.store.ledger.record_event(
        verb, place, patron_id=patron_id, item=None, reason=reason
    )


def test_the_report_counts_by_reason_day_and_machine(onecard, application, patron):
    for _ in range(3):
        note(application, patron, Verb.CHECKOUT)
    note(application, patron, Verb.CHECKOUT, "passed_through")
    note(application, patron, Verb.RENEW)
    for reason in ("item_limit", "item_limit", "renewal.renewed_already"):
        note(application, patron, Verb.WOULD_REFUSE, reason)
    note(application, patron, Verb.REFUSE, "ils_refused", "desk")
    note(application, patron, Verb.WOULD_REFUSE, "rehearsal")
    report = json.loads(onecard("library", "report", "LIB", "--json").stdout)
    assert report["done"] == {"checkout": 3, "renew": 1}
    assert report["passed_through"] == {"checkout": 1}
    assert (report["asked"], report["refused"], report["would_be_refused"]) == (5, 1, 3)
    assert report["by_reason"][0] == {
        "outcome": "would_be_refused", "reason": "item_limit", "count": 2,
    }  # fmt: skip
    assert {row["terminal_kind"] for row in report["by_day"]} == {"selfcheck", "desk"}
    text = onecard("library", "report", "LIB").stdout
    assert "would be refused: item_limit" in text
    assert patron.card not in text
    assert patron.patron_id not in text + json.dumps(report)


def test_the_report_names_what_is_missing(onecard, application, patron):
    def needs():
        report = json.loads(onecard("library", "report", "LIB", "--json").stdout)
        return {need["name"]: need["ok"] for need in report["needs"]}

    first = needs()
    assert (first["policy"], first["patrons"], first["library system"]) == (True, True, True)
    assert (first["loans taken over"], first["observed"]) == (False, False)
    onecard("ledger", "adopt", "--all")
    assert needs()["loans taken over"]

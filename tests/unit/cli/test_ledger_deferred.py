"""``onecard ledger deferred | resolve`` and what ``onecard doctor`` says of it."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.errors import AdapterUnavailable
from connector.ports.deferred import Deferral, DeferredState, DeferredVerb
from connector.ports.ledger import Place

LIB = InstitutionId("LIB")


@pytest.fixture
def given_back(onecard, patron, lend, application):
    """Lend B1 at the desk and take it back at a machine while the library system is away."""
    lend("B1")
    onecard("ledger", "adopt", "--all")
    now = datetime.now(UTC)
    application.store.ledger.record_return(
        ItemId(LIB, Barcode("B1")),
        Place(institution=LIB, at=now, local_date=now.date()),
        returned_at=now,
        defer=Deferral(LIB, DeferredVerb.CHECKIN),
    )
    return application.store.deferred.list_unresolved()[0]


def untold(onecard):
    checks = json.loads(onecard("doctor", "--json").stdout)["checks"]
    return next(check for check in checks if check["name"] == "untold LIB")


def test_what_waits_is_listed_by_codes_and_told(onecard, given_back, patron, application):
    shown = onecard("ledger", "deferred").stdout
    assert "LIB:B1" in shown
    assert "LIB: 1 waiting (of LIB 1), since " in shown
    assert patron.card not in shown
    assert patron.patron_id not in shown
    document = json.loads(onecard("ledger", "deferred", "--library", "LIB", "--json").stdout)
    assert document["libraries"][0]["owners"] == {"LIB": 1}
    assert (document["rows"][0]["verb"], document["rows"][0]["state"]) == ("checkin", "waiting")
    assert untold(onecard)["status"] == "ok"
    result = onecard("ledger", "deferred", "--replay")
    assert "Told or found done 1" in result.stderr
    assert result.stdout == "None.\n"
    assert application.adapters[LIB].fetch_item_loan(Barcode("B1")) is None
    assert untold(onecard)["message"] == "It has heard of everything."


def test_doctor_warns_of_an_old_backlog(onecard, given_back, application):
    earlier = datetime.now(UTC) - timedelta(hours=5)
    with application.store.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE deferred SET recorded_at = ?", (earlier.isoformat(timespec="microseconds"),)
        )
    check = untold(onecard)
    assert check["status"] == "warn"
    assert "the oldest for 5 h" in check["message"]


def test_a_conflict_is_warned_of_and_ended_by_a_person(onecard, given_back, application):
    application.store.deferred.finish(given_back.seq, DeferredState.CONFLICT, reason="renewed")
    assert untold(onecard)["status"] == "warn"
    seq = str(given_back.seq)
    refused = onecard("ledger", "resolve", "4711", "--as", "done", "--reason", "x")
    assert (refused.exit_code, "no row 4711" in refused.output) == (1, True)
    named = onecard("ledger", "resolve", seq, "--as", "done", "--reason", "张 小明 rang up")
    assert named.exit_code == 2
    done = onecard("ledger", "resolve", seq, "--as", "done", "--reason", "by-hand", "--by", "li")
    assert done.stdout == f"{seq}: done.\n"
    assert untold(onecard)["status"] == "ok"
    (entry,) = application.store.audit.search(action="deferred.done")
    assert (entry.actor, entry.detail["reason"]) == ("li", "by-hand")
    assert application.store.audit.verify()[0]


def test_what_waits_may_be_dropped_and_nothing_else(onecard, given_back):
    seq = str(given_back.seq)
    assert onecard("ledger", "resolve", seq, "--as", "done", "--reason", "x").exit_code == 1
    assert onecard("ledger", "resolve", seq, "--as", "drop", "--reason", "x").exit_code == 0


def test_an_absent_library_system_is_told_of_nothing(onecard, given_back, monkeypatch):
    def absent(*arguments, **more):
        raise AdapterUnavailable("local", "LIB", "down")

    monkeypatch.setattr("adapters.local.adapter.LocalAdapter.fetch_item", absent)
    result = onecard("ledger", "deferred", "--replay", "--json")
    assert "out of reach 1" in result.stderr
    assert json.loads(result.stdout)["libraries"][0]["waiting"] == 1

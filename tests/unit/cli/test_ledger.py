"""``onecard ledger``: loans made elsewhere, loans shown, outcomes that are unknown."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, ItemId
from connector.domain.item import LanguageClass
from connector.ports.ils import ExchangeContext
from connector.ports.ledger import AskLoan, Place

LIB = InstitutionId("LIB")


def test_loans_made_at_the_desk_are_adopted_once(onecard, patron, lend):
    lend("B1")
    lend("B2")
    first = json.loads(onecard("ledger", "adopt", "--all", "--json").stdout)
    assert first == {"patrons": 1, "adopted": 2, "closed": 0, "failed": 0}
    again = json.loads(onecard("ledger", "adopt", patron.card, "--json").stdout)
    assert again == {"patrons": 1, "adopted": 0, "closed": 0, "failed": 0}
    rows = json.loads(onecard("ledger", "show", patron.card, "--json").stdout)
    assert sorted(row["item"] for row in rows) == ["LIB:B1", "LIB:B2"]
    assert {row["origin"] for row in rows} == {"migrated"}


def test_return_at_the_desk_closes_the_loan(onecard, patron, lend, application):
    lend("B1")
    onecard("ledger", "adopt", "--all")
    application.adapters[LIB].checkin(Barcode("B1"), ExchangeContext(at=datetime.now(UTC)))
    report = json.loads(onecard("ledger", "adopt", "--all", "--json").stdout)
    assert report == {"patrons": 1, "adopted": 0, "closed": 1, "failed": 0}


def test_item_and_loan_are_shown_and_it_is_written_down(onecard, patron, lend, application):
    lend("B1")
    onecard("ledger", "adopt", "--all")
    (row,) = json.loads(onecard("ledger", "show", "--item", "B1", "--json").stdout)
    assert row["patron"] == patron.patron_id
    entries = application.store.audit.verify()[1]
    (same,) = json.loads(onecard("ledger", "show", "--loan", row["loan"], "--json").stdout)
    assert same == row
    assert application.store.audit.verify() == (True, entries + 1)


def test_table_for_people_shows_item_and_state(onecard, patron, lend):
    lend("B1")
    onecard("ledger", "adopt", "--all")
    out = onecard("ledger", "show", patron.patron_id).stdout
    assert "LIB:B1  open  due " in out
    assert "张小明" not in out


def ask(application, patron, barcode, at):
    application.store.ledger.ask(
        AskLoan(
            patron_id=patron.patron_id, item=ItemId(LIB, Barcode(barcode)), lender=LIB,
            ils_patron=IlsPatronId(patron.card), language=LanguageClass.CHINESE,
            place=Place(institution=LIB, at=at, local_date=at.date()),
            expires_at=at + timedelta(seconds=30), limit=8, foreign_limit=3,
        )
    )  # fmt: skip


def test_unknown_outcomes_are_listed_and_settled(onecard, patron, lend, application):
    assert onecard("ledger", "unknown").stdout == "None.\n"
    lend("B1")
    ask(application, patron, "B1", datetime.now(UTC) - timedelta(minutes=5))
    (row,) = json.loads(onecard("ledger", "unknown", "--json").stdout)
    assert (row["barcode"], row["state"]) == ("B1", "asked")
    looked = "SELECT subject FROM audit WHERE action = 'ledger.shown'"
    assert [row[0] for row in application.store.database.fetch(looked, ())] == [patron.patron_id]
    result = onecard("ledger", "unknown", "--settle", "--json")
    (row,) = json.loads(result.stdout)
    assert row["state"] == "disputed"
    assert "Opened 1" in result.stderr


def test_adopt_counts_what_the_library_system_cannot_be_asked(
    onecard, patron, installation, monkeypatch
):
    text = (installation / "onecard.toml").read_text("utf-8")
    (installation / "ils.db").mkdir()
    (installation / "broken.toml").write_text(
        text.replace('adapter = "local"\n', 'adapter = "local"\npath = "ils.db"\n'), "utf-8"
    )
    result = onecard("ledger", "adopt", "--all", "--json", config="broken.toml")
    assert result.exit_code == 1
    assert json.loads(result.stdout)["failed"] == 1


@pytest.mark.parametrize(
    "arguments", [("show",), ("show", "x", "--item", "y"), ("adopt",), ("adopt", "x", "--all")]
)
def test_ambiguous_request_is_wrong_usage(onecard, installation, arguments):
    assert onecard("ledger", *arguments).exit_code == 2


def test_unknown_loan_is_refused(onecard, installation):
    assert onecard("ledger", "show", "--loan", "none").exit_code == 1


def test_unknown_patron_is_refused(onecard, installation):
    result = onecard("ledger", "show", "S99999999")
    assert result.exit_code == 1
    assert "S99999999" not in result.stderr

"""``onecard ledger``: loans made elsewhere, loans shown, outcomes that are unknown."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from connector.cli.enrol_tasks import TASK_TEXTS
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, ItemId, TerminalId
from connector.domain.item import LanguageClass
from connector.ports.ils import ExchangeContext, FeePayment
from connector.ports.ledger import AskLoan, Place
from connector.ports.payments import AskPayment
from connector.ports.tasks import TaskKind

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


# --- what a person has seen


def unsettle(application, patron, barcode, *, minutes=10):
    """Leave a checkout without an outcome."""
    ask(application, patron, barcode, datetime.now(UTC) - timedelta(minutes=minutes))
    application.store.ledger.expire_asked(datetime.now(UTC))
    (loan,) = application.store.ledger.list_unclosed(patron.patron_id)
    with application.store.database.write() as connection:
        then = datetime.now(UTC) - timedelta(minutes=minutes)
        connection.exec_driver_sql(
            "UPDATE loan SET asked_at = ?", (then.isoformat(timespec="microseconds"),)
        )
    return loan


def settle(onecard, loan, verdict, *more):
    return onecard("ledger", "settle", loan, "--as", verdict, "--reason", "item_on_shelf", *more)


def test_what_was_not_lent_is_settled_by_hand_and_frees_the_place(onecard, patron, application):
    loan = unsettle(application, patron, "B1")
    (row,) = json.loads(onecard("ledger", "unknown", "--json").stdout)
    assert (row["kind"], row["state"]) == ("checkout", "unknown")
    assert row["age_s"] >= 600
    assert "onecard ledger settle B1" in row["look_for"]
    assert "B1" in onecard("ledger", "unknown").stdout
    assert settle(onecard, "B1", "not-lent", "--by", "li").exit_code == 0
    assert application.store.ledger.list_unclosed(patron.patron_id) == ()
    assert onecard("ledger", "unknown").stdout == "None.\n"
    found = "SELECT actor, subject FROM audit WHERE action = 'loan.settled'"
    assert application.store.database.fetch(found, ()) == [("li", loan.loan_id)]


def test_the_opposite_of_what_the_library_system_says_needs_force(
    onecard, patron, lend, application
):
    lend("B1")
    unsettle(application, patron, "B1")
    refused = settle(onecard, "B1", "not-lent")
    assert (refused.exit_code, "opposite" in refused.output) == (1, True)
    assert settle(onecard, "B1", "lent").exit_code == 0
    (loan,) = application.store.ledger.list_unclosed(patron.patron_id)
    assert loan.state.value == "open"
    assert loan.due is not None
    assert settle(onecard, "B1", "lent").exit_code == 1, "nothing is open any more"


def test_what_the_library_system_has_not_cannot_be_lent_without_force(onecard, patron, application):
    unsettle(application, patron, "B1")
    assert settle(onecard, "B1", "lent").exit_code == 1
    assert settle(onecard, "B1", "lent", "--force").exit_code == 0
    (loan,) = application.store.ledger.list_unclosed(patron.patron_id)
    assert loan.state.value == "open"


def test_a_moment_later_the_library_system_may_still_do_it(onecard, patron, application):
    unsettle(application, patron, "B1", minutes=2)
    refused = settle(onecard, "B1", "not-lent")
    assert (refused.exit_code, "Wait" in refused.output) == (1, True)


def test_a_disputed_loan_that_lies_on_the_shelf_is_closed_with_force(
    onecard, patron, lend, application
):
    lend("B1")
    unsettle(application, patron, "B1")
    onecard("ledger", "unknown", "--settle")
    assert settle(onecard, "B1", "not-lent").exit_code == 1
    assert settle(onecard, "B1", "not-lent", "--force").exit_code == 0
    assert application.store.ledger.list_unclosed(patron.patron_id) == ()
    counted = "SELECT verb FROM circulation_fact"
    assert application.store.database.fetch(counted, ()) == []


def test_a_claimed_renewal_is_listed_and_settled_by_hand(onecard, patron, lend, application):
    lend("B1")
    onecard("ledger", "adopt", "--all")
    ledger = application.store.ledger
    (loan,) = ledger.list_unclosed(patron.patron_id)
    assert settle(onecard, "B1", "renewed").exit_code == 1, "nobody has claimed one"
    until = datetime.now(UTC) - timedelta(hours=2)
    assert ledger.ask_renewal(loan.loan_id, renewals=0, until=until)
    (row,) = json.loads(onecard("ledger", "unknown", "--json").stdout)
    assert (row["kind"], row["state"], row["loan"]) == ("renewal", "claimed", loan.loan_id)
    checks = json.loads(onecard("doctor", "--json").stdout)["checks"]
    (check,) = [check for check in checks if check["name"] == "open outcomes LIB"]
    assert (check["status"], "1 renewals" in check["message"]) == ("warn", True)
    assert settle(onecard, "B1", "renewed").exit_code == 1, "the library system shows none"
    assert settle(onecard, "B1", "not-renewed").exit_code == 0
    assert ledger.ask_renewal(loan.loan_id, renewals=0, until=until)


def pay(application, patron, *, minutes):
    asked = application.store.payments.ask(
        AskPayment(
            institution=LIB, terminal=TerminalId("kiosk1"), payer=IlsPatronId(patron.card),
            patron_id=patron.patron_id,
            fee=FeePayment(Decimal("1.50"), "CNY", "01", "00", transaction_id="T-1"),
            expires_at=datetime.now(UTC) - timedelta(minutes=minutes),
            repeat_within=timedelta(minutes=2),
        )
    )  # fmt: skip
    return asked.payment.payment_id


def test_a_payment_that_nobody_knows_of_is_listed_and_settled(onecard, patron, application):
    payment_id = pay(application, patron, minutes=1)
    (row,) = json.loads(onecard("ledger", "unknown", "--json").stdout)
    assert (row["kind"], row["payment"], row["amount"]) == ("payment", payment_id, "1.50 CNY")
    assert "payments settle" in row["look_for"]
    assert payment_id in onecard("ledger", "payments", "list").stdout
    arguments = ("ledger", "payments", "settle", payment_id[:8], "--as", "paid")
    assert onecard(*arguments).exit_code == 2, "a reason is needed"
    assert onecard(*arguments, "--reason", "seen_in_ils", "--by", "li").exit_code == 0
    assert onecard(*arguments, "--reason", "seen_in_ils").exit_code == 1
    assert onecard("ledger", "payments", "list").stdout == "None.\n"
    (row,) = json.loads(onecard("ledger", "payments", "list", "--all", "--json").stdout)
    assert (row["state"], row["settled_by"]) == ("paid", "li")
    assert patron.card not in json.dumps(row)
    shown = "SELECT COUNT(*) FROM audit WHERE action = 'ledger.shown' AND subject = ?"
    assert application.store.database.fetch(shown, (patron.patron_id,))[0][0] >= 3


def test_an_unknown_payment_is_refused(onecard, installation):
    arguments = ("--as", "paid", "--reason", "other")
    assert onecard("ledger", "payments", "settle", "00000000", *arguments).exit_code == 1


def test_every_kind_of_task_has_its_words():
    assert set(TASK_TEXTS) == set(TaskKind)

"""The ledger on both databases: T1, T2, returns, settlement."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connector.domain.circulation import Quota
from connector.domain.ids import IlsPatronId, LoanId
from connector.domain.item import LanguageClass
from connector.domain.loan import LoanState
from connector.errors import NotFound
from connector.ports.ledger import AlreadyHere, Asked, NoPlace, TakenByOther, Verb
from tests.integration.storage.conftest import LIBRARY, OTHER

FDX, WZX = "FDX", "WZX"


def test_ask_takes_a_place_and_keeps_what_was_asked(scene):
    patron_id = scene.person()
    asked = scene.ledger.ask(scene.request(patron_id, "B1", language=LanguageClass.FOREIGN))
    assert isinstance(asked, Asked)
    assert asked.loan.state is LoanState.ASKED
    assert asked.loan.language is LanguageClass.FOREIGN
    assert asked.loan.policy_version == "v1"
    assert scene.ledger.list_unclosed(patron_id) == (asked.loan,)
    assert scene.ledger.find_unclosed(scene.item("B1")) == asked.loan
    assert scene.ledger.fetch_loan(asked.loan.loan_id) == asked.loan
    assert scene.facts() == []


def test_ninth_loan_finds_no_place_and_writes_nothing(scene):
    patron_id = scene.person()
    for number in range(8):
        scene.ledger.ask(scene.request(patron_id, f"B{number}"))
    answer = scene.ledger.ask(scene.request(patron_id, "B8"))
    assert answer == NoPlace(Quota(total=8, foreign=0), foreign=False)
    assert scene.ledger.find_unclosed(scene.item("B8")) is None
    assert isinstance(scene.ledger.ask(scene.request(patron_id, "B8", limit=None)), Asked)


def test_fourth_foreign_loan_finds_no_place_and_a_chinese_one_does(scene):
    patron_id = scene.person()
    for number in range(3):
        scene.ledger.ask(scene.request(patron_id, f"F{number}", language=LanguageClass.FOREIGN))
    refused = scene.ledger.ask(scene.request(patron_id, "F3", language=LanguageClass.FOREIGN))
    assert refused == NoPlace(Quota(total=3, foreign=3), foreign=True)
    assert isinstance(scene.ledger.ask(scene.request(patron_id, "C1")), Asked)


def test_loans_that_the_ils_only_counts_take_places(scene):
    patron_id = scene.person()
    scene.lend(patron_id, "B1")
    answer = scene.ledger.ask(scene.request(patron_id, "B2", uncounted=7))
    assert answer == NoPlace(Quota(total=8, foreign=0), foreign=False)


def test_same_patron_and_item_is_the_same_loan(scene):
    patron_id = scene.person()
    first = scene.ledger.ask(scene.request(patron_id, "B1"))
    again = scene.ledger.ask(scene.request(patron_id, "B1", limit=0))
    assert again == AlreadyHere(first.loan)


def test_item_of_another_patron_is_taken(scene):
    first = scene.ledger.ask(scene.request(scene.person("S1"), "B1"))
    assert scene.ledger.ask(scene.request(scene.person("S2"), "B1")) == TakenByOther(first.loan)


def test_same_barcode_of_two_owners_are_two_items(scene):
    patron_id = scene.person()
    ours = scene.ledger.ask(scene.request(patron_id, "B1"))
    theirs = scene.ledger.ask(scene.request(patron_id, "B1", item=scene.item("B1", WZX)))
    assert isinstance(theirs, Asked)
    assert scene.ledger.find_by_barcode("B1") == (ours.loan, theirs.loan)


def test_opened_loan_is_counted_once_however_often_it_is_recorded(scene):
    patron_id = scene.person()
    asked = scene.ledger.ask(scene.request(patron_id, "B1", clc_class="I287"))
    due = scene.clock() + timedelta(days=30)
    opened = scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=due)
    assert (opened.state, opened.due) == (LoanState.OPEN, due)
    again = scene.ledger.record_open(
        asked.loan.loan_id, scene.place(), due=due + timedelta(days=1), disputed=True
    )
    assert again == opened
    assert scene.facts() == ["checkout"]
    assert scene.events() == ["checkout"]
    assert scene.messages() == ["loan.opened"]
    assert scene.position("B1") == ("on_loan", FDX)


def test_fact_holds_a_pseudonym_and_no_person(scene):
    patron_id = scene.person()
    scene.lend(patron_id, "B1", clc_class="I287", language=LanguageClass.FOREIGN)
    (fact,) = scene.rows(
        "SELECT institution, owner, lender, stage, language, clc_class, terminal_kind, origin, pseudonym"
        " FROM circulation_fact"
    )
    pseudonym = scene.store.keyring.pseudonym(patron_id)
    assert fact == (FDX, FDX, FDX, "primary", "foreign", "I287", "selfcheck", "gateway", pseudonym)
    assert patron_id not in pseudonym


def test_s13_disputed_loan_returned_counts_no_loan(scene):
    patron_id = scene.person()
    asked = scene.ledger.ask(scene.request(patron_id, "B1"))
    scene.ledger.record_unknown(asked.loan.loan_id)
    disputed = scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=None, disputed=True)
    assert disputed.state is LoanState.DISPUTED
    (closed,) = scene.ledger.record_return(
        scene.item("B1"), scene.place(), returned_at=scene.clock()
    ).closed
    assert closed.state is LoanState.RETURNED
    assert scene.facts() == []
    assert scene.events() == ["dispute", "checkin"]


def test_disputed_loan_that_becomes_open_is_counted_then(scene):
    asked = scene.ledger.ask(scene.request(scene.person(), "B1"))
    scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=None, disputed=True)
    assert scene.facts() == []
    scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=None)
    assert scene.facts() == ["checkout"]
    assert scene.messages() == ["loan.opened"]


def test_refused_loan_frees_its_place_and_stays_refused(scene):
    patron_id = scene.person()
    asked = scene.ledger.ask(scene.request(patron_id, "B1", limit=1))
    refused = scene.ledger.record_refused(
        asked.loan.loan_id, scene.place(), reason="ils_refused", ils_code="item_on_hold"
    )
    assert refused.state is LoanState.REFUSED
    assert refused.closed_at is not None
    late = scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=None)
    assert late == refused
    assert scene.rows("SELECT reason, ils_verdict, policy_version FROM event") == [
        ("ils_refused", "item_on_hold", "v1")
    ]
    assert isinstance(scene.ledger.ask(scene.request(patron_id, "B1", limit=1)), Asked)


def test_unknown_loan_keeps_its_place(scene):
    patron_id = scene.person()
    asked = scene.ledger.ask(scene.request(patron_id, "B1", limit=1))
    assert scene.ledger.record_unknown(asked.loan.loan_id).state is LoanState.UNKNOWN
    assert isinstance(scene.ledger.ask(scene.request(patron_id, "B2", limit=1)), NoPlace)


def test_renewal_is_written_once_per_count(scene):
    loan = scene.lend(scene.person(), "B1")
    due = loan.due + timedelta(days=10)
    renewed = scene.ledger.record_renewal(loan.loan_id, scene.place(), due=due, renewals=1)
    again = scene.ledger.record_renewal(
        loan.loan_id, scene.place(), due=due + timedelta(days=5), renewals=1
    )
    assert (renewed.renewals, renewed.due) == (1, due)
    assert again == renewed
    assert scene.facts() == ["checkout", "renew"]
    assert scene.messages() == ["loan.opened", "loan.renewed"]


def test_one_renewal_at_a_time_can_be_claimed(scene):
    loan = scene.lend(scene.person(), "B1")
    until = scene.clock() + timedelta(seconds=10)
    assert not scene.ledger.ask_renewal(loan.loan_id, renewals=1, until=until)
    assert scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=until)
    assert not scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=until)
    scene.ledger.release_renewal(loan.loan_id)
    assert scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=until)
    scene.clock.advance(seconds=11)
    later = scene.clock() + timedelta(seconds=10)
    assert not scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=later), "nobody knows how"
    scene.ledger.release_renewal(loan.loan_id, until=later)
    assert not scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=later), "another claim"
    scene.ledger.release_renewal(loan.loan_id, until=until)
    assert scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=later)
    scene.ledger.record_renewal(loan.loan_id, scene.place(), due=None, renewals=1)
    assert scene.ledger.ask_renewal(
        loan.loan_id, renewals=1, until=scene.clock() + timedelta(seconds=10)
    )


def test_claims_past_their_time_are_leased_once_and_remembered(scene):
    loan = scene.lend(scene.person(), "B1")
    until = scene.clock() + timedelta(seconds=10)
    scene.ledger.ask_renewal(loan.loan_id, renewals=0, until=until)
    lease = timedelta(seconds=10)
    assert scene.ledger.lease_renewals(LIBRARY, scene.clock(), lease=lease) == ()
    scene.clock.advance(seconds=11)
    assert scene.ledger.lease_renewals(OTHER, scene.clock(), lease=lease) == ()
    (claim,) = scene.ledger.lease_renewals(LIBRARY, scene.clock(), lease=lease)
    assert (claim.loan.loan_id, claim.until) == (loan.loan_id, until)
    assert scene.ledger.lease_renewals(LIBRARY, scene.clock(), lease=lease) == ()
    first = scene.clock()
    assert scene.ledger.note_unrenewed(loan.loan_id, first).first_absent_at == first
    assert scene.ledger.note_unrenewed(loan.loan_id, scene.clock()).first_absent_at == first
    scene.ledger.forget_absent(OTHER)
    assert scene.ledger.fetch_loan(loan.loan_id).first_absent_at == first
    scene.ledger.forget_absent(LIBRARY)
    assert scene.ledger.fetch_loan(loan.loan_id).first_absent_at is None
    scene.ledger.note_unrenewed(loan.loan_id, first)
    scene.ledger.record_renewal(loan.loan_id, scene.place(), due=None, renewals=1)
    assert scene.ledger.fetch_loan(loan.loan_id).first_absent_at is None
    scene.clock.advance(seconds=11)
    assert scene.ledger.lease_renewals(LIBRARY, scene.clock(), lease=lease) == ()


def test_renewal_of_a_loan_that_is_not_open_cannot_be_claimed(scene):
    asked = scene.ledger.ask(scene.request(scene.person(), "B1"))
    until = scene.clock() + timedelta(seconds=10)
    assert not scene.ledger.ask_renewal(asked.loan.loan_id, renewals=0, until=until)
    assert not scene.ledger.ask_renewal(LoanId("none"), renewals=0, until=until)


def test_return_closes_the_loan_and_frees_the_place(scene):
    patron_id = scene.person()
    loan = scene.lend(patron_id, "B1", limit=1)
    returned_at = scene.clock()
    (closed,) = scene.ledger.record_return(
        scene.item("B1"), scene.place(), returned_at=returned_at
    ).closed
    assert (closed.loan_id, closed.state, closed.closed_at) == (
        loan.loan_id,
        LoanState.RETURNED,
        returned_at,
    )
    assert scene.ledger.list_unclosed(patron_id) == ()
    assert scene.position("B1") == ("at_owner", FDX)
    assert scene.facts() == ["checkout", "checkin"]
    assert isinstance(scene.ledger.ask(scene.request(patron_id, "B1", limit=1)), Asked)


def test_repeated_return_has_no_second_effect(scene):
    scene.lend(scene.person(), "B1")
    place, returned_at = scene.place(), scene.clock()
    scene.ledger.record_return(scene.item("B1"), place, returned_at=returned_at)
    before = (scene.events(), scene.facts(), scene.messages())
    again = scene.ledger.record_return(scene.item("B1"), place, returned_at=returned_at)
    assert again.closed == ()
    assert (scene.events(), scene.facts(), scene.messages()) == before


def test_return_elsewhere_leaves_the_item_there(scene):
    scene.lend(scene.person(), "B1")
    scene.ledger.record_return(scene.item("B1"), scene.place(WZX), returned_at=scene.clock())
    assert scene.position("B1") == ("at_holder", WZX)
    (fact,) = scene.rows(
        "SELECT institution, lender, returner FROM circulation_fact WHERE verb = 'checkin'"
    )
    assert fact == (WZX, FDX, WZX)
    assert scene.rows("SELECT destination FROM outbox WHERE topic = 'loan.returned'") == [(FDX,)]


def test_return_dated_before_the_loan_closes_nothing(scene):
    before = scene.clock()
    loan = scene.lend(scene.person(), "B1")
    scene.clock.advance(hours=1)
    answer = scene.ledger.record_return(scene.item("B1"), scene.place(), returned_at=before)
    assert answer.closed == ()
    assert scene.ledger.find_unclosed(scene.item("B1")) == loan
    assert scene.position("B1") == ("on_loan", FDX)


def test_s23_return_without_a_loan_moves_the_item_and_no_patron(scene):
    answer = scene.ledger.record_return(scene.item("B1"), scene.place(), returned_at=scene.clock())
    assert answer.closed == ()
    assert scene.events() == ["return_without_loan"]
    assert scene.rows("SELECT person_id, loan_id FROM event") == [(None, None)]
    assert scene.position("B1") == ("at_owner", FDX)


def test_item_of_somebody_unknown_to_us_has_a_position_and_counts(scene):
    scene.ledger.record_event(
        Verb.CHECKOUT, scene.place(), patron_id=None, item=scene.item("B1"), reason="passed_through"
    )
    assert scene.position("B1") == ("on_loan", FDX)
    assert scene.rows("SELECT verb, pseudonym FROM circulation_fact") == [("checkout", "")]
    scene.ledger.record_return(scene.item("B1"), scene.place(), returned_at=scene.clock())
    assert scene.events() == ["checkout", "checkin"]
    assert scene.position("B1") == ("at_owner", FDX)


def test_refusal_by_policy_moves_nothing(scene):
    patron_id = scene.person()
    scene.ledger.record_event(
        Verb.REFUSE,
        scene.place(),
        patron_id=patron_id,
        item=scene.item("B1"),
        reason="item_limit",
        policy_version="v1",
    )
    assert scene.rows("SELECT verb, person_id, reason, policy_version FROM event") == [
        ("refuse", patron_id, "item_limit", "v1")
    ]
    assert scene.position("B1") is None
    assert scene.facts() == []


def test_superseded_loan_is_closed_once(scene):
    patron_id = scene.person()
    loan = scene.lend(patron_id, "B1")
    for _ in range(2):
        scene.ledger.record_supersede(loan.loan_id, scene.place())
    assert scene.ledger.fetch_loan(loan.loan_id).state is LoanState.SUPERSEDED
    assert scene.events() == ["checkout", "supersede"]
    assert scene.ledger.list_unclosed(patron_id) == ()


def test_asked_loan_past_its_time_becomes_unknown(scene):
    patron_id = scene.person()
    scene.ledger.ask(scene.request(patron_id, "B1"))
    assert scene.ledger.expire_asked(scene.clock()) == 0
    scene.clock.advance(seconds=30)
    assert scene.ledger.expire_asked(scene.clock()) == 1
    assert scene.ledger.expire_asked(scene.clock()) == 0
    (loan,) = scene.ledger.list_unclosed(patron_id)
    assert loan.state is LoanState.UNKNOWN


def test_leased_loans_are_hidden_from_another_worker_until_the_lease_ends(scene, open_second):
    patron_id = scene.person()
    for barcode in ("B1", "B2", "B3"):
        asked = scene.ledger.ask(scene.request(patron_id, barcode))
        scene.ledger.record_unknown(asked.loan.loan_id)
    lease = timedelta(seconds=30)
    other = open_second()
    try:
        mine = scene.ledger.lease_unknown(FDX, scene.clock(), lease=lease, limit=2)
        theirs = other.ledger.lease_unknown(FDX, scene.clock(), lease=lease)
        assert [loan.item.barcode for loan in mine] == ["B1", "B2"]
        assert [loan.item.barcode for loan in theirs] == ["B3"]
        assert scene.ledger.lease_unknown(WZX, scene.clock(), lease=lease) == ()
        scene.clock.advance(seconds=31)
        assert len(other.ledger.lease_unknown(FDX, scene.clock(), lease=lease)) == 3
    finally:
        other.close()


def test_rows_that_stay_unknown_keep_no_other_waiting(scene):
    patron_id = scene.person()
    for barcode in ("B1", "B2", "B3"):
        asked = scene.ledger.ask(scene.request(patron_id, barcode))
        scene.ledger.record_unknown(asked.loan.loan_id)
    seen = []
    for _ in range(3):
        leased = scene.ledger.lease_unknown(
            FDX, scene.clock(), lease=timedelta(seconds=10), limit=1
        )
        seen += [loan.item.barcode for loan in leased]
        scene.clock.advance(seconds=15)
    assert seen == ["B1", "B2", "B3"]


def test_first_absence_is_remembered_until_it_is_forgotten(scene):
    asked = scene.ledger.ask(scene.request(scene.person(), "B1"))
    scene.ledger.record_unknown(asked.loan.loan_id)
    first = scene.clock()
    assert scene.ledger.note_absent(asked.loan.loan_id, first).first_absent_at == first
    assert scene.ledger.note_absent(asked.loan.loan_id, scene.clock()).first_absent_at == first
    scene.ledger.forget_absent(WZX)
    assert scene.ledger.fetch_loan(asked.loan.loan_id).first_absent_at == first
    scene.ledger.forget_absent(FDX)
    assert scene.ledger.fetch_loan(asked.loan.loan_id).first_absent_at is None


def test_outcome_of_a_loan_that_does_not_exist_is_not_found(scene):
    with pytest.raises(NotFound):
        scene.ledger.record_open(LoanId("none"), scene.place(), due=None)


def test_transaction_that_fails_leaves_nothing(scene):
    patron_id = scene.person()
    before = scene.store.audit.verify()

    def fail():
        with scene.store.work.begin() as unit:
            unit.audit("loan.opened", actor="kiosk1")
            unit.connection.exec_driver_sql("DELETE FROM ils_account")
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        fail()
    standing = scene.store.people.find_standing(patron_id, FDX)
    assert standing.ils_patron == IlsPatronId("S1")
    assert scene.store.audit.verify() == before
    scene.lend(patron_id, "B1")
    assert scene.store.audit.verify()[0]

"""Taking over what the ILS showed: adoption, returns, renewals, and reads that are too old."""

from __future__ import annotations

from datetime import timedelta

from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.item import LanguageClass
from connector.domain.loan import LoanOrigin, LoanState
from connector.ports.ledger import Adoption, Asked, Reconciliation, Renewed

FDX = InstitutionId("FDX")


def reconcile(scene, patron_id, *, as_of=None, **changes):
    return scene.ledger.reconcile(
        Reconciliation(patron_id, FDX, IlsPatronId("S1"), as_of or scene.clock(), **changes),
        scene.place(),
    )


def adoption(scene, barcode, **more):
    due = scene.clock() + timedelta(days=20)
    return Adoption(
        scene.item(barcode), LanguageClass.CHINESE, due, more.pop("renewals", 0), None, **more
    )


def test_s38_loan_made_at_the_desk_is_adopted_with_its_origin(scene):
    patron_id = scene.person()
    wanted = adoption(scene, "B1", renewals=1)
    (loan,) = reconcile(scene, patron_id, adopt=[wanted])
    assert (loan.state, loan.origin) == (LoanState.OPEN, LoanOrigin.DESK)
    assert (loan.due, loan.renewals) == (wanted.due, 1)
    assert scene.facts() == ["adopt"]
    assert scene.position("B1") == ("on_loan", FDX)
    assert scene.messages() == ["loan.opened"]


def test_adoption_delivered_twice_has_no_second_effect(scene):
    patron_id = scene.person()
    wanted = adoption(scene, "B1")
    as_of = scene.clock()
    first = reconcile(scene, patron_id, as_of=as_of, adopt=[wanted])
    assert reconcile(scene, patron_id, as_of=as_of, adopt=[wanted]) == first
    assert reconcile(scene, patron_id, adopt=[wanted]) == first
    assert scene.facts() == ["adopt"]


def test_adopted_loans_take_places_even_above_the_limit(scene):
    patron_id = scene.person()
    reconcile(scene, patron_id, adopt=[adoption(scene, f"B{n}") for n in range(9)])
    assert len(scene.ledger.list_unclosed(patron_id)) == 9
    assert not isinstance(scene.ledger.ask(scene.request(patron_id, "C1")), Asked)


def test_loan_closed_after_the_read_began_is_not_adopted_again(scene):
    patron_id = scene.person()
    scene.lend(patron_id, "B1")
    as_of = scene.clock()
    scene.ledger.record_return(scene.item("B1"), scene.place(), returned_at=scene.clock())
    assert reconcile(scene, patron_id, as_of=as_of, adopt=[adoption(scene, "B1")]) == ()
    assert len(reconcile(scene, patron_id, adopt=[adoption(scene, "B1")])) == 1


def test_read_is_older_than_a_return_that_is_dated_back(scene):
    patron_id = scene.person()
    scene.lend(patron_id, "B1")
    returned_at = scene.clock()
    scene.clock.advance(hours=8)
    as_of = scene.clock()
    scene.ledger.record_return(scene.item("B1"), scene.place(), returned_at=returned_at)
    assert reconcile(scene, patron_id, as_of=as_of, adopt=[adoption(scene, "B1")]) == ()


def test_loan_asked_after_the_read_began_is_not_closed(scene):
    patron_id = scene.person()
    as_of = scene.clock()
    loan = scene.lend(patron_id, "B1")
    assert reconcile(scene, patron_id, as_of=as_of, returned=[loan.loan_id]) == (loan,)
    assert reconcile(scene, patron_id, returned=[loan.loan_id]) == ()


def test_loan_opened_while_the_read_ran_is_not_closed(scene):
    patron_id = scene.person()
    asked = scene.ledger.ask(scene.request(patron_id, "B1"))
    as_of = scene.clock()
    loan = scene.ledger.record_open(asked.loan.loan_id, scene.place(), due=None)
    assert reconcile(scene, patron_id, as_of=as_of, returned=[loan.loan_id]) == (loan,)


def test_loan_gone_from_the_ils_is_closed_and_counted(scene):
    patron_id = scene.person()
    loan = scene.lend(patron_id, "B1")
    assert reconcile(scene, patron_id, returned=[loan.loan_id]) == ()
    assert scene.ledger.fetch_loan(loan.loan_id).state is LoanState.RETURNED
    assert scene.facts() == ["checkout", "close"]
    assert scene.position("B1") == ("at_owner", FDX)


def test_item_adopted_by_another_patron_supersedes_the_stale_loan(scene):
    first, second = scene.person("S1"), scene.person("S2")
    stale = scene.lend(first, "B1")
    (loan,) = reconcile(scene, second, adopt=[adoption(scene, "B1")])
    assert loan.patron_id == second
    assert scene.ledger.fetch_loan(stale.loan_id).state is LoanState.SUPERSEDED
    assert scene.ledger.list_unclosed(first) == ()


def test_old_read_does_not_supersede_a_newer_loan(scene):
    first, second = scene.person("S1"), scene.person("S2")
    as_of = scene.clock()
    newer = scene.lend(first, "B1")
    assert reconcile(scene, second, as_of=as_of, adopt=[adoption(scene, "B1")]) == ()
    assert scene.ledger.list_unclosed(first) == (newer,)


def test_item_that_is_being_lent_is_not_adopted_by_another(scene):
    first, second = scene.person("S1"), scene.person("S2")
    asked = scene.ledger.ask(scene.request(first, "B1"))
    assert reconcile(scene, second, adopt=[adoption(scene, "B1")]) == ()
    assert scene.ledger.list_unclosed(first) == (asked.loan,)


def test_adopted_loan_of_unknown_beginning_is_closed_by_a_return_dated_back(scene):
    patron_id = scene.person()
    last_closing_time = scene.clock()
    scene.clock.advance(hours=10)
    reconcile(scene, patron_id, adopt=[adoption(scene, "B1")])
    answer = scene.ledger.record_return(
        scene.item("B1"), scene.place(), returned_at=last_closing_time
    )
    assert len(answer.closed) == 1
    assert scene.position("B1") == ("at_owner", FDX)


def test_s20_renewal_made_in_the_opac_is_counted_once(scene):
    patron_id = scene.person()
    loan = scene.lend(patron_id, "B1")
    later = loan.due + timedelta(days=12)
    seen = [Renewed(loan.loan_id, later, 1)]
    (renewed,) = reconcile(scene, patron_id, renewed=seen)
    assert (renewed.renewals, renewed.due) == (1, later)
    assert reconcile(scene, patron_id, renewed=seen) == (renewed,)
    assert scene.facts() == ["checkout", "renew"]


def test_due_date_moved_by_staff_is_followed_without_a_renewal(scene):
    patron_id = scene.person()
    loan = scene.lend(patron_id, "B1")
    later = loan.due + timedelta(days=3)
    (moved,) = reconcile(scene, patron_id, renewed=[Renewed(loan.loan_id, later, 0)])
    assert (moved.renewals, moved.due) == (0, later)
    assert scene.facts() == ["checkout"]


def test_loans_of_another_patron_or_lender_are_left_alone(scene):
    first, second = scene.person("S1"), scene.person("S2")
    theirs = scene.lend(first, "B1")
    elsewhere = scene.lend(second, "B2", lender=InstitutionId("WZX"))
    after = reconcile(scene, second, returned=[theirs.loan_id, elsewhere.loan_id])
    assert after == (elsewhere,)
    assert scene.ledger.list_unclosed(first) == (theirs,)

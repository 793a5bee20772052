"""Older reader cards and the student card, seen by real SIP2 sessions (scenarios 8 and 40)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connector.domain.closing import ClosingReason
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import ConfigurationError, NotFound, StorageConflict
from connector.ports.enrolment import Application
from connector.ports.exchange import ExchangeState
from connector.ports.ils import BlockReason, Capability
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.services.provisioning import ActivationOutcome
from tests.support.open_cards import enter_again, id_number, seed_approved
from tests.support.world import World

A, B, C = InstitutionId("KOHA-A"), InstitutionId("FOLIO-B"), InstitutionId("SIP-C")
CHILD = "张小江"
ID_NUMBER = id_number(2)
SCOPE = ConsentScope.CARD
OLD = IlsPatronId("88001")


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[World]:
    made = World(tmp_path, store_url)
    made.add_items("KOHA-A", *(f"A{n}" for n in range(1, 13)))
    made.add_items("FOLIO-B", *(f"B{n}" for n in range(1, 6)))
    made.add_items("SIP-C", *(f"C{n}" for n in range(1, 6)))
    yield made
    made.close()


@pytest.fixture
def application(world: World) -> Application:
    (found,) = seed_approved(world.app.store, A, 1, now=world.clock())
    return found


def stored(world: World, application: Application) -> Application:
    found = world.app.store.enrolment.fetch_application(application.application_id)
    assert found is not None
    return found


def open_card(world: World, application: Application) -> tuple[ActivationOutcome, str]:
    (result,) = world.app.provisioning(A).activate([application], actor="librarian")
    return result.outcome, result.card


def ok(message) -> str:  # type: ignore[no-untyped-def]
    return str(message.fixed["ok"])


def borrow(world: World, kiosk, card: str, count: int) -> list[str]:  # type: ignore[no-untyped-def]
    """Try so many items of KOHA-A; return what each answer was."""
    return [ok(kiosk.checkout(card, f"A{n}")) for n in range(1, count + 1)]


# --- the library's own account becomes the student card


def desk_account(world: World, number: str = "OLD1", name: str = CHILD) -> None:
    ils = world.ils("KOHA-A")
    ils.new_patron(
        number, name=name, pin="4711", category="adult", identifiers={"id_card": ID_NUMBER}
    )
    ils.new_item("D1")
    ils.new_item("D2")
    ils.desk_checkout(number, "D1")
    ils.desk_checkout(number, "D2")


def test_s40_an_account_of_last_year_becomes_the_student_card(
    world: World, application: Application
) -> None:
    desk_account(world)
    before = world.ils("KOHA-A").count_calls("upsert_patron")
    assert open_card(world, application) == (ActivationOutcome.EXISTING_CARD, "")
    assert world.ils("KOHA-A").count_calls("upsert_patron") == before
    assert world.ils("KOHA-A").stock.patrons[IlsPatronId("OLD1")].external_id == ""
    (task,) = world.app.store.tasks.list_tasks(A, kind=TaskKind.EXISTING_CARD)

    waiting = stored(world, application)
    found = world.app.exchanges.find_own(waiting)
    assert (found.account, found.is_same_name) == ("OLD1", True)
    result = world.app.exchanges.adopt(waiting, actor="librarian")
    assert (result.loans, result.by_hand) == (2, False)
    assert stored(world, application).state is ApplicationState.ACTIVE
    done = world.app.store.tasks.find_task(task.task_id)
    assert done is not None
    assert done.outcome == "exchanged"

    (account,) = world.ils("KOHA-A").stock.patrons.values()
    assert (account.card, account.name, account.pin) == ("OLD1", CHILD, "4711")
    assert (account.external_id, account.category) == (application.patron_id, "student")
    kiosk = world.kiosk()
    for scanned in ("OLD1", ID_NUMBER):
        assert kiosk.charged(scanned) == ["D1", "D2"]
    assert borrow(world, kiosk, "OLD1", 7) == ["1"] * 6 + ["0"]
    again = open_card(world, stored(world, application))
    assert again == (ActivationOutcome.ALREADY_ACTIVE, "OLD1")
    assert len(world.ils("KOHA-A").stock.patrons) == 1


def test_s40_an_exchange_that_broke_off_is_repeated(
    world: World, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk_account(world)
    open_card(world, application)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(world.app.store.exchanges, "save_adoption", killed)
        with pytest.raises(KeyboardInterrupt):
            world.app.exchanges.adopt(stored(world, application), actor="librarian")
    assert stored(world, application).state is ApplicationState.EXISTING_CARD
    assert open_card(world, application) == (ActivationOutcome.EXISTING_CARD, "")
    assert world.ils("KOHA-A").stock.patrons[IlsPatronId("OLD1")].pin == "4711"
    world.app.exchanges.adopt(stored(world, application), actor="librarian")
    assert stored(world, application).card == "OLD1"
    with pytest.raises(ConfigurationError, match="does not wait"):
        world.app.exchanges.adopt(stored(world, application), actor="librarian")
    assert len(world.rows("exchange")) == 1


def test_s40_the_name_and_the_consent_are_looked_at(world: World, application: Application) -> None:
    desk_account(world, name="李大江")
    open_card(world, application)
    with pytest.raises(ConfigurationError, match="another name"):
        world.app.exchanges.adopt(stored(world, application), actor="librarian")
    world.app.consents.withdraw([stored(world, application)], SCOPE, actor="librarian")
    with pytest.raises(ConfigurationError):
        world.app.exchanges.adopt(
            stored(world, application), actor="librarian", is_name_checked=True
        )
    assert world.ils("KOHA-A").stock.patrons[IlsPatronId("OLD1")].external_id == ""


def test_s40_where_the_ils_cannot_be_told_the_staff_set_the_category(
    world: World, application: Application
) -> None:
    ils = world.ils("KOHA-A")
    desk_account(world)
    ils.capabilities = frozenset(Capability) - {Capability.ADOPT_PATRON}
    open_card(world, application)
    result = world.app.exchanges.adopt(stored(world, application), actor="x", deposit_held=True)
    assert result.by_hand
    assert ils.stock.patrons[IlsPatronId("OLD1")].category == "adult"
    assert world.kiosk().charged("OLD1") == ["D1", "D2"]
    assert len(world.app.store.tasks.list_tasks(A, kind=TaskKind.DEPOSIT_REFUND)) == 1


# --- another library's account gives way


def old_card(world: World, code: str = "FOLIO-B", number: str = "88001", name: str = CHILD) -> None:
    ils = world.ils(code)
    ils.new_patron(number, name=name, category="adult")
    ils.desk_checkout(number, f"{code[-1]}1")
    ils.desk_checkout(number, f"{code[-1]}2")


def replace(world: World, application: Application, **more: object):  # type: ignore[no-untyped-def]
    more.setdefault("deposit_held", True)
    return world.app.exchanges.replace(
        stored(world, application), "88001", B, actor="librarian", **more
    )


def test_s08_an_old_card_with_a_deposit_gives_way(world: World, application: Application) -> None:
    old_card(world)
    outcome, card = open_card(world, application)
    assert outcome is ActivationOutcome.ACTIVATED
    result = replace(world, application)
    assert (result.loans, result.exchange.state) == (2, ExchangeState.READ_ONLY)
    assert replace(world, application).exchange.exchange_id == result.exchange.exchange_id

    (task,) = world.app.store.tasks.list_tasks(B, kind=TaskKind.DEPOSIT_REFUND)
    assert task.patron_id == application.patron_id
    assert not world.app.store.tasks.list_tasks(A, kind=TaskKind.DEPOSIT_REFUND)

    here, there = world.kiosk(), world.kiosk("FOLIO-B")
    assert borrow(world, here, card, 7) == ["1"] * 6 + ["0"], "two are out on the old card"
    refused = there.checkout("88001", "B3")
    assert ok(refused) == "0"
    assert "B3" not in world.ils("FOLIO-B").stock.loans
    shown = there.information("88001")
    assert {"B1", "B2"} <= set(shown.get_all("AU"))
    assert shown.fixed["patron_status"][0] == "Y"
    assert BlockReason.CARD_EXCHANGED in world.ils("FOLIO-B").stock.patrons[OLD].blocks

    assert world.app.older_cards.sweep(B).waiting == 1
    assert ok(there.checkin("B1")) == "1"
    assert ok(there.checkin("B2")) == "1"
    assert borrow_more(here, card) == ["1", "1", "0"]
    report = world.app.older_cards.sweep(B)
    assert (report.due, report.closed) == (1, 1)
    assert world.ils("FOLIO-B").stock.patrons[OLD].closed
    assert world.app.older_cards.sweep(B).due == 0
    assert ok(there.checkout("88001", "B3")) == "0"
    assert not world.app.store.people.find_standing(application.patron_id, B).ils_patron
    assert world.app.store.tasks.list_tasks(B, kind=TaskKind.DEPOSIT_REFUND), "still to be refunded"
    assert len(world.ils("KOHA-A").stock.patrons) == 1


def borrow_more(kiosk, card: str) -> list[str]:  # type: ignore[no-untyped-def]
    return [ok(kiosk.checkout(card, f"A{n}")) for n in (10, 11, 12)]


def test_s08_one_person_behind_both_numbers(world: World, application: Application) -> None:
    old_card(world)
    _, card = open_card(world, application)
    replace(world, application)
    people = world.app.store.people
    for number in ("88001", card):
        standing = people.resolve([Identifier("card", number), Identifier("old_card", number)], A)
        assert standing is not None
        assert standing.patron_id == application.patron_id
        assert standing.state is StandingState.ACTIVE


def test_s08_a_return_at_the_issuers_desk_is_noticed(
    world: World, application: Application
) -> None:
    old_card(world)
    open_card(world, application)
    replace(world, application)
    assert world.app.older_cards.sweep(B).waiting == 1
    world.clock.advance(minutes=1)
    world.ils("FOLIO-B").desk_checkin("B1")
    world.ils("FOLIO-B").desk_checkin("B2")
    assert world.app.older_cards.sweep(B).waiting == 1, "the ILS is not read every 15 seconds"
    world.clock.advance(hours=1)
    assert world.app.older_cards.sweep(B).closed == 1


def test_s08_while_the_issuer_is_away(world: World, application: Application) -> None:
    old_card(world)
    open_card(world, application)
    found = world.app.exchanges.find_elsewhere(stored(world, application), "88001", B)
    assert found is not None
    ils = world.ils("FOLIO-B")
    fetch = ils.fetch_patron

    def answers_once(number, pin=None):  # type: ignore[no-untyped-def]
        facts = fetch(number, pin)
        ils.set_down()
        return facts

    ils.fetch_patron = answers_once  # type: ignore[method-assign]
    result = replace(world, application)
    ils.fetch_patron = fetch  # type: ignore[method-assign]
    assert (result.waits_for_ils, result.exchange.state) == (True, ExchangeState.BEGUN)
    assert world.app.older_cards.sweep(B).failed == 1
    ils.set_down(down=False)
    assert ok(world.kiosk("FOLIO-B").checkout("88001", "B3")) == "0", "refused by ourselves"
    assert world.app.older_cards.sweep(B).waiting == 1
    assert BlockReason.CARD_EXCHANGED in ils.stock.patrons[OLD].blocks


def test_s08_an_issuer_that_only_counts_loans(world: World, application: Application) -> None:
    old_card(world, "SIP-C")
    _, card = open_card(world, application)
    result = world.app.exchanges.replace(stored(world, application), "88001", C, actor="librarian")
    assert result.loans == 2
    assert world.app.older_cards.sweep(C).waiting == 1
    there = world.kiosk("SIP-C")
    assert ok(there.checkout("88001", "C3")) == "0"
    there.checkin("C1")
    there.checkin("C2")
    assert world.app.older_cards.sweep(C).waiting == 1, "the ILS is not read every 15 seconds"
    world.clock.advance(hours=1)
    assert world.app.older_cards.sweep(C).closed == 1
    (task,) = world.app.store.tasks.list_tasks(C, kind=TaskKind.CLOSING_STUCK)
    assert task.detail["reason"] == "ils_cannot"
    assert ok(world.kiosk().checkout(card, "A1")) == "1"


def test_s08_an_issuer_that_is_not_ours(world: World, application: Application) -> None:
    open_card(world, application)
    result = world.app.exchanges.replace(
        stored(world, application), "YZ-9", InstitutionId("渝中区图书馆"), actor="librarian"
    )
    assert result.exchange.state is ExchangeState.ELSEWHERE
    (task,) = world.app.store.tasks.list_tasks(A, kind=TaskKind.DEPOSIT_REFUND)
    assert task.detail["exchange"] == result.exchange.exchange_id


def test_s08_a_deposit_that_was_forgotten_at_first(world: World, application: Application) -> None:
    old_card(world)
    open_card(world, application)
    tasks = world.app.store.tasks
    assert not replace(world, application, deposit_held=False).exchange.deposit_held
    assert not tasks.list_tasks(B, kind=TaskKind.DEPOSIT_REFUND)
    assert replace(world, application).exchange.deposit_held
    replace(world, application)
    assert len(tasks.list_tasks(B, kind=TaskKind.DEPOSIT_REFUND)) == 1
    assert len(world.rows("exchange")) == 1


def test_s08_an_account_that_another_pupil_of_ours_has(
    world: World, application: Application
) -> None:
    old_card(world)
    open_card(world, application)
    people = world.app.store.people
    other = world.add_pupil("S-77", at=("KOHA-A",))
    people.set_account(other, B, OLD, kind="visiting")
    with pytest.raises(StorageConflict, match="identifier_taken"):
        replace(world, application)
    assert not world.rows("exchange")


def test_s08_an_identity_number_of_another_pupil_is_no_older_card(
    world: World, application: Application
) -> None:
    open_card(world, application)
    theirs = "500230201503010082"
    person = PersonalData(name="李四四", id_number=theirs)
    world.app.store.people.add_person(
        person, [Identifier("id_card", theirs)], home=A, category="student"
    )
    with pytest.raises(StorageConflict, match="identifier_taken"):
        world.app.exchanges.replace(
            stored(world, application), theirs, InstitutionId("别的图书馆"), actor="x"
        )
    assert not world.rows("exchange")


def test_s08_what_is_refused(world: World, application: Application) -> None:
    old_card(world, name="李大江")
    with pytest.raises(ConfigurationError, match="not open yet"):
        replace(world, application)
    open_card(world, application)
    with pytest.raises(ConfigurationError, match="another name"):
        replace(world, application)
    with pytest.raises(NotFound):
        world.app.exchanges.replace(stored(world, application), "NOBODY", B, actor="x")
    with pytest.raises(ConfigurationError, match="this library's own"):
        world.app.exchanges.replace(stored(world, application), "88001", A, actor="x")
    other = world.add_pupil("88001", at=("KOHA-A",))
    assert other != application.patron_id
    with pytest.raises(StorageConflict, match="identifier_taken"):
        replace(world, application, is_name_checked=True)
    assert not world.rows("exchange")
    standing = world.app.store.people.find_standing(PatronId(application.patron_id), B)
    assert standing is not None
    assert standing.ils_patron is None


def test_s08_who_moves_to_the_issuer_gets_his_old_account_as_student_card(
    world: World, application: Application
) -> None:
    """The older card gave way, and then its library becomes the child's own."""
    old_card(world)
    open_card(world, application)
    replace(world, application)
    world.app.closing.begin(application.patron_id, ClosingReason.LEFT, actor="librarian")
    moved = enter_again(world.app.store, application.patron_id, B, now=world.clock())
    (result,) = world.app.provisioning(B).activate([moved], actor="librarian")
    assert result.outcome is ActivationOutcome.EXISTING_CARD
    done = world.app.exchanges.adopt(stored(world, moved), actor="librarian")
    assert done.exchange.old_account == "88001"
    account = world.ils("FOLIO-B").stock.patrons[OLD]
    assert (account.external_id, account.blocks) == (application.patron_id, set())
    assert world.app.older_cards.sweep(B).due == 0
    there = world.kiosk("FOLIO-B")
    assert ok(there.checkout("88001", "B3")) == "1"
    assert there.charged("88001") == ["B1", "B2", "B3"]
    assert len(world.ils("FOLIO-B").stock.patrons) == 1

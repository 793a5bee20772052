"""Opening cards in an ILS: consent first, one account each, attempts that break off (decision 21)."""

from dataclasses import replace
from datetime import date

import pytest

from connector.domain.card import CardRange
from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.ids import Identifier
from connector.domain.patron import StandingState
from connector.domain.school import SchoolSystem
from connector.errors import ConfigurationError, UnexpectedResponse
from connector.ports.ils import Capability
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.services.provisioning import ActivationOutcome
from connector.testing.fake_ils import SIP2_ONLY, Fault, FaultKind
from connector.testing.faults import Script

S = ApplicationState
O = ActivationOutcome  # noqa: E741


def results(activations):
    return [activation.outcome for activation in activations]


def test_a_card_is_opened(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    (result,) = world.activate([application])
    assert result.outcome is O.ACTIVATED
    assert CardRange("FD", 1, 9999).is_number(result.card)
    assert len(result.pin) == 6
    assert result.pin not in repr(result)
    account = world.ils.stock.patrons[result.card]
    assert (account.name, account.category, account.pin) == ("戴二二", "student", result.pin)
    assert account.external_id == application.patron_id
    assert account.identifiers == {"id_card": helpers.id_number(1)}
    assert account.expires.isoformat() == "2032-09-10"
    assert world.state_of(application) is S.ACTIVE
    for identifier in (
        Identifier("card", result.card),
        Identifier("id_card", helpers.id_number(1)),
    ):
        standing = world.store.people.resolve([identifier], world.library)
        assert (standing.state, standing.ils_patron) == (StandingState.ACTIVE, result.card)


def test_pins_are_random_and_not_taken_from_the_number(world, helpers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 9)])
    pins = {result.pin for result in world.activate(applications)}
    assert len(pins) > 5
    assert not any(pin in helpers.id_number(n) for pin in pins for n in range(1, 9))


def test_nobody_reaches_the_ils_without_consent(world, helpers):
    """Scenario 5: missing, for another scope, withdrawn, refused, for another child."""
    applications = world.approved([helpers.pupil(n) for n in range(1, 4)], consent=False)
    world.consent(applications[1:2], ConsentScope.ONLINE)
    world.consent(applications[2:])
    world.store.enrolment.withdraw_consent(
        applications[2].patron_id, ConsentScope.CARD, actor="x", now=world.time[0]
    )
    assert results(world.activate(applications)) == [O.NO_CONSENT] * 3
    assert not world.ils.calls
    assert {world.state_of(a) for a in applications} == {S.LIBRARY_APPROVED}
    assert all(
        not world.store.enrolment.fetch_application(a.application_id).card for a in applications
    )
    world.consent(applications[:1])
    assert results(world.activate(applications)) == [O.ACTIVATED, O.NO_CONSENT, O.NO_CONSENT]
    assert len(world.ils.stock.patrons) == 1


def test_nobody_reaches_the_ils_without_approval(world, helpers):
    report = world.load([helpers.pupil(1), helpers.pupil(2)])
    applications = world.applications(report)
    world.consent(applications)
    world.enrolment.review(applications[:1], actor="teacher")
    assert results(world.activate(world.applications(report))) == [O.NOT_APPROVED] * 2
    assert not world.ils.calls


def test_consent_is_asked_again_before_every_retry(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.ils.fail("upsert_patron", Fault(FaultKind.NOT_SENT))

    def withdraw_meanwhile(seconds):
        world.store.enrolment.withdraw_consent(
            application.patron_id, ConsentScope.CARD, actor="x", now=world.time[0]
        )

    world.provisioning = replace(world.provisioning, sleep=withdraw_meanwhile)
    assert results(world.activate([application])) == [O.NO_CONSENT]
    assert world.ils.count_calls("upsert_patron") == 1
    assert world.state_of(application) is S.LIBRARY_APPROVED
    asked = len(world.ils.calls)
    assert results(world.activate([application])) == [O.NO_CONSENT]
    assert len(world.ils.calls) == asked


def test_an_account_made_without_an_answer_is_found_again(world, helpers):
    """Scenario 29: the account was made although no answer came; it is ours by the external id."""
    (application,) = world.approved([helpers.pupil(1)])
    world.ils.fail("upsert_patron", Fault(FaultKind.DONE_NO_ANSWER))
    (done,) = world.activate([application])
    assert (done.outcome, done.is_pin_new) == (O.ACTIVATED, False)
    assert list(world.ils.stock.patrons) == [done.card]
    assert world.ils.stock.patrons[done.card].pin == done.pin
    assert world.ils.count_calls("upsert_patron") == 1


def test_an_attempt_that_broke_off_is_taken_up_again(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.ils.fail("upsert_patron", Fault(FaultKind.DONE_NO_ANSWER))
    world.ils.fail("find_patron", Fault(), Fault(), *[Fault(FaultKind.NO_ANSWER)] * 9)
    (failed,) = world.activate([application])
    assert (failed.outcome, failed.error) == (O.FAILED, "outcome_unknown")
    assert world.state_of(application) is S.ACTIVATING
    assert len(world.ils.stock.patrons) == 1
    world.ils.script = Script()
    (waits,) = world.activate([application])
    assert (waits.outcome, waits.error) == (O.NOT_TRIED, "in_progress")
    world.pass_time(minutes=3)
    (done,) = world.activate([application])
    assert (done.outcome, done.is_pin_new) == (O.ACTIVATED, True)
    assert list(world.ils.stock.patrons) == [done.card]
    assert world.ils.stock.patrons[done.card].pin == done.pin
    stored = world.store.enrolment.fetch_application(application.application_id)
    assert (stored.attempts, stored.error) == (2, "")


def test_an_account_that_appears_late_is_ours(world, helpers):
    """The create lands after we asked; the repeat hears that the number is taken, by ourselves."""
    (application,) = world.approved([helpers.pupil(1)])
    world.ils.fail("upsert_patron", Fault(FaultKind.DONE_LATER_NO_ANSWER))
    save = world.ils._save

    def land_in_between(given):
        world.ils._save = save
        world.ils.land()
        raise UnexpectedResponse("fake", "FD", "duplicate_card")

    world.provisioning = replace(
        world.provisioning, sleep=lambda s: setattr(world.ils, "_save", land_in_between)
    )
    (done,) = world.activate([application])
    assert (done.outcome, done.card) == (O.ACTIVATED, CardRange("FD", 1, 9999).number_of(1))
    assert world.ils.count_calls("upsert_patron") == 3
    assert [done.card] == list(world.ils.stock.patrons)
    assert world.ils.stock.patrons[done.card].pin == done.pin


def test_one_bad_row_does_not_stop_the_others(world, helpers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 4)])
    world.ils.fail("upsert_patron", Fault(), Fault(FaultKind.UNEXPECTED))
    assert results(world.activate(applications)) == [O.ACTIVATED, O.FAILED, O.ACTIVATED]
    assert results(world.activate(applications)) == [
        O.ALREADY_ACTIVE,
        O.ACTIVATED,
        O.ALREADY_ACTIVE,
    ]
    assert len(world.ils.stock.patrons) == 3


def test_an_ils_that_is_away_is_left_alone(world, helpers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 7)])
    world.ils.set_down()
    outcome = results(world.activate(applications))
    assert outcome == [O.FAILED] * 3 + [O.NOT_TRIED] * 3
    world.ils.set_down(down=False)
    assert results(world.activate(applications)) == [O.ACTIVATED] * 6


def test_refused_credentials_stop_the_run(world, helpers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 4)])
    world.ils.fail("find_patron", Fault(FaultKind.AUTH_FAILED))
    activations = world.activate(applications)
    assert results(activations) == [O.FAILED, O.NOT_TRIED, O.NOT_TRIED]
    assert activations[0].error == "ils_credentials"


def test_an_account_that_is_there_is_not_touched(world, helpers):
    """Scenario 40."""
    world.ils.new_patron(
        "OLD1", name="戴二二", identifiers={"id_card": helpers.id_number(1)}, pin="old"
    )
    (application,) = world.approved([helpers.pupil(1)])
    assert results(world.activate([application])) == [O.EXISTING_CARD]
    assert world.state_of(application) is S.EXISTING_CARD
    assert list(world.ils.stock.patrons) == ["OLD1"]
    assert world.ils.stock.patrons["OLD1"].pin == "old"
    assert world.ils.count_calls("upsert_patron") == 0
    assert results(world.activate([application])) == [O.EXISTING_CARD]
    assert len(world.store.tasks.list_tasks(world.library)) == 1


def test_without_find_an_account_is_looked_for_by_the_number(world, helpers):
    world.ils.capabilities = SIP2_ONLY | {Capability.UPSERT_PATRON}
    world.ils.new_patron("OLD1", identifiers={"id_card": helpers.id_number(1)})
    world.ils.stock.patrons[helpers.id_number(1)] = world.ils.stock.patrons["OLD1"]
    first, second = world.approved([helpers.pupil(1), helpers.pupil(2)])
    assert results(world.activate([first, second])) == [O.EXISTING_CARD, O.ACTIVATED]


def test_an_ils_that_cannot_open_accounts(world, helpers):
    world.ils.capabilities = SIP2_ONLY
    (result,) = world.activate(world.approved([helpers.pupil(1)]))
    assert (result.outcome, result.error) == (O.FAILED, "ils_cannot")


def test_a_card_number_that_the_ils_has_already(world, helpers):
    """A number of our range that somebody typed at the desk: the next one is taken."""
    world.ils.new_patron(CardRange("FD", 1, 9999).number_of(1))
    (application,) = world.approved([helpers.pupil(1)])
    (result,) = world.activate([application])
    assert result.outcome is O.ACTIVATED
    assert result.card == CardRange("FD", 1, 9999).number_of(2)


def test_numbers_are_never_given_out_twice(world, helpers):
    (first,) = world.approved([helpers.pupil(1)])
    (opened,) = world.activate([first])
    with world.store.work.begin() as unit:
        unit.connection.exec_driver_sql("DELETE FROM application")
    (second,) = world.activate(world.approved([helpers.pupil(2)]))
    assert second.card != opened.card


def test_a_range_that_is_used_up_says_so(world, helpers):
    world.provisioning = replace(
        world.provisioning, rules=replace(world.provisioning.rules, cards=CardRange("FD", 7, 7))
    )
    first, second = world.approved([helpers.pupil(1), helpers.pupil(2)])
    assert results(world.activate([first])) == [O.ACTIVATED]
    with pytest.raises(ConfigurationError, match="used up"):
        world.activate([second])
    assert world.state_of(second) is S.LIBRARY_APPROVED


def test_a_new_range_begins_at_its_first_number(world, helpers):
    first, second = world.approved([helpers.pupil(1), helpers.pupil(2)])
    world.activate([first])
    later = CardRange("FD", 500, 9999)
    world.provisioning = replace(
        world.provisioning, rules=replace(world.provisioning.rules, cards=later)
    )
    assert world.activate([second])[0].card == later.number_of(500)


def test_a_withdrawal_while_the_account_is_being_made(world, helpers):
    """The account is made, but dead: blocked in the ILS, withdrawn in our register."""
    (application,) = world.approved([helpers.pupil(1)])
    create = world.ils.upsert_patron

    def withdraw_meanwhile(patron):
        made = create(patron)
        current = world.store.enrolment.fetch_application(application.application_id)
        world.consents.withdraw([current], ConsentScope.CARD, actor="librarian")
        return made

    world.ils.upsert_patron = withdraw_meanwhile
    (result,) = world.activate([application])
    assert (result.outcome, result.pin) == (O.NO_CONSENT, "")
    (account,) = world.ils.stock.patrons.values()
    assert account.blocks
    standing = world.store.people.find_standing(application.patron_id, world.library)
    assert standing.state is StandingState.WITHDRAWN


def test_the_last_step_is_repeated_when_it_was_missed(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    world.store.people.set_state(application.patron_id, StandingState.INACTIVE)
    assert results(world.activate([application])) == [O.ALREADY_ACTIVE]
    standing = world.store.people.find_standing(application.patron_id, world.library)
    assert standing.state is StandingState.ACTIVE


def test_numbers_stay_with_us_where_configured(world, helpers):
    world.provisioning = replace(
        world.provisioning, rules=replace(world.provisioning.rules, numbers_for_ils=frozenset())
    )
    (result,) = world.activate(world.approved([helpers.pupil(1)]))
    assert world.ils.stock.patrons[result.card].identifiers == {}


def test_someone_who_is_gone_is_passed_over(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.consents.withdraw([application], ConsentScope.CARD, actor="librarian")
    assert results(world.activate([application])) == [O.GONE]
    assert not world.ils.calls


def test_progress_is_told(world, helpers):
    seen = []
    applications = world.approved([helpers.pupil(1), helpers.pupil(2)])
    world.provisioning.activate(
        applications, actor="librarian", on_progress=lambda done, rows: seen.append((done, rows))
    )
    assert seen == [(1, 2), (2, 2)]


def test_a_card_ends_on_the_day_before_a_missing_one(world):
    world.pass_time(days=0)
    rules = world.provisioning.rules
    leap = world.time[0].replace(year=2028, month=2, day=29)
    assert rules.expiry(leap).isoformat() == "2034-02-28"
    assert replace(rules, valid_years=None).expiry(leap) is None


def test_two_attempts_at_once_do_not_set_two_pins(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    create, second = world.ils.upsert_patron, []

    def colleague_presses_too(patron):
        world.ils.upsert_patron = create
        second.extend(world.activate([application]))
        return create(patron)

    world.ils.upsert_patron = colleague_presses_too
    (first,) = world.activate([application])
    assert [(r.outcome, r.error, r.pin) for r in second] == [(O.NOT_TRIED, "in_progress", "")]
    assert world.ils.stock.patrons[first.card].pin == first.pin


def test_an_attempt_that_was_killed_can_be_repeated_after_a_while(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])

    class Killed(BaseException):
        pass

    def kill(patron):
        raise Killed

    create, world.ils.upsert_patron = world.ils.upsert_patron, kill
    with pytest.raises(Killed):
        world.activate([application])
    world.ils.upsert_patron = create
    assert results(world.activate([application])) == [O.NOT_TRIED]
    world.pass_time(minutes=3)
    assert results(world.activate([application])) == [O.ACTIVATED]


def test_a_pin_that_nobody_can_confirm_is_not_given_out(world, helpers):
    """The account was there from an attempt without answer, and the ILS cannot check PINs."""
    (application,) = world.approved([helpers.pupil(1)])
    world.ils.capabilities = frozenset(Capability) - {Capability.VERIFY_PIN}
    world.ils.fail("upsert_patron", Fault(FaultKind.DONE_NO_ANSWER))
    (result,) = world.activate([application])
    assert (result.outcome, result.pin) == (O.ACTIVATED, "")


def test_a_pin_whose_check_fails_is_not_given_out(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.ils.fail("upsert_patron", Fault(FaultKind.DONE_NO_ANSWER))
    world.ils.fail("verify_pin", *[Fault(FaultKind.NOT_SENT)] * 8)
    (result,) = world.activate([application])
    assert (result.outcome, result.pin) == (O.ACTIVATED, "")


def test_consent_that_ends_between_the_last_two_steps(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    finish = world.store.enrolment.finish_activation

    def withdraw_first(application_id, **more):
        world.store.enrolment.withdraw_consent(
            application.patron_id, ConsentScope.CARD, actor="x", now=world.time[0]
        )
        return finish(application_id, **more)

    world.store.enrolment.finish_activation = withdraw_first
    assert results(world.activate([application])) == [O.NO_CONSENT]
    standing = world.store.people.find_standing(application.patron_id, world.library)
    assert standing.state is StandingState.WITHDRAWN
    (account,) = world.ils.stock.patrons.values()
    assert account.blocks


def test_a_number_that_another_person_has_is_left_out(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.store.people.add_person(
        PersonalData("巴八八"),
        [Identifier("card", CardRange("FD", 1, 9999).number_of(1))],
        home=world.library,
        category="adult",
    )
    (result,) = world.activate([application])
    assert (result.outcome, result.card) == (O.ACTIVATED, CardRange("FD", 1, 9999).number_of(2))


def test_an_ils_that_can_only_open_accounts(world, helpers):
    world.ils.capabilities = frozenset({Capability.UPSERT_PATRON})
    assert results(world.activate(world.approved([helpers.pupil(1)]))) == [O.ACTIVATED]


def test_staff_get_a_task_for_an_account_that_is_there(world, helpers):
    world.ils.new_patron("OLD1", identifiers={"id_card": helpers.id_number(1)})
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    (task,) = world.store.tasks.list_tasks(world.library, kind=TaskKind.EXISTING_CARD)
    assert task.patron_id == application.patron_id
    assert task.detail == {
        "application": application.application_id,
        "row": application.batch_row,
    }


def test_the_number_is_asked_for_even_where_the_ils_does_not_keep_it(world, helpers):
    world.ils.new_patron("OLD1", identifiers={"id_card": helpers.id_number(1)})
    world.provisioning = replace(
        world.provisioning, rules=replace(world.provisioning.rules, numbers_for_ils=frozenset())
    )
    assert results(world.activate(world.approved([helpers.pupil(1)]))) == [O.EXISTING_CARD]


def test_a_pin_is_on_the_disk_before_its_card_is_open(world, helpers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 9)])
    world.provisioning = replace(world.provisioning, workers=4)
    states = []

    def write(result):
        states.append(world.state_of(result.application))

    done = world.provisioning.activate(applications, actor="librarian", on_result=write)
    assert results(done) == [O.ACTIVATED] * 8
    assert [r.application.batch_row for r in done] == [a.batch_row for a in applications]
    assert states == [S.ACTIVATING] * 8


@pytest.mark.parametrize("workers", [1, 4])
def test_a_pin_that_cannot_be_written_opens_no_card(world, helpers, workers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 9)])
    world.provisioning = replace(world.provisioning, workers=workers)
    written = []

    def write(result):
        if len(written) == 2:
            raise OSError("no space left on the disk")
        written.append(result.card)

    with pytest.raises(OSError, match="no space"):
        world.provisioning.activate(applications, actor="librarian", on_result=write)
    states = [world.state_of(a) for a in applications]
    assert states.count(S.ACTIVE) == 2
    again = world.activate(applications)
    assert {r.outcome for r in again} == {O.ACTIVATED, O.ALREADY_ACTIVE}
    assert len(world.ils.stock.patrons) == 8


def test_ctrl_c_writes_the_pins_that_are_under_way(world, helpers):
    applications = world.approved([helpers.pupil(n) for n in range(1, 9)])
    world.provisioning = replace(world.provisioning, workers=3)
    pins = {}

    def stop_after_two(done, rows):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.provisioning.activate(
            applications,
            actor="librarian",
            on_result=lambda result: pins.setdefault(result.card, result.pin),
            on_progress=stop_after_two,
        )
    active = [a for a in applications if world.state_of(a) is S.ACTIVE]
    assert 2 <= len(active) < 8
    assert pins == {card: patron.pin for card, patron in world.ils.stock.patrons.items()}
    world.activate(applications)
    assert {world.state_of(a) for a in applications} == {S.ACTIVE}
    assert len(world.ils.stock.patrons) == 8


def test_expiry_follows_the_stage(world):
    rules, now = world.provisioning.rules, world.time[0]
    assert rules.expiry(now, 3, SchoolSystem.SIX_THREE, 2026).isoformat() == "2030-11-29"
    assert rules.expiry(now, 3, SchoolSystem.FIVE_FOUR).isoformat() == "2029-11-29"
    assert rules.expiry(now, 6, SchoolSystem.SIX_THREE, 2020).isoformat() == "2032-09-10"
    without = replace(rules, grace_days=0)
    assert without.expiry(now, 12).isoformat() == "2027-08-31"


def test_a_class_tells_when_the_card_ends(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    school = world.school()
    place = world.store.schools.ensure_class(school, 4, "2班", actor="clerk")
    world.store.schools.place_pupils(
        school,
        {application.patron_id: place.class_id},
        school_year=2026,
        on=date(2026, 9, 1),
        reason="moved",
        actor="clerk",
    )
    world.provisioning = replace(world.provisioning, classes=world.store.schools)
    (result,) = world.activate([application])
    assert world.ils.stock.patrons[result.card].expires == date(2029, 11, 29)


def test_an_identity_number_never_becomes_a_card_number(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    with world.store.work.begin() as unit:
        unit.connection.exec_driver_sql(
            "UPDATE application SET card_proposal = ?", (helpers.id_number(1),)
        )
    (result,) = world.activate([application])
    assert CardRange("FD", 1, 9999).is_number(result.card)


def test_a_card_is_opened_when_the_account_that_was_there_is_gone(world, helpers):
    world.ils.new_patron("OLD1", identifiers={"id_card": helpers.id_number(1)})
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    world.ils.set_down()
    assert results(world.activate([application])) == [O.FAILED]
    world.ils.set_down(down=False)
    assert world.state_of(application) is S.EXISTING_CARD
    world.ils.close_patron("OLD1")
    assert results(world.activate([application])) == [O.ACTIVATED]
    (task,) = world.store.tasks.list_tasks(world.library, include_done=True)
    assert task.outcome == "account_gone"


class Killed(BaseException):
    """Stands for SIGKILL."""


@pytest.mark.parametrize("step", ["begin_activation", "finish_activation"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_killed_at_a_step_of_our_own(world, helpers, monkeypatch, step, side):
    (application,) = world.approved([helpers.pupil(1)])
    real, given = getattr(world.store.enrolment, step), []

    def kill(*arguments, **more):
        if side == "after":
            real(*arguments, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(world.store.enrolment, step, kill)
        with pytest.raises(Killed):
            world.provisioning.activate([application], actor="x", on_result=given.append)
    world.pass_time(minutes=3)
    world.provisioning.activate([application], actor="x", on_result=given.append)
    assert world.state_of(application) is S.ACTIVE
    (account,) = world.ils.stock.patrons.values()
    pins = [result for result in given if result.pin]
    assert pins[-1].pin == account.pin
    assert [result.is_pin_new for result in pins] == [False, True][: len(pins)]
    assert len(pins) == (2 if (step, side) == ("finish_activation", "before") else 1)


@pytest.mark.parametrize("step", ["find_patron", "upsert_patron"])
@pytest.mark.parametrize("side", ["before", "after"])
def test_killed_while_the_ils_is_asked(world, helpers, monkeypatch, step, side):
    (application,) = world.approved([helpers.pupil(1)])
    real = getattr(world.ils, step)

    def kill(*arguments, **more):
        if side == "after":
            real(*arguments, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(world.ils, step, kill)
        with pytest.raises(Killed):
            world.activate([application])
    assert world.state_of(application) is S.ACTIVATING
    world.pass_time(minutes=3)
    (result,) = world.activate([application])
    assert (result.outcome, len(world.ils.stock.patrons)) == (O.ACTIVATED, 1)
    assert world.ils.stock.patrons[result.card].pin == result.pin

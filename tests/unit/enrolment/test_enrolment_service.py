"""Reviews, consents, batches (A06-A08, A43, decisions 19 and 20, scenarios 5 and 6)."""

from dataclasses import replace

import pytest

from connector.domain.enrolment import ApplicationState, ConsentScope, Route, SchoolStage
from connector.domain.ids import Identifier, InstitutionId
from connector.domain.patron import StandingState
from connector.errors import ConfigurationError, NotFound, StorageConflict
from connector.ports.enrolment import NewApplication
from connector.ports.ils import BlockReason, ExchangeContext
from connector.ports.store import PersonalData
from connector.services.enrolment import StepReport

S = ApplicationState


def enter(world, school, route):
    patron = world.store.people.add_person(
        PersonalData("巴八八", id_number="500230202002290017", phone="13800000009"),
        [Identifier("id_card", "500230202002290017")],
        home=world.library,
        category="student",
    )
    return world.store.enrolment.add_application(
        NewApplication(patron, world.library, school.school_id, route),
        actor="web",
        now=world.time[0],
    )


def test_school_then_library(world, helpers):
    report = world.load([helpers.pupil(1), helpers.pupil(2)])
    applications = world.applications(report)
    assert world.enrolment.approve(applications, actor="librarian") == StepReport(0, 2)
    assert world.enrolment.review(applications, actor="teacher") == StepReport(2, 0)
    assert world.enrolment.review(world.applications(report), actor="teacher") == StepReport(0, 2)
    applications = world.applications(report)
    assert {a.state for a in applications} == {S.SCHOOL_REVIEWED}
    assert world.enrolment.approve(applications, actor="librarian") == StepReport(2, 0)
    assert {a.state for a in world.applications(report)} == {S.LIBRARY_APPROVED}


def test_an_individual_application_passes_by_the_school(world):
    application = enter(world, world.school(), Route.INDIVIDUAL)
    assert world.enrolment.approve([application], actor="librarian") == StepReport(1, 0)


def test_unless_the_school_wants_to_review(world):
    application = enter(world, world.school(review_individual=True), Route.INDIVIDUAL)
    assert world.enrolment.approve([application], actor="librarian") == StepReport(0, 1)
    assert world.enrolment.review([application], actor="teacher") == StepReport(1, 0)


def test_a_step_seen_on_an_old_screen_does_nothing_twice(world, helpers):
    report = world.load([helpers.pupil(1)])
    stale = world.applications(report)
    world.enrolment.review(stale, actor="teacher")
    assert world.enrolment.review(stale, actor="colleague") == StepReport(0, 1)


def test_one_open_application_per_person(world):
    school = world.school()
    application = enter(world, school, Route.INDIVIDUAL)
    again = NewApplication(application.patron_id, world.library, school.school_id, Route.BATCH)
    with pytest.raises(StorageConflict):
        world.store.enrolment.add_application(again, actor="clerk", now=world.time[0])


def test_progress_of_batches(world, helpers):
    school = world.school()
    report = world.load([helpers.pupil(1), helpers.pupil(2), helpers.pupil(3, name="")], school)
    world.enrolment.review(world.applications(report)[:1], actor="teacher")
    (progress,) = world.enrolment.list_progress(world.library)
    assert (progress.batch.number, progress.school.code) == ("2026-0001", "s1")
    assert progress.states == {S.ENTERED: 1, S.SCHOOL_REVIEWED: 1}
    assert [problem.code for problem in progress.batch.problems] == ["name_missing"]
    other = world.school("s2")
    assert not world.enrolment.list_progress(world.library, school=other)


def test_rows_of_a_batch(world, helpers):
    report = world.load([helpers.pupil(1), helpers.pupil(2), helpers.pupil(3)])
    chosen = world.enrolment.list_applications(report.batch, rows=[2, 4])
    assert [application.batch_row for application in chosen] == [2, 4]
    with pytest.raises(NotFound, match="row 9"):
        world.enrolment.list_applications(report.batch, rows=[2, 9])
    assert not world.enrolment.list_applications(report.batch, states=[S.ACTIVE])


def test_unknown_things_are_not_found(world):
    with pytest.raises(NotFound, match="school"):
        world.enrolment.find_school(world.library, "nowhere")
    with pytest.raises(NotFound, match="batch"):
        world.enrolment.find_batch(world.library, "2026-9999")
    with pytest.raises(ConfigurationError, match="no library XX"):
        world.enrolment.save_school(InstitutionId("XX"), "s", "x")
    with pytest.raises(ConfigurationError, match="entry mode"):
        world.enrolment.save_school(world.library, "s", "x", entry_mode="never")


def test_a_school_is_changed_under_its_code(world):
    first = world.school("s1", SchoolStage.PRIMARY)
    changed = world.enrolment.save_school(world.library, "s1", "新校名", stage=SchoolStage.JUNIOR)
    assert changed.school_id == first.school_id
    assert world.enrolment.list_schools(world.library) == (changed,)
    assert changed.name == "新校名"
    assert world.enrolment.find_school(world.library, "s1") == changed


def test_consent_keeps_text_evidence_and_time(world, helpers):
    (application,) = world.applications(world.load([helpers.pupil(1)]))
    world.consents.record(
        [application],
        [ConsentScope.CARD, ConsentScope.ONLINE],
        evidence=" folder 7 ",
        actor="teacher",
    )
    consents = {c.scope: c for c in world.store.enrolment.list_consents(application.patron_id)}
    assert set(consents) == {ConsentScope.CARD, ConsentScope.ONLINE}
    card = consents[ConsentScope.CARD]
    assert (card.holds, card.text_version, card.evidence) == (True, "2026-09", "folder 7")
    assert card.recorded_at == world.time[0]
    assert world.state_of(application) is S.ENTERED


def test_no_consent_without_evidence(world, helpers):
    applications = world.applications(world.load([helpers.pupil(1)]))
    with pytest.raises(ConfigurationError, match="evidence"):
        world.consents.record(applications, [ConsentScope.CARD], evidence=" ", actor="t")
    assert not world.store.enrolment.list_consents(applications[0].patron_id)


def test_the_latest_answer_counts(world, helpers):
    (application,) = world.applications(world.load([helpers.pupil(1)]))
    patron = application.patron_id

    def holds():
        (consent,) = world.store.enrolment.list_consents(patron)
        return consent.holds

    world.consent([application])
    assert holds()
    world.pass_time(days=1)
    assert world.store.enrolment.withdraw_consent(
        patron, ConsentScope.CARD, actor="x", now=world.time[0]
    )
    assert not holds()
    assert not world.store.enrolment.withdraw_consent(
        patron, ConsentScope.CARD, actor="x", now=world.time[0]
    )
    world.pass_time(days=1)
    world.consent([application])
    assert holds()


def test_a_refusal_leaves_a_digest_and_nothing_else(world, helpers):
    """Scenario 5."""
    (application,) = world.applications(world.load([helpers.pupil(1)]))
    assert world.consents.refuse([application], actor="teacher") == StepReport(1, 0)
    assert world.state_of(application) is None
    with pytest.raises(NotFound):
        world.store.people.fetch_personal(application.patron_id)
    number = [Identifier("id_card", helpers.id_number(1))]
    assert world.store.people.find_person(number) is None
    assert world.store.enrolment.is_refused(number, world.library)
    assert not world.store.enrolment.is_refused(number, InstitutionId("OTHER"))
    world.store.enrolment.forget_refusal(number, world.library)
    assert not world.store.enrolment.is_refused(number, world.library)


def test_who_agrees_in_the_end_is_held_no_more(world, helpers):
    (application,) = world.applications(world.load([helpers.pupil(1)]))
    world.consents.refuse([application], actor="teacher")
    assert helpers.outcomes(world.load([helpers.pupil(1)], name="b.xlsx")) == {"held": 1}
    rules = replace(world.enrolment.rules[world.library], ask_again_after_refusal=True)
    asking = replace(world.enrolment, rules={world.library: rules})
    report = asking.import_roster(
        world.sheet([helpers.pupil(1)], name="c.xlsx"), world.school(), actor="clerk"
    )
    assert helpers.outcomes(report) == {"created": 1}
    world.consent(world.applications(report))
    later = world.load([helpers.pupil(1)], name="d.xlsx")
    assert helpers.outcomes(later) == {"unchanged": 1}


def test_whose_guardian_never_answers_is_removed_in_time(world, helpers):
    """Decision 20."""
    report = world.load([helpers.pupil(n) for n in (1, 2, 3)])
    silent, willing, _ = world.applications(report)
    world.consent([willing])
    world.pass_time(days=179)
    assert world.enrolment.purge_unanswered(world.library, actor="worker") == 0
    late = world.load([helpers.pupil(4)], name="later.xlsx")
    world.pass_time(days=1)
    assert world.enrolment.purge_unanswered(world.library, actor="worker", dry_run=True) == 2
    assert world.state_of(silent) is S.ENTERED
    assert world.enrolment.purge_unanswered(world.library, actor="worker") == 2
    assert world.state_of(silent) is None
    assert world.state_of(willing) is S.ENTERED
    assert len(world.applications(late)) == 1
    number = [Identifier("id_card", helpers.id_number(1))]
    assert world.store.people.find_person(number) is None
    assert not world.store.enrolment.is_refused(number, world.library)
    again = world.load([helpers.pupil(1)], name="again.xlsx")
    assert helpers.outcomes(again) == {"created": 1}


def test_whose_card_is_open_is_never_purged(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    world.pass_time(days=1000)
    assert world.enrolment.purge_unanswered(world.library, actor="worker") == 0
    assert world.state_of(application) is S.ACTIVE


def test_an_open_card_cannot_be_refused_or_erased(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    opened = world.store.enrolment.fetch_application(application.application_id)
    assert world.consents.refuse([opened], actor="teacher") == StepReport(0, 1)
    with pytest.raises(StorageConflict):
        world.store.enrolment.erase_applicant(opened.patron_id, actor="x", now=world.time[0])
    assert world.state_of(application) is S.ACTIVE


def test_withdrawing_before_the_card_is_open_removes_the_applicant(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    assert world.consents.withdraw(
        [application], ConsentScope.CARD, actor="librarian"
    ) == StepReport(1, 0)
    assert world.state_of(application) is None
    assert world.store.enrolment.is_refused(
        [Identifier("id_card", helpers.id_number(1))], world.library
    )


def test_withdrawing_makes_an_open_card_dead_at_once(world, helpers):
    """Scenario 6, first half."""
    (application,) = world.approved([helpers.pupil(1)])
    (opened,) = world.activate([application])
    world.ils.new_item("B1")
    assert world.ils.checkout(opened.card, "B1", ExchangeContext(at=world.time[0])).ok
    current = world.store.enrolment.fetch_application(application.application_id)
    world.consents.withdraw([current], ConsentScope.CARD, actor="librarian")
    standing = world.store.people.resolve([Identifier("card", opened.card)], world.library)
    assert standing.state is StandingState.WITHDRAWN
    assert world.state_of(application) is S.WITHDRAWN
    assert world.ils.stock.patrons[opened.card].blocks == {BlockReason.CONSENT_WITHDRAWN}


def test_withdrawing_another_scope_leaves_the_card(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.consent([application], ConsentScope.ONLINE)
    world.activate([application])
    current = world.store.enrolment.fetch_application(application.application_id)
    assert world.consents.withdraw([current], ConsentScope.ONLINE, actor="librarian") == StepReport(
        1, 0
    )
    assert world.state_of(application) is S.ACTIVE


def test_a_withdrawal_cannot_be_repeated_or_turned_into_a_refusal(world, helpers):
    (application,) = world.approved([helpers.pupil(1)])
    world.activate([application])
    for _ in range(2):
        current = world.store.enrolment.fetch_application(application.application_id)
        world.consents.withdraw([current], ConsentScope.CARD, actor="librarian")
    current = world.store.enrolment.fetch_application(application.application_id)
    assert world.consents.refuse([current], actor="librarian") == StepReport(0, 1)
    assert world.state_of(application) is S.WITHDRAWN

"""Pupils enrolled all the way: school, application, consent, approval, an open card in the ILS.

Nothing here is a test; every pupil is invented.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from connector.bootstrap import Application as App
from connector.domain.enrolment import ApplicationState, ConsentScope, Route
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.ports.enrolment import Application, Batch, NewApplication, School
from connector.ports.store import PersonalData
from connector.services.provisioning import ActivationOutcome

__all__ = ["Pupil", "add_school", "enrol_pupil"]

_STEPS = (
    ApplicationState.ENTERED,
    ApplicationState.SCHOOL_REVIEWED,
    ApplicationState.LIBRARY_APPROVED,
)


@dataclass(frozen=True)
class Pupil:
    """A pupil whose card is open."""

    patron_id: PatronId
    card: str
    application: Application


def add_school(app: App, code: str, library: str = "") -> School:
    institution = InstitutionId(library or next(iter(app.libraries)))
    return app.enrolment.save_school(institution, code, f"学校{code}")


def enrol_pupil(
    app: App,
    school: School,
    name: str,
    id_number: str,
    *,
    class_name: str = "三年级2班",
    open_card: bool = True,
    consent: bool = True,
    batch: Batch | None = None,
    row: int | None = None,
    **more: str,
) -> Pupil:
    """Enrol a pupil; with ``open_card`` his card is opened in the library's ILS."""
    store, now = app.store, app.now()
    patron_id = store.people.add_person(
        PersonalData(name=name, id_number=id_number, **more),
        [Identifier("id_card", id_number)],
        home=school.institution,
        category="student",
        stage="primary",
    )
    new = NewApplication(
        patron_id,
        school.institution,
        school.school_id,
        Route.BATCH,
        class_name=class_name,
        batch_id=batch.batch_id if batch else None,
        batch_row=row,
        on_roster=True,
        willing="willing",
    )
    application = store.enrolment.add_application(new, actor="test", now=now)
    for old, following in pairwise(_STEPS):
        assert store.enrolment.move_application(
            application.application_id, old, following, actor="test", now=now
        )
    card = ""
    if consent or open_card:
        store.enrolment.record_consent(
            patron_id,
            school.institution,
            ConsentScope.CARD,
            text_version="2026-09",
            given=True,
            evidence="folder 7",
            actor="test",
            now=now,
        )
    if open_card:
        (result,) = app.provisioning(school.institution).activate([application], actor="test")
        assert result.outcome is ActivationOutcome.ACTIVATED, result.error
        card = result.card
    found = store.enrolment.fetch_application(application.application_id)
    assert found is not None
    return Pupil(patron_id, card, found)

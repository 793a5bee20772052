"""Invented pupils whose cards are to be opened, and a process that opens them:
``python -m tests.support.open_cards FOLDER URL PINS``.

Nothing here is a test. The pupils are written in one transaction, past the services that would take
a minute for thousands of them.
"""

from __future__ import annotations

import sys
import uuid
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import insert
from stdnum.cn import ric

from connector.cli.pin_file import PinFile
from connector.domain.enrolment import ApplicationState, Route
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.ports.enrolment import Application, NewApplication, School
from connector.ports.store import PersonalData
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.store import Store
from tests.support.crash import LIBRARY, NOW, open_application


def id_number(serial: int) -> str:
    """Return an invented identity number by the national rule."""
    first17 = f"500230{2014 + serial // 900 % 3}0{1 + serial // 100 % 9}15{serial % 100:03}"
    return str(first17 + ric.calc_check_digit(first17 + "0"))


def seed_approved(
    store: Store, institution: InstitutionId, count: int, *, first: int = 2, now: datetime = NOW
) -> tuple[Application, ...]:
    """Write pupils with approved applications and their guardians' consent; return all of the
    library's, in the order of rows.

    Args:
        first: row of the first; the row makes the identity number.
    """
    with store.work.begin() as unit:
        for row in range(first, first + count):
            number = id_number(row)
            data = PersonalData("张小江", number, "13800000000", birth_date=date(2015, 3, 1))
            patron_id = person_rows.add_person(
                unit, data, [Identifier("id_card", number)], home=institution, category="student"
            )
            said = {
                "institution": institution,
                "person_id": patron_id,
                "recorded_by": "test",
                "recorded_at": now,
            }
            unit.connection.execute(
                insert(tables.consent).values(
                    consent_id=str(uuid.uuid4()),
                    scope="card",
                    text_version="2026-09",
                    given_at=now,
                    evidence="folder 7",
                    **said,
                )
            )
            unit.connection.execute(
                insert(tables.application).values(
                    application_id=str(uuid.uuid4()),
                    institution=institution,
                    person_id=patron_id,
                    batch_row=row,
                    state="library_approved",
                    route="batch",
                    entered_by="test",
                    entered_at=now,
                    updated_at=now,
                )
            )
    return store.enrolment.list_applications(institution)


def enter_again(
    opened: Store, patron_id: PatronId, library: InstitutionId, *, now: datetime
) -> Application:
    """Enter a pupil anew and bring him to the library's approval."""
    store = opened.enrolment
    school = store.save_school(School("", library, f"s-{library}", "学校"))
    new = NewApplication(patron_id, library, school.school_id, Route.BATCH)
    application = store.add_application(new, actor="clerk", now=now)
    for old, state in (
        (ApplicationState.ENTERED, ApplicationState.SCHOOL_REVIEWED),
        (ApplicationState.SCHOOL_REVIEWED, ApplicationState.LIBRARY_APPROVED),
    ):
        assert store.move_application(
            application.application_id, old, state, actor="librarian", now=now
        )
    return application


def main() -> None:
    """Open every card and write the PINs."""
    folder, url, pins = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    app = open_application(folder, url, lambda: datetime.now(UTC))
    applications = app.store.enrolment.list_applications(LIBRARY)
    with PinFile(pins) as file:
        app.provisioning(LIBRARY).activate(applications, actor="test", on_result=file.write)
    app.close()


if __name__ == "__main__":
    main()

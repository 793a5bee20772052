"""A person about whom every table has a row, with values that can be looked for.

Nothing here is a test; the person is invented. What a table has no place for is not put there.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import date, timedelta

from sqlalchemy import Connection, insert, select

from connector.domain.enrolment import ConsentScope, Route
from connector.domain.ids import (
    Barcode,
    Identifier,
    IlsPatronId,
    InstitutionId,
    ItemId,
    LoanId,
)
from connector.domain.item import LanguageClass
from connector.domain.patron import StandingState
from connector.ports.clock import Clock
from connector.ports.enrolment import NewApplication, RowOutcome, School
from connector.ports.ledger import AskLoan, Place
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.storage import tables
from connector.storage.store import Store

__all__ = ["DATA", "IDENTIFIERS", "MARKS", "FullPerson", "read_texts"]

DATA = PersonalData(
    name="欧阳标记",
    id_number="500230201503010015",
    phone="13800000001",
    guardian_name="标记家长",
    guardian_phone="13900000002",
    birth_date=date(2015, 3, 1),
)
IDENTIFIERS = (
    Identifier("card", "S00000077"),
    Identifier("id_card", DATA.id_number),
    Identifier("student_no", f"G{DATA.id_number}"),
)
_OLD_CARD, _CLASS, _DISTRICT, _EVIDENCE = "OLD-777-MARK", "三年级标记班", "标记县", "柜7-标记"
SEALED = (DATA.name, DATA.id_number, DATA.phone, DATA.guardian_name, DATA.guardian_phone)
"""Values that may be in the database sealed only."""
MARKS = (*SEALED, "S00000077", _OLD_CARD, _CLASS, _DISTRICT, _EVIDENCE, "2015-03-01")
"""Values of which nothing may be left."""


class FullPerson:
    """Puts the person into a store and lends to him."""

    def __init__(self, store: Store, now: Clock, library: str = "LIB") -> None:
        self.store = store
        self.now = now
        self.library = InstitutionId(library)
        people = store.people
        self.patron_id = people.add_person(
            DATA, IDENTIFIERS, home=self.library, category="student", stage="primary",
            state=StandingState.ACTIVE,
        )  # fmt: skip
        people.set_account(self.patron_id, self.library, IlsPatronId("S00000077"))
        store.violations.add_violation(self.patron_id, "damage", set_by="staff", now=now())
        self._apply()
        store.tasks.open_task(
            self.library, TaskKind.TWO_SCHOOLS, about=self.patron_id, patron_id=self.patron_id,
            actor="clerk",
        )  # fmt: skip
        with store.work.begin() as unit:
            self._insert_rest(unit.connection)

    def _apply(self) -> None:
        enrolment, now = self.store.enrolment, self.now
        school = enrolment.save_school(
            School(str(uuid.uuid4()), self.library, "s1", "示范小学", create_classes=True)
        )
        self.school_id = school.school_id
        batch = enrolment.open_batch(
            school, layout="a49", rows=1, source_digest="d", actor="clerk", now=now()
        )
        enrolment.close_batch(
            batch.batch_id, counts=dict.fromkeys(RowOutcome, 0), problems=(), now=now()
        )
        self.batch_id = batch.batch_id
        self.application = enrolment.add_application(
            NewApplication(
                patron_id=self.patron_id, institution=self.library, school_id=school.school_id,
                route=Route.BATCH, batch_id=batch.batch_id, batch_row=7, class_name=_CLASS,
                district=_DISTRICT, card_proposal=_OLD_CARD,
            ),
            actor="clerk", now=now(),
        )  # fmt: skip
        enrolment.record_consent(
            self.patron_id, self.library, ConsentScope.CARD, text_version="2026-09", given=True,
            evidence=_EVIDENCE, actor="teacher", now=now(),
        )  # fmt: skip
        enrolment.record_undertaking(
            self.patron_id, self.library, text_version="2026-09", evidence=_EVIDENCE,
            actor="teacher", now=now(),
        )  # fmt: skip

    def _insert_rest(self, connection: Connection) -> None:
        now, ids = self.now(), iter(lambda: str(uuid.uuid4()), "")
        grade_id, class_id = next(ids), next(ids)
        base = {"institution": self.library, "person_id": self.patron_id}
        place = {"institution": self.library, "name": "三"}
        rows = [
            (tables.grade, place | {"grade_id": grade_id, "school_id": self.school_id, "level": 3}),
            (tables.school_class, place | {"class_id": class_id, "grade_id": grade_id}),
            (tables.class_membership, base | {
                "membership_id": next(ids), "school_id": self.school_id, "class_id": class_id,
                "school_year": 2026, "since": now.date(),
            }),
            (tables.leaver, base | {"batch_id": self.batch_id, "state": "proposed", "serial": 1}),
            (tables.liaison, base | {
                "liaison_id": next(ids), "appointed_by": "clerk", "appointed_at": now,
            }),
            (tables.card_issue, base | {
                "issue_id": next(ids), "kind": "physical", "number": 1, "issued_by": "clerk",
                "issued_at": now,
            }),
            (tables.exchange, base | {
                "exchange_id": next(ids), "issuer": self.library, "old_account": _OLD_CARD,
                "mode": "replace", "state": "closed", "begun_by": "clerk", "begun_at": now,
                "closed_at": now,
            }),
            (tables.payment, base | {
                "payment_id": next(ids), "terminal": "kiosk1", "dedupe": "0" * 64,
                "amount": "1.00", "currency": "CNY", "fee_type": "01", "payment_type": "00",
                "asked_at": now, "expires_at": now, "state": "paid",
            }),
        ]  # fmt: skip
        for table, values in rows:
            known = {key: value for key, value in values.items() if key in table.c}
            connection.execute(insert(table).values(**known))
        quota = tables.patron_quota
        if not connection.execute(select(quota).filter_by(person_id=self.patron_id)).first():
            connection.execute(insert(quota).values(**base, asked_at=now))

    # --- lending

    def place(self) -> Place:
        now = self.now()
        return Place(self.library, now, now.date(), kind="selfcheck")

    def lend(self, barcode: str) -> LoanId:
        """Ask and open a loan; return its id."""
        asked = self.store.ledger.ask(
            AskLoan(
                patron_id=self.patron_id, item=self.item(barcode), lender=self.library,
                ils_patron=IlsPatronId("S00000077"), language=LanguageClass.CHINESE,
                place=self.place(), expires_at=self.now() + timedelta(seconds=20), limit=8,
                foreign_limit=3,
            )
        )  # fmt: skip
        loan_id = asked.loan.loan_id
        self.store.ledger.record_open(loan_id, self.place(), due=self.now() + timedelta(days=30))
        return loan_id

    def defer(self, loan_id: LoanId) -> None:
        """Leave word of a return that the ILS has not heard of."""
        with self.store.work.begin() as unit:
            unit.connection.execute(
                insert(tables.deferred).values(
                    institution=self.library, verb="checkin", owner=self.library, barcode="B1",
                    state="waiting", loan_id=loan_id, occurred_at=unit.now, recorded_at=unit.now,
                )
            )  # fmt: skip

    def give_back(self, barcode: str) -> None:
        self.store.ledger.record_return(self.item(barcode), self.place(), returned_at=self.now())

    def item(self, barcode: str) -> ItemId:
        return ItemId(self.library, Barcode(barcode))


def read_texts(store: Store) -> Iterator[tuple[str, str]]:
    """Yield (table.column, text) of every value of every table, sealed and keyed bytes in hex."""
    with store.database.read() as connection:
        for table in tables.metadata.sorted_tables:
            for row in connection.execute(select(table)):
                for column, value in zip(table.columns, row, strict=True):
                    if isinstance(value, bytes):
                        yield f"{table.name}.{column.name}", value.decode("utf-8", "replace")
                    elif value is not None:
                        yield f"{table.name}.{column.name}", str(value)

"""Attempts to open a card: the card number, the lease, the outcome.

Nothing here asks an ILS or a guardian. Rules (A24, A36, scenario 28) —

- a number is given out once, whatever becomes of the application, and never to another person: one
  who comes back, to this library or to another, keeps the number that he had;
- two attempts at once would set two PINs: an attempt holds a lease, and only the attempt that was
  begun last can end it;
- that a card is open becomes true in one unit: application, number, account and person.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, case, delete, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from connector.domain.card import CardRange
from connector.domain.enrolment import CLOSED_STATES, ApplicationState
from connector.domain.ids import Identifier, IlsPatronId, PatronId
from connector.domain.patron import StandingState
from connector.errors import ConfigurationError
from connector.ports.enrolment import CARD_TAKEN, OUTCOME_UNKNOWN, Application
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.application_rows import audit_application, read_application
from connector.storage.repositories.rows import fetch_row
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredActivations", "next_number", "open_standing", "set_account"]

_APPLICATION = tables.application
_ATTEMPT_TIME = timedelta(minutes=2)
"""How long an attempt that was never heard of again keeps others away."""
_CARD_KINDS = ("card", "old_card")


class StoredActivations:
    """The part of ``EnrolmentStore`` that provisioning writes."""

    _units: UnitOfWorkFactory

    @retry_once
    def begin_activation(
        self, application_id: str, *, cards: CardRange, actor: str, now: datetime
    ) -> Application | None:
        """Move ``library_approved | activating`` to ``activating`` with a card number."""
        table = _APPLICATION
        ready = [ApplicationState.LIBRARY_APPROVED.value, ApplicationState.ACTIVATING.value]
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id, table.c.state.in_(ready))
                .where(or_(table.c.lease_until.is_(None), table.c.lease_until <= now))
                .values(
                    lease_until=now + _ATTEMPT_TIME,
                    state=ApplicationState.ACTIVATING.value,
                    attempts=table.c.attempts + 1,
                    activating_at=now,
                    updated_at=now,
                )
            ).rowcount
            if not changed:
                return None
            row = fetch_row(unit, table, application_id=application_id)
            if row.card is None or row.error == CARD_TAKEN:
                card = None if row.error == CARD_TAKEN else _take_earlier_card(unit, row)
                unit.connection.execute(
                    update(table)
                    .where(table.c.application_id == application_id)
                    .values(card=card or next_number(unit, row, cards), error="")
                )
                row = fetch_row(unit, table, application_id=application_id)
            audit_application(unit, "enrolment.activating", row, actor)
        return read_application(row)

    @retry_once
    def keep_activation(self, application_id: str, *, attempt: int, now: datetime) -> bool:
        """Hold the lease of an attempt for longer; say whether it is still the attempt's own."""
        table = _APPLICATION
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id, table.c.attempts == attempt)
                .where(table.c.state == ApplicationState.ACTIVATING.value)
                .values(lease_until=now + _ATTEMPT_TIME)
            ).rowcount
        return bool(changed)

    @retry_once
    def finish_activation(
        self,
        application_id: str,
        *,
        attempt: int,
        card: IlsPatronId,
        expires: date | None,
        actor: str,
        now: datetime,
    ) -> bool:
        """Write that the card is open; say whether the attempt was still the application's."""
        table = _APPLICATION
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id, table.c.attempts == attempt)
                .where(table.c.state == ApplicationState.ACTIVATING.value)
                .values(
                    state=ApplicationState.ACTIVE.value,
                    activated_at=now,
                    updated_at=now,
                    lease_until=None,
                    error="",
                    reason="",
                )
            ).rowcount
            if not changed:
                return False
            row = fetch_row(unit, table, application_id=application_id)
            patron_id = PatronId(row.person_id)
            open_standing(unit, patron_id, row.institution, card, expires)
            audit_application(unit, "enrolment.active", row, actor)
        return True

    @retry_once
    def save_handoff(
        self,
        application_id: str,
        *,
        attempt: int,
        card: IlsPatronId,
        expires: date | None,
        actor: str,
        now: datetime,
    ) -> bool:
        """Write that the pupil stands in a file, with the account that comes of it: its number is
        his from now on, so that nothing is lent on it before it is confirmed.
        """
        table = _APPLICATION
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id, table.c.attempts == attempt)
                .where(table.c.state == ApplicationState.ACTIVATING.value)
                .values(handed_off_at=now, updated_at=now, lease_until=None, error="")
            ).rowcount
            if not changed:
                return False
            row = fetch_row(unit, table, application_id=application_id)
            patron_id = PatronId(row.person_id)
            number = Identifier("card", card)
            person_rows.add_identifier(unit, patron_id, number, institution=row.institution)
            set_account(unit, patron_id, row.institution, card, kind="home", expires=expires)
            audit_application(unit, "enrolment.handed_off", row, actor)
        return True

    @retry_once
    def end_handoff(self, application_id: str, code: str, *, actor: str, now: datetime) -> bool:
        """Write that the ILS did not take the pupil: there is no account."""
        table, account = _APPLICATION, tables.ils_account.c
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id)
                .where(table.c.handed_off_at.is_not(None))
                .where(table.c.state == ApplicationState.ACTIVATING.value)
                .values(handed_off_at=None, updated_at=now, lease_until=None, error=code)
            ).rowcount
            if not changed:
                return False
            row = fetch_row(unit, table, application_id=application_id)
            unit.connection.execute(
                delete(tables.ils_account).where(
                    account.person_id == row.person_id, account.institution == row.institution
                )
            )
            audit_application(unit, "enrolment.handoff_rejected", row, actor, reason=code)
        return True

    @retry_once
    def save_error(self, application_id: str, code: str, *, now: datetime) -> None:
        """Record why an activation failed; the state stays, so that it can be tried again."""
        table = _APPLICATION
        lease = now + _ATTEMPT_TIME if code == OUTCOME_UNKNOWN else None
        with self._units.begin() as unit:
            unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id)
                .where(table.c.state == ApplicationState.ACTIVATING.value)
                .values(error=code, lease_until=lease, updated_at=now)
            )


def open_standing(
    unit: UnitOfWork,
    patron_id: PatronId,
    institution: str,
    card: IlsPatronId,
    expires: date | None,
) -> None:
    """Make a person a reader of this library under a number: identifier, account, standing.

    What was to be closed of him no longer is (scenario 28); a number that was retired stays so.

    Raises:
        StorageConflict: another person has the number.
        NotFound: the person was erased.
    """
    person_rows.home_of(unit, patron_id)
    number = Identifier("card", card)
    person_rows.add_identifier(unit, patron_id, number, institution=institution)
    set_account(unit, patron_id, institution, card, kind="home", expires=expires)
    person_rows.change_person(
        unit,
        patron_id,
        institution=institution,
        state=StandingState.ACTIVE.value,
        expires=expires,
        closing="",
        closing_at=None,
        closing_step="",
        closing_next_at=None,
    )


def set_account(
    unit: UnitOfWork,
    patron_id: PatronId,
    institution: str,
    ils_patron: IlsPatronId,
    *,
    kind: str,
    expires: date | None,
) -> None:
    """Record a person's account in one ILS within a unit of work."""
    key = {"person_id": patron_id, "institution": institution}
    values = {
        "ils_patron": ils_patron,
        "kind": kind,
        "expires": expires,
        "updated_at": unit.now,
    }
    if not unit.insert_or_ignore(tables.ils_account, {**key, **values}):
        unit.connection.execute(update(tables.ils_account).filter_by(**key).values(values))


def _take_earlier_card(unit: UnitOfWork, row: Row[Any]) -> str | None:
    """Return the number that the person had under a closed application; the old row loses it where
    it is of the same library. A number that was retired, as of a lost card, is not taken up.
    """
    table = _APPLICATION
    closed = [state.value for state in CLOSED_STATES]
    earlier = unit.connection.scalars(
        select(table.c.card)
        .where(table.c.person_id == row.person_id, table.c.card.is_not(None))
        .where(table.c.state.in_(closed))
        .order_by(table.c.activated_at.is_(None), table.c.activated_at.desc())
    ).all()
    for card in earlier:
        if _has_other_holder(unit, row, card):
            continue
        unit.connection.execute(
            update(table)
            .where(table.c.person_id == row.person_id, table.c.institution == row.institution)
            .where(table.c.card == card)
            .values(card=None)
        )
        return str(card)
    return None


_SAME_NUMBER = "SELECT 1 FROM application WHERE institution = ? AND card = ? AND person_id <> ?"


def _has_other_holder(unit: UnitOfWork, row: Row[Any], card: str) -> bool:
    """Say whether a number cannot be this person's: somebody else has it here, or it is dead."""
    if unit.fetch(_SAME_NUMBER, (row.institution, card, row.person_id)):
        return True
    digests = [
        digest for kind in _CARD_KINDS for _, digest in unit.keyring.digests(Identifier(kind, card))
    ]
    marks = ", ".join("?" * len(digests))
    known = unit.fetch(
        f"SELECT person_id, retired_at FROM identifier WHERE digest IN ({marks})",  # noqa: S608
        digests,
    )
    return any(
        person_id != row.person_id or retired_at is not None for person_id, retired_at in known
    )


def next_number(unit: UnitOfWork, row: Row[Any], cards: CardRange) -> str:
    """Return the next number of the range that nobody has."""
    while True:
        number = cards.number_of(_next_serial(unit, row.institution, cards))
        if not _has_other_holder(unit, row, number):
            return number


def _next_serial(unit: UnitOfWork, institution: str, cards: CardRange) -> int:
    table = tables.card_counter
    dialect = sqlite.insert if unit.is_sqlite else postgresql.insert
    serial: int = unit.connection.execute(
        dialect(table)
        .values(institution=institution, prefix=cards.prefix, last_serial=cards.first)
        .on_conflict_do_update(
            index_elements=[table.c.institution, table.c.prefix],
            set_={
                "last_serial": case(
                    (table.c.last_serial < cards.first, cards.first),
                    else_=table.c.last_serial + 1,
                )
            },
        )
        .returning(table.c.last_serial)
    ).scalar_one()
    if serial > cards.last:
        raise ConfigurationError(
            "The card range is used up.", "Give the library a new range in [enrolment.cards]."
        )
    return serial

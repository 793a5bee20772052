"""Cards given out and numbers that change, in the database (``connector.ports.cards.CardStore``).

Nothing here asks an ILS. Rules (A25, scenario 34) —

- a change of number begins with the death of the old one, in the same unit of work, and is marked
  on the application (``CARD_CHANGING``) until the ILS has followed;
- open loans carry the number under which the ILS has them: they follow with the account.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, Select, delete, func, select, text, update

from connector.domain.card import CardRange
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.errors import StorageConflict
from connector.ports.cards import CARD_CHANGING, CardIssue, CardKind, HeldNumbers, NumberChange
from connector.storage import tables
from connector.storage.crypto import Keyring
from connector.storage.repositories import person_rows
from connector.storage.repositories.activations import next_number
from connector.storage.repositories.loan_rows import UNCLOSED_SQL
from connector.storage.repositories.rows import fetch_row
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredCards"]

_ISSUE = tables.card_issue
_NUMBER = tables.identifier
_APPLICATION = tables.application
_ACCOUNT = tables.ils_account
_LOST_KINDS = ("card", "online_card", "chip_uid")
"""What a lost card carries; the ID card and the social-security card are other pieces."""


class StoredCards:
    """``CardStore`` on SQLite or PostgreSQL."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def list_issues(self, patron_id: PatronId) -> tuple[CardIssue, ...]:
        """Return the cards given out, oldest first."""
        query = select(_ISSUE).filter_by(person_id=patron_id)
        with self._work.database.read() as connection:
            rows = connection.execute(query.order_by(_ISSUE.c.issued_at, _ISSUE.c.number)).all()
        return tuple(_issue(row) for row in rows)

    def count_numbers(self, patron_id: PatronId) -> Mapping[str, HeldNumbers]:
        """Return how many numbers of each kind somebody has."""
        query = (
            select(_NUMBER.c.kind, func.count(), func.count(_NUMBER.c.retired_at))
            .where(_NUMBER.c.person_id == patron_id)
            .group_by(_NUMBER.c.kind)
            .order_by(_NUMBER.c.kind)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        return {kind: HeldNumbers(held - retired, retired) for kind, held, retired in rows}

    def has_number(self, patron_id: PatronId, identifier: Identifier) -> bool:
        """Say whether this number is his, alive or dead."""
        with self._work.database.read() as connection:
            query = _held(self._work.keyring, patron_id, identifier)
            return connection.execute(query).first() is not None

    @retry_once
    def issue_physical(
        self, patron_id: PatronId, *, free: int, replaces_damaged: bool, actor: str
    ) -> CardIssue:
        """Note that a physical card is given out."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            if replaces_damaged:
                _end_issues(unit, patron_id, CardKind.PHYSICAL, "damaged")
            elif _has_issue(unit, patron_id, CardKind.PHYSICAL):
                raise StorageConflict("physical_card_out")
            return _add_issue(unit, patron_id, home, CardKind.PHYSICAL, free=free, actor=actor)

    @retry_once
    def issue_online(self, patron_id: PatronId, token: Identifier, *, actor: str) -> CardIssue:
        """Give him a token; the one before is dead at once."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            _retire(unit, patron_id, (token.kind,))
            _end_issues(unit, patron_id, CardKind.ONLINE, "replaced")
            person_rows.add_identifier(unit, patron_id, token, institution=home)
            return _add_issue(unit, patron_id, home, CardKind.ONLINE, free=None, actor=actor)

    @retry_once
    def begin_change(
        self, patron_id: PatronId, lost: Identifier | None, *, cards: CardRange, actor: str
    ) -> NumberChange | None:
        """Kill every number that hangs on a lost card, and take a new card number for him."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            under_way = unit.connection.execute(_changing(patron_id)).one_or_none()
            if under_way is not None:
                return _change(under_way)
            if lost is not None and _is_dead(unit, patron_id, lost):
                raise StorageConflict("reported_before")
            retired = _retire(unit, patron_id, _LOST_KINDS)
            _end_issues(unit, patron_id, None, "lost")
            unit.audit(
                "card.lost",
                actor=actor,
                subject=patron_id,
                detail={"numbers": retired},
                institution=home,
            )
            person = fetch_row(unit, tables.person, person_id=patron_id)
            row = unit.connection.execute(_active(patron_id)).one_or_none()
            if row is None or person.state != StandingState.ACTIVE.value:
                return None
            unit.connection.execute(
                update(_APPLICATION)
                .where(_APPLICATION.c.application_id == row.application_id)
                .values(
                    card=next_number(unit, row, cards), error=CARD_CHANGING, updated_at=unit.now
                )
            )
            return _change(unit.connection.execute(_changing(patron_id)).one())

    def find_change(self, patron_id: PatronId) -> NumberChange | None:
        """Return the change that is under way."""
        with self._work.database.read() as connection:
            row = connection.execute(_changing(patron_id)).one_or_none()
        return None if row is None else _change(row)

    @retry_once
    def take_next(
        self, change: NumberChange, *, cards: CardRange, actor: str
    ) -> NumberChange | None:
        """Take another new number, since the ILS has an account with this one."""
        with self._work.begin() as unit:
            person_rows.home_of(unit, change.patron_id)
            row = unit.connection.execute(_changing(change.patron_id)).one_or_none()
            if row is None:
                return None
            if row.card == change.new:
                unit.connection.execute(
                    update(_APPLICATION)
                    .where(_APPLICATION.c.application_id == change.application_id)
                    .values(card=next_number(unit, row, cards), updated_at=unit.now)
                )
                unit.audit(
                    "card.number_taken",
                    actor=actor,
                    subject=change.patron_id,
                    institution=change.institution,
                )
            return _change(unit.connection.execute(_changing(change.patron_id)).one())

    @retry_once
    def finish_change(self, change: NumberChange, *, actor: str) -> bool:
        """Write that the ILS answers to the new number."""
        with self._work.begin() as unit:
            person_rows.home_of(unit, change.patron_id)
            row = unit.connection.execute(_changing(change.patron_id)).one_or_none()
            if row is None or row.card != change.new:
                return False
            unit.connection.execute(
                update(_APPLICATION)
                .where(_APPLICATION.c.application_id == change.application_id)
                .values(error="", updated_at=unit.now)
            )
            number = Identifier("card", change.new)
            person_rows.add_identifier(
                unit, change.patron_id, number, institution=change.institution
            )
            unit.connection.execute(
                update(_ACCOUNT)
                .where(_ACCOUNT.c.person_id == change.patron_id)
                .where(_ACCOUNT.c.institution == change.institution)
                .values(ils_patron=change.new, updated_at=unit.now)
            )
            loan = tables.loan
            unit.connection.execute(
                update(loan)
                .where(loan.c.person_id == change.patron_id, text(UNCLOSED_SQL))
                .where(loan.c.institution == change.institution, loan.c.ils_patron == change.old)
                .values(ils_patron=change.new)
            )
            unit.audit(
                "card.number_changed",
                actor=actor,
                subject=change.patron_id,
                detail={"application": change.application_id},
                institution=change.institution,
            )
        return True

    @retry_once
    def link(self, patron_id: PatronId, identifier: Identifier, *, actor: str) -> None:
        """Give him one more number."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            person_rows.add_identifier(unit, patron_id, identifier, institution=home)
            unit.audit(
                "identifier.added",
                actor=actor,
                subject=patron_id,
                detail={"kind": identifier.kind},
                institution=home,
            )

    @retry_once
    def unlink(self, patron_id: PatronId, kind: str, *, actor: str) -> int:
        """Forget his numbers of a kind."""
        with self._work.begin() as unit:
            home = person_rows.home_of(unit, patron_id)
            gone = unit.connection.execute(
                delete(_NUMBER).where(_NUMBER.c.person_id == patron_id, _NUMBER.c.kind == kind)
            ).rowcount
            if gone:
                unit.audit(
                    "identifier.removed",
                    actor=actor,
                    subject=patron_id,
                    detail={"kind": kind, "count": gone},
                    institution=home,
                )
        return gone


def _held(keyring: Keyring, patron_id: PatronId, identifier: Identifier) -> Select[Any]:
    digests = [digest for _, digest in keyring.digests(identifier)]
    return select(_NUMBER.c.retired_at).where(
        _NUMBER.c.person_id == patron_id,
        _NUMBER.c.kind == identifier.kind,
        _NUMBER.c.digest.in_(digests),
    )


def _is_dead(unit: UnitOfWork, patron_id: PatronId, identifier: Identifier) -> bool:
    held = unit.connection.execute(_held(unit.keyring, patron_id, identifier)).first()
    return held is not None and held.retired_at is not None


def _active(patron_id: PatronId) -> Select[Any]:
    """Select the application under which the person's card is open, with its number in the ILS."""
    return (
        select(_APPLICATION, _ACCOUNT.c.ils_patron)
        .join(
            _ACCOUNT,
            (_ACCOUNT.c.person_id == _APPLICATION.c.person_id)
            & (_ACCOUNT.c.institution == _APPLICATION.c.institution),
        )
        .where(_APPLICATION.c.person_id == patron_id)
        .where(_APPLICATION.c.state == ApplicationState.ACTIVE.value)
    )


def _changing(patron_id: PatronId) -> Select[Any]:
    return _active(patron_id).where(_APPLICATION.c.error == CARD_CHANGING)


def _change(row: Row[Any]) -> NumberChange:
    return NumberChange(
        application_id=row.application_id,
        patron_id=PatronId(row.person_id),
        institution=InstitutionId(row.institution),
        old=IlsPatronId(row.ils_patron),
        new=IlsPatronId(row.card),
    )


def _retire(unit: UnitOfWork, patron_id: PatronId, kinds: tuple[str, ...]) -> int:
    retired = unit.connection.execute(
        update(_NUMBER)
        .where(_NUMBER.c.person_id == patron_id, _NUMBER.c.kind.in_(kinds))
        .where(_NUMBER.c.retired_at.is_(None))
        .values(retired_at=unit.now)
    )
    return retired.rowcount


def _has_issue(unit: UnitOfWork, patron_id: PatronId, kind: CardKind) -> bool:
    query = select(_ISSUE.c.issue_id).where(
        _ISSUE.c.person_id == patron_id,
        _ISSUE.c.kind == kind.value,
        _ISSUE.c.ended_at.is_(None),
    )
    return unit.connection.execute(query.limit(1)).first() is not None


def _end_issues(
    unit: UnitOfWork, patron_id: PatronId, kind: CardKind | None, ended_as: str
) -> None:
    """End what is in use of a kind, or of every kind."""
    query = update(_ISSUE).where(_ISSUE.c.person_id == patron_id, _ISSUE.c.ended_at.is_(None))
    if kind is not None:
        query = query.where(_ISSUE.c.kind == kind.value)
    unit.connection.execute(query.values(ended_at=unit.now, ended_as=ended_as))


def _add_issue(
    unit: UnitOfWork,
    patron_id: PatronId,
    institution: str,
    kind: CardKind,
    *,
    free: int | None,
    actor: str,
) -> CardIssue:
    """Note a card; ``free`` None = none of this kind is ever charged."""
    before = unit.connection.scalar(
        select(func.max(_ISSUE.c.number)).filter_by(person_id=patron_id, kind=kind.value)
    )
    issue = CardIssue(
        kind=kind,
        number=(before or 0) + 1,
        chargeable=free is not None and (before or 0) >= free,
        issued_by=actor,
        issued_at=unit.now,
    )
    unit.connection.execute(
        _ISSUE.insert().values(
            issue_id=str(uuid.uuid4()),
            institution=institution,
            person_id=patron_id,
            kind=kind.value,
            number=issue.number,
            chargeable=issue.chargeable,
            issued_by=actor,
            issued_at=unit.now,
        )
    )
    unit.audit(
        "card.issued",
        actor=actor,
        subject=patron_id,
        detail={"kind": kind.value, "number": issue.number, "chargeable": int(issue.chargeable)},
        institution=institution,
    )
    return issue


def _issue(row: Row[Any]) -> CardIssue:
    return CardIssue(
        kind=CardKind(row.kind),
        number=row.number,
        chargeable=row.chargeable,
        issued_by=row.issued_by,
        issued_at=row.issued_at,
        ended_at=row.ended_at,
        ended_as=row.ended_as,
    )

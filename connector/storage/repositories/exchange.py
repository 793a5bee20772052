"""Exchanges in the database (``connector.ports.exchange.ExchangeStore``).

Nothing here asks an ILS. Rules: what an exchange changes of a person, his numbers, his account and
his application changes in one unit; numbers are kept as digests, the account's number in clear as
everywhere.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Row, delete, select, update

from connector.domain.enrolment import ApplicationState
from connector.domain.identity import normalise_scanned
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import EXCHANGED_ACCOUNT
from connector.errors import StorageConflict
from connector.ports.exchange import Exchange, ExchangeMode, ExchangeState
from connector.ports.tasks import TaskKind
from connector.storage import tables
from connector.storage.repositories import person_rows
from connector.storage.repositories.activations import open_standing, set_account
from connector.storage.repositories.application_rows import audit_application
from connector.storage.repositories.rows import fetch_row
from connector.storage.repositories.tasks import open_task
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredExchanges"]

_EXCHANGE = tables.exchange
_OLD = "old_card"
_KINDS_OF_CARDS = ("card", _OLD)


class StoredExchanges:
    """``ExchangeStore`` on SQLite or PostgreSQL."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def save_adoption(
        self,
        application_id: str,
        account: IlsPatronId,
        *,
        deposit_held: bool,
        expires: date | None,
        actor: str,
    ) -> Exchange | None:
        """Make an account of the library's own ILS the student card."""
        table = tables.application
        with self._work.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(table.c.application_id == application_id)
                .where(table.c.state == ApplicationState.EXISTING_CARD.value)
                .values(
                    state=ApplicationState.ACTIVE.value,
                    card=account,
                    activated_at=unit.now,
                    updated_at=unit.now,
                    error="",
                    reason="exchanged",
                )
            ).rowcount
            if not changed:
                return None
            row = fetch_row(unit, table, application_id=application_id)
            patron_id = PatronId(row.person_id)
            _require_free(unit, patron_id, row.institution, account, [account])
            open_standing(unit, patron_id, row.institution, account, expires)
            audit_application(unit, "enrolment.active", row, actor, reason="exchanged")
            unit.connection.execute(  # it gave way once; now it is the student card
                update(_EXCHANGE)
                .where(_EXCHANGE.c.person_id == patron_id, _EXCHANGE.c.issuer == row.institution)
                .where(_EXCHANGE.c.state != ExchangeState.CLOSED.value)
                .values(state=ExchangeState.CLOSED.value, closed_at=unit.now)
            )
            return _add_exchange(
                unit,
                patron_id,
                InstitutionId(row.institution),
                InstitutionId(row.institution),
                account,
                mode=ExchangeMode.ADOPT,
                state=ExchangeState.CLOSED,
                deposit_held=deposit_held,
                refund_by=row.institution,
                actor=actor,
            )

    @retry_once
    def begin_replacement(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        issuer: InstitutionId,
        account: IlsPatronId,
        *,
        numbers: Sequence[str],
        is_ours: bool,
        deposit_held: bool,
        actor: str,
    ) -> Exchange:
        """Join an older card to a person."""
        with self._work.begin() as unit:
            person_rows.home_of(unit, patron_id)
            known = unit.connection.execute(
                select(_EXCHANGE)
                .where(_EXCHANGE.c.person_id == patron_id, _EXCHANGE.c.issuer == issuer)
                .where(_EXCHANGE.c.old_account == account)
            ).first()
            if known is not None:
                if deposit_held and not known.deposit_held:
                    known = _note_deposit(unit, known, issuer if is_ours else institution, actor)
                return _exchange(known)
            _require_free(unit, patron_id, issuer, account, numbers)
            for number in dict.fromkeys(numbers):
                person_rows.add_identifier(
                    unit, patron_id, Identifier(_OLD, number), institution=issuer
                )
            if is_ours:
                _require_no_account(unit, patron_id, issuer)
                set_account(unit, patron_id, issuer, account, kind=EXCHANGED_ACCOUNT, expires=None)
            return _add_exchange(
                unit,
                patron_id,
                institution,
                issuer,
                account,
                mode=ExchangeMode.REPLACE,
                state=ExchangeState.BEGUN if is_ours else ExchangeState.ELSEWHERE,
                deposit_held=deposit_held,
                refund_by=issuer if is_ours else institution,
                actor=actor,
            )

    @retry_once
    def note_read_only(self, exchange_id: str) -> bool:
        """Note that the issuer's ILS lends nothing more; say whether that was new."""
        with self._work.begin() as unit:
            changed = unit.connection.execute(
                update(_EXCHANGE)
                .where(_EXCHANGE.c.exchange_id == exchange_id)
                .where(_EXCHANGE.c.state == ExchangeState.BEGUN.value)
                .values(state=ExchangeState.READ_ONLY.value)
            ).rowcount
        return bool(changed)

    @retry_once
    def close_exchange(self, exchange_id: str, *, actor: str) -> bool:
        """End a replacement: the older numbers are dead, the account is no longer the person's."""
        with self._work.begin() as unit:
            changed = unit.connection.execute(
                update(_EXCHANGE)
                .where(_EXCHANGE.c.exchange_id == exchange_id)
                .where(_EXCHANGE.c.state != ExchangeState.CLOSED.value)
                .values(state=ExchangeState.CLOSED.value, closed_at=unit.now)
            ).rowcount
            if not changed:
                return False
            row = fetch_row(unit, _EXCHANGE, exchange_id=exchange_id)
            account, number = tables.ils_account, tables.identifier
            unit.connection.execute(
                delete(account)
                .where(account.c.person_id == row.person_id, account.c.institution == row.issuer)
                .where(account.c.kind == EXCHANGED_ACCOUNT)
            )
            unit.connection.execute(
                update(number)
                .where(number.c.person_id == row.person_id, number.c.institution == row.issuer)
                .where(number.c.kind == _OLD, number.c.retired_at.is_(None))
                .values(retired_at=unit.now)
            )
            if unit.connection.scalar(
                select(tables.person.c.erased_at).where(tables.person.c.person_id == row.person_id)
            ):
                unit.connection.execute(
                    update(_EXCHANGE)
                    .where(_EXCHANGE.c.exchange_id == exchange_id)
                    .values(old_account="")
                )
            unit.audit(
                "exchange.closed",
                actor=actor,
                subject=row.person_id,
                detail={"exchange": exchange_id},
                institution=row.issuer,
            )
        return True

    def find_exchange(self, exchange_id: str) -> Exchange | None:
        """Return one exchange."""
        with self._work.database.read() as connection:
            row = connection.execute(
                select(_EXCHANGE).where(_EXCHANGE.c.exchange_id == exchange_id)
            ).first()
        return None if row is None else _exchange(row)

    def list_exchanges(
        self, issuer: InstitutionId, states: Collection[ExchangeState]
    ) -> tuple[Exchange, ...]:
        """Return the exchanges of an issuer's cards, oldest first."""
        query = (
            select(_EXCHANGE)
            .where(_EXCHANGE.c.issuer == issuer)
            .where(_EXCHANGE.c.state.in_([state.value for state in states]))
            .order_by(_EXCHANGE.c.begun_at, _EXCHANGE.c.exchange_id)
        )
        with self._work.database.read() as connection:
            return tuple(_exchange(row) for row in connection.execute(query))


def _note_deposit(unit: UnitOfWork, row: Row[Any], refund_by: str, actor: str) -> Row[Any]:
    """Note a deposit that was forgotten at first, and open the task to refund it."""
    unit.connection.execute(
        update(_EXCHANGE)
        .where(_EXCHANGE.c.exchange_id == row.exchange_id)
        .values(deposit_held=True)
    )
    _ask_for_refund(unit, row, refund_by=refund_by, actor=actor)
    return fetch_row(unit, _EXCHANGE, exchange_id=row.exchange_id)


def _ask_for_refund(unit: UnitOfWork, row: Row[Any], *, refund_by: str, actor: str) -> None:
    open_task(
        unit,
        refund_by,
        TaskKind.DEPOSIT_REFUND,
        about=row.exchange_id,
        patron_id=row.person_id,
        detail={"exchange": row.exchange_id, "issuer": row.issuer},
        actor=actor,
    )


def _require_free(
    unit: UnitOfWork, patron_id: PatronId, issuer: str, account: str, numbers: Sequence[str]
) -> None:
    """Raise ``StorageConflict`` when somebody else has the account, or is whom a kiosk finds by one
    of these numbers.
    """
    owned = tables.ils_account
    if unit.connection.scalar(
        select(owned.c.person_id)
        .where(owned.c.institution == issuer, owned.c.ils_patron == account)
        .where(owned.c.person_id != patron_id)
        .limit(1)
    ):
        raise StorageConflict("identifier_taken")
    table = tables.identifier
    read_as = {Identifier(kind, number) for number in numbers for kind in _KINDS_OF_CARDS}
    read_as.update(each for number in numbers for each in normalise_scanned(number))
    digests = [digest for each in read_as for _, digest in unit.keyring.digests(each)]
    other = unit.connection.scalar(
        select(table.c.person_id)
        .where(table.c.digest.in_(digests), table.c.kind.in_({each.kind for each in read_as}))
        .where(table.c.person_id != patron_id)
        .limit(1)
    )
    if other is not None:
        raise StorageConflict("identifier_taken")


def _require_no_account(unit: UnitOfWork, patron_id: PatronId, issuer: InstitutionId) -> None:
    table = tables.ils_account
    there = unit.connection.scalar(
        select(table.c.kind).where(table.c.person_id == patron_id, table.c.institution == issuer)
    )
    if there is not None:
        raise StorageConflict("account_there")


def _add_exchange(
    unit: UnitOfWork,
    patron_id: PatronId,
    institution: InstitutionId,
    issuer: InstitutionId,
    account: IlsPatronId,
    *,
    mode: ExchangeMode,
    state: ExchangeState,
    deposit_held: bool,
    refund_by: str,
    actor: str,
) -> Exchange:
    exchange_id = str(uuid.uuid4())
    unit.connection.execute(
        _EXCHANGE.insert().values(
            exchange_id=exchange_id,
            institution=institution,
            person_id=patron_id,
            issuer=issuer,
            old_account=account,
            mode=mode.value,
            deposit_held=deposit_held,
            state=state.value,
            begun_by=actor,
            begun_at=unit.now,
            closed_at=unit.now if state is ExchangeState.CLOSED else None,
        )
    )
    unit.audit(
        "exchange.begun",
        actor=actor,
        subject=patron_id,
        detail={"exchange": exchange_id, "mode": mode.value},
        institution=institution,
    )
    row = fetch_row(unit, _EXCHANGE, exchange_id=exchange_id)
    if deposit_held or state is ExchangeState.ELSEWHERE:
        _ask_for_refund(unit, row, refund_by=refund_by, actor=actor)
    return _exchange(row)


def _exchange(row: Row[Any]) -> Exchange:
    return Exchange(
        exchange_id=row.exchange_id,
        institution=InstitutionId(row.institution),
        patron_id=PatronId(row.person_id),
        issuer=InstitutionId(row.issuer),
        old_account=IlsPatronId(row.old_account),
        mode=ExchangeMode(row.mode),
        deposit_held=row.deposit_held,
        state=ExchangeState(row.state),
        begun_at=row.begun_at,
    )

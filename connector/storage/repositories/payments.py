"""Payments in the database (``connector.ports.payments.PaymentStore``).

Nothing here talks to an ILS. Rules —

- looking for the same payment and writing it happen under one lock: SQLite's write lock, on
  PostgreSQL an advisory lock of the digest;
- a payment becomes unknown and its task is opened in one transaction, once;
- the payer is in no column but as a keyed digest, and as ``person_id`` where we enrolled him; a
  transaction id that a machine made of his number comes with stars in its place.
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from connector.domain.ids import InstitutionId, PatronId, TerminalId
from connector.errors import NotFound
from connector.ports.payments import (
    AskPayment,
    Payment,
    PaymentAsked,
    PaymentRepeated,
    PaymentState,
    SettledBy,
)
from connector.ports.tasks import TaskKind
from connector.storage import tables
from connector.storage.repositories.tasks import finish_about, open_task
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredPayments"]

_PAYMENT = tables.payment
_OPEN = (PaymentState.ASKED.value, PaymentState.UNKNOWN.value)
_SHORTEST_PREFIX = 8
_LONGEST_ID = 128
_WORKER = "worker"


class StoredPayments:
    """Payments in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def ask(self, request: AskPayment) -> PaymentAsked | PaymentRepeated:
        """Write a payment as ``asked`` unless the same is there."""
        fee = request.fee
        kept_id = fee.transaction_id if request.kept_id is None else request.kept_id
        with self._work.begin() as unit:
            dedupe = unit.keyring.payment_digest(_describe(request))
            if not unit.is_sqlite:
                number = int.from_bytes(bytes.fromhex(dedupe)[:8], "big", signed=True)
                unit.fetch("SELECT pg_advisory_xact_lock(?)", (number,))
            same = _find_same(unit, dedupe, request)
            if same is not None:
                return PaymentRepeated(same)
            payment_id = str(uuid.uuid4())
            unit.connection.execute(
                insert(_PAYMENT).values(
                    payment_id=payment_id,
                    institution=request.institution,
                    terminal=request.terminal,
                    person_id=request.patron_id,
                    dedupe=dedupe,
                    amount=format(fee.amount, "f"),
                    currency=fee.currency,
                    fee_type=fee.fee_type,
                    payment_type=fee.payment_type,
                    transaction_id=kept_id[:_LONGEST_ID],
                    asked_at=unit.now,
                    expires_at=request.expires_at,
                    state=PaymentState.ASKED.value,
                )
            )
            unit.audit(
                "payment.asked",
                actor=request.terminal,
                subject=payment_id,
                institution=request.institution,
            )
            return PaymentAsked(_require(unit, payment_id))

    @retry_once
    def record(
        self,
        payment_id: str,
        state: PaymentState,
        *,
        by: SettledBy = SettledBy.ILS,
        code: str = "",
        transaction_id: str = "",
    ) -> Payment:
        """Write what the ILS said."""
        with self._work.begin() as unit:
            payment = _require(unit, payment_id)
            if payment.state not in {PaymentState.ASKED, PaymentState.UNKNOWN}:
                return payment
            if state is PaymentState.UNKNOWN:
                _become_unknown(unit, payment)
                return _require(unit, payment_id)
            given = transaction_id or payment.transaction_id
            _change(
                unit,
                payment,
                state=state.value,
                ils_code=code[:64],
                transaction_id=given[:_LONGEST_ID],
                settled_at=unit.now,
                settled_by=by.value,
            )
            _end_task(unit, payment, state.value, actor=_WORKER)
            unit.audit(
                f"payment.{state.value}",
                actor=payment.terminal,
                subject=payment_id,
                institution=payment.institution,
            )
            return _require(unit, payment_id)

    @retry_once
    def expire_asked(self, now: datetime) -> int:
        """Turn payments without an answer into ``unknown``."""
        expired = (_PAYMENT.c.state == PaymentState.ASKED.value) & (_PAYMENT.c.expires_at <= now)
        with self._work.database.read() as connection:
            if (
                connection.execute(select(_PAYMENT.c.payment_id).where(expired).limit(1)).first()
                is None
            ):
                return 0
        with self._work.begin() as unit:
            rows = unit.connection.execute(
                select(_PAYMENT).where(expired).with_for_update(skip_locked=True)
            ).all()
            for row in rows:
                _become_unknown(unit, _payment(row))
            return len(rows)

    def list_payments(
        self, *, settled: bool = False, institution: InstitutionId | None = None
    ) -> tuple[Payment, ...]:
        """Return payments that are asked or unknown, or all; oldest first."""
        query = select(_PAYMENT).order_by(_PAYMENT.c.asked_at, _PAYMENT.c.payment_id)
        if not settled:
            query = query.where(_PAYMENT.c.state.in_(_OPEN))
        if institution is not None:
            query = query.where(_PAYMENT.c.institution == institution)
        with self._work.database.read() as connection:
            return tuple(_payment(row) for row in connection.execute(query).all())

    def find_payment(self, payment_id: str) -> Payment | None:
        """Return one payment, by its id or the first eight or more characters of it."""
        if len(payment_id) < _SHORTEST_PREFIX:
            return None
        same = _PAYMENT.c.payment_id.startswith(payment_id, autoescape=True)
        with self._work.database.read() as connection:
            rows = connection.execute(select(_PAYMENT).where(same).limit(2)).all()
        return _payment(rows[0]) if len(rows) == 1 else None

    @retry_once
    def settle(
        self, payment_id: str, state: PaymentState, *, reason: str, actor: str
    ) -> Payment | None:
        """Write what a person has seen, and end the task."""
        with self._work.begin() as unit:
            payment = _require(unit, payment_id)
            if payment.state is not PaymentState.UNKNOWN:
                return None
            _change(unit, payment, state=state.value, settled_at=unit.now, settled_by=actor)
            _end_task(unit, payment, state.value, actor=actor)
            unit.audit(
                "payment.settled",
                actor=actor,
                subject=payment_id,
                detail={"state": state.value, "reason": reason},
                institution=payment.institution,
            )
            return _require(unit, payment_id)


def _describe(request: AskPayment) -> str:
    fee = request.fee
    return json.dumps(
        [
            request.institution,
            request.terminal,
            request.payer.strip(),
            format(fee.amount.normalize(), "f"),
            fee.currency,
            fee.fee_type,
            fee.payment_type,
            fee.fee_id,
            fee.transaction_id,
        ]
    )


def _find_same(unit: UnitOfWork, dedupe: str, request: AskPayment) -> Payment | None:
    """Return the payment that this one repeats."""
    rows = unit.connection.execute(
        select(_PAYMENT)
        .where(_PAYMENT.c.dedupe == dedupe)
        .order_by(_PAYMENT.c.asked_at.desc())
        .with_for_update()
    ).all()
    payments = [_payment(row) for row in rows]
    for payment in payments:
        if payment.state is PaymentState.ASKED and payment.expires_at <= unit.now:
            _become_unknown(unit, payment)
            return _require(unit, payment.payment_id)
        if payment.state.value in _OPEN:
            return payment
    newest = payments[0] if payments else None
    if newest is None or newest.state is not PaymentState.PAID or request.again:
        return None
    if newest.settled_by == SettledBy.ILS_LATE:
        # The kiosk was told "not confirmed": it hears of it once, however late it asks.
        _change(unit, newest, settled_by=SettledBy.ILS.value)
        return newest
    recent = unit.now - (newest.settled_at or newest.asked_at) < request.repeat_within
    return newest if recent or request.fee.transaction_id else None


def _become_unknown(unit: UnitOfWork, payment: Payment) -> None:
    if payment.state is not PaymentState.ASKED:
        return
    _change(unit, payment, state=PaymentState.UNKNOWN.value)
    unit.audit(
        "payment.unknown",
        actor=_WORKER,
        subject=payment.payment_id,
        institution=payment.institution,
    )
    open_task(
        unit,
        payment.institution,
        TaskKind.UNKNOWN_PAYMENT,
        about=payment.payment_id,
        patron_id=payment.patron_id,
        detail={"payment": payment.payment_id, "terminal": payment.terminal},
        actor=_WORKER,
    )


def _end_task(unit: UnitOfWork, payment: Payment, outcome: str, *, actor: str) -> None:
    finish_about(
        unit,
        payment.institution,
        TaskKind.UNKNOWN_PAYMENT,
        about=payment.payment_id,
        outcome=outcome,
        actor=actor,
    )


def _change(unit: UnitOfWork, payment: Payment, **values: object) -> None:
    unit.connection.execute(
        update(_PAYMENT).where(_PAYMENT.c.payment_id == payment.payment_id).values(values)
    )


def _require(unit: UnitOfWork, payment_id: str) -> Payment:
    query = select(_PAYMENT).where(_PAYMENT.c.payment_id == payment_id).with_for_update()
    row = unit.connection.execute(query).first()
    if row is None:
        raise NotFound("payment")
    return _payment(row)


def _payment(row: Row[Any]) -> Payment:
    return Payment(
        payment_id=row.payment_id,
        institution=InstitutionId(row.institution),
        terminal=TerminalId(row.terminal),
        patron_id=None if row.person_id is None else PatronId(row.person_id),
        amount=row.amount,
        currency=row.currency,
        fee_type=row.fee_type,
        payment_type=row.payment_type,
        transaction_id=row.transaction_id,
        asked_at=row.asked_at,
        expires_at=row.expires_at,
        state=PaymentState(row.state),
        ils_code=row.ils_code,
        settled_at=row.settled_at,
        settled_by=row.settled_by,
    )

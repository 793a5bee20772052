"""Payments at kiosks: a row that is committed before the ILS is told, so that none is sent twice.

Nothing here stores, and no money is counted. Rules (SIP2 37; decision 7) —

- a payment whose outcome nobody knows is never sent again; a person settles it;
- a payer whom we did not enrol is not stored: only a keyed digest of who paid what where.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from connector.domain.ids import IlsPatronId, InstitutionId, PatronId, TerminalId
from connector.ports.ils import FeePayment

__all__ = [
    "AskPayment",
    "Payment",
    "PaymentAsked",
    "PaymentRepeated",
    "PaymentState",
    "PaymentStore",
    "SettledBy",
]


class PaymentState(StrEnum):
    """States of a payment: ``asked → paid | refused | unknown``, ``unknown → paid | not_paid``."""

    ASKED = "asked"
    UNKNOWN = "unknown"
    PAID = "paid"
    REFUSED = "refused"
    NOT_PAID = "not_paid"
    """A person has seen that the ILS does not have it."""


class SettledBy(StrEnum):
    """Who told how a payment ended, where it was no person."""

    ILS = "ils"
    ILS_LATE = "ils_late"
    """The ILS said yes after the kiosk had been told "not confirmed": the kiosk does not know."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment; codes are SIP2's.

    Attributes:
        patron_id: None = not one of ours, or erased.
        amount: as a plain decimal.
        transaction_id: BK: the kiosk's; of one that is paid, the ILS's where it gave one.
        expires_at: when a payment without an answer counts as unknown.
        settled_by: ``SettledBy`` or a person.
    """

    payment_id: str
    institution: InstitutionId
    terminal: TerminalId
    patron_id: PatronId | None
    amount: str
    currency: str
    fee_type: str
    payment_type: str
    transaction_id: str
    asked_at: datetime
    expires_at: datetime
    state: PaymentState
    ils_code: str = ""
    settled_at: datetime | None = None
    settled_by: str = ""


@dataclass(frozen=True, slots=True)
class AskPayment:
    """A payment that is about to be sent.

    Attributes:
        payer: under which identifier the ILS knows the patron; only its digest is kept.
        expires_at: when it counts as unknown.
        repeat_within: a paid one that is equal and has no transaction id counts as the same
            payment for so long; one with a transaction id always does.
        again: a paid one is sent to the ILS all the same (observe and bypass).
        kept_id: what is kept of the fee's transaction id, without the payer's number; None = all.
    """

    institution: InstitutionId
    terminal: TerminalId
    payer: IlsPatronId = field(repr=False)
    patron_id: PatronId | None
    fee: FeePayment
    expires_at: datetime
    repeat_within: timedelta
    again: bool = False
    kept_id: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentAsked:
    """The payment is committed as ``asked``: it may be sent."""

    payment: Payment


@dataclass(frozen=True, slots=True)
class PaymentRepeated:
    """The same payment is there already; it must not be sent."""

    payment: Payment


class PaymentStore(Protocol):
    """The payments of every library."""

    def ask(self, request: AskPayment) -> PaymentAsked | PaymentRepeated:
        """Write a payment as ``asked``, atomically, unless the same is there: asked, unknown, or
        paid a moment ago.
        """
        ...

    def record(
        self,
        payment_id: str,
        state: PaymentState,
        *,
        by: SettledBy = SettledBy.ILS,
        code: str = "",
        transaction_id: str = "",
    ) -> Payment:
        """Write what the ILS said: ``paid``, ``refused`` or ``unknown``; the last opens a task.

        From another state than ``asked`` or ``unknown`` nothing changes.
        """
        ...

    def expire_asked(self, now: datetime) -> int:
        """Turn payments without an answer into ``unknown``, each with a task; return how many."""
        ...

    def list_payments(
        self, *, settled: bool = False, institution: InstitutionId | None = None
    ) -> tuple[Payment, ...]:
        """Return payments that are asked or unknown, or all; oldest first."""
        ...

    def find_payment(self, payment_id: str) -> Payment | None:
        """Return one payment, by its id or the first eight or more characters of it."""
        ...

    def settle(
        self, payment_id: str, state: PaymentState, *, reason: str, actor: str
    ) -> Payment | None:
        """Write what a person has seen, and end the task; None = it is not open.

        Args:
            state: ``paid`` or ``not_paid``.
            reason: a code.
        """
        ...

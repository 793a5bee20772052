"""Older cards that become the student card, or give way to it, as the exchange service needs them.

Nothing here stores; ``connector.storage`` does. Rules (A29, A30, decision 21): one person has one
student card; an older account is never overwritten, it becomes ours or is closed when its books are
back; a deposit is the issuing library's business and holds up nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

from connector.domain.ids import IlsPatronId, InstitutionId, PatronId

__all__ = ["Exchange", "ExchangeMode", "ExchangeState", "ExchangeStore"]


class ExchangeMode(StrEnum):
    """What becomes of the older card."""

    ADOPT = "adopt"
    """It is the library's own, and becomes the student card; its number is kept."""
    REPLACE = "replace"
    """It is another library's, and gives way to the student card."""


class ExchangeState(StrEnum):
    """How far an exchange is."""

    BEGUN = "begun"
    """The older account lends nothing more here; its ILS does not know yet."""
    READ_ONLY = "read_only"
    """Its ILS knows; books may still be out."""
    ELSEWHERE = "elsewhere"
    """Its library is none of this process: people have to tell it."""
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One exchange.

    Attributes:
        institution: the library of the student card.
        issuer: the library of the older card, by code or, if it is not ours, by name.
        old_account: the number of the older card; empty when the person was erased.
        deposit_held: the issuer holds a deposit on it.
    """

    exchange_id: str
    institution: InstitutionId
    patron_id: PatronId
    issuer: InstitutionId
    old_account: IlsPatronId = field(repr=False)
    mode: ExchangeMode
    deposit_held: bool
    state: ExchangeState
    begun_at: datetime


class ExchangeStore(Protocol):
    """Exchanges; every method is one transaction, audited."""

    def save_adoption(
        self,
        application_id: str,
        account: IlsPatronId,
        *,
        deposit_held: bool,
        expires: date | None,
        actor: str,
    ) -> Exchange | None:
        """Make an account of the library's own ILS the student card: the application goes
        ``existing_card`` → ``active``, and number, account and standing become the person's.

        With a deposit the library gets the task to refund it. None when the application is in
        another state.

        Raises:
            StorageConflict: another person has the number.
        """
        ...

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
        """Join an older card to a person: its numbers resolve to him, its account is his, of kind
        ``exchanged``. With a deposit the issuer gets the task to refund it. The same one again
        changes nothing.

        Args:
            numbers: what is printed on the card, and the account's own number.
            is_ours: the issuer is a library of this process.

        Raises:
            StorageConflict: ``identifier_taken``, another person has one of the numbers, or
                ``account_there``, the person has another account at the issuer.
        """
        ...

    def note_read_only(self, exchange_id: str) -> bool:
        """Note that the issuer's ILS lends nothing more; say whether that was new."""
        ...

    def close_exchange(self, exchange_id: str, *, actor: str) -> bool:
        """End a replacement: the older numbers are dead, the account is no longer the person's."""
        ...

    def find_exchange(self, exchange_id: str) -> Exchange | None:
        """Return one exchange."""
        ...

    def list_exchanges(
        self, issuer: InstitutionId, states: Collection[ExchangeState]
    ) -> tuple[Exchange, ...]:
        """Return the exchanges of an issuer's cards, oldest first."""
        ...

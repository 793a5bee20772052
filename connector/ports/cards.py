"""Cards that people hold, and the numbers that they answer to, as the card service needs them.

Nothing here stores; ``connector.storage`` does. Rules: A11, A25, scenario 34; a number that was
reported lost is dead from that transaction on, whatever the ILS says later.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from connector.domain.card import CardRange
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId

__all__ = ["CARD_CHANGING", "CardIssue", "CardKind", "CardStore", "HeldNumbers", "NumberChange"]

CARD_CHANGING = "card_changing"
"""Code of an open card whose number the ILS has still to change."""


class CardKind(StrEnum):
    """What was given out."""

    PHYSICAL = "physical"
    ONLINE = "online"


@dataclass(frozen=True, slots=True)
class CardIssue:
    """One card given out.

    Attributes:
        number: the pupil's first, second … of its kind.
        chargeable: more than the free ones (A25); the money is the library's own matter.
        ended_as: ``lost``, ``damaged`` or ``replaced``; empty while it is in use.
    """

    kind: CardKind
    number: int
    chargeable: bool
    issued_by: str
    issued_at: datetime
    ended_at: datetime | None = None
    ended_as: str = ""


@dataclass(frozen=True, slots=True)
class HeldNumbers:
    """How many numbers of a kind somebody has: alive, and dead for good."""

    alive: int = 0
    retired: int = 0


@dataclass(frozen=True, slots=True)
class NumberChange:
    """A card number that is to be another one in the ILS.

    Attributes:
        old: what the ILS answered to when the card was lost.
        new: from the library's range; it stays the same until the ILS has it or says that another
            account has.
    """

    application_id: str
    patron_id: PatronId
    institution: InstitutionId
    old: IlsPatronId = field(repr=False)
    new: IlsPatronId = field(repr=False)


class CardStore(Protocol):
    """Cards and numbers; every writing method is one transaction, audited."""

    def list_issues(self, patron_id: PatronId) -> tuple[CardIssue, ...]:
        """Return the cards given out, oldest first."""
        ...

    def count_numbers(self, patron_id: PatronId) -> Mapping[str, HeldNumbers]:
        """Return how many numbers of each kind somebody has; never the numbers."""
        ...

    def has_number(self, patron_id: PatronId, identifier: Identifier) -> bool:
        """Say whether this number is his, alive or dead."""
        ...

    def issue_physical(
        self, patron_id: PatronId, *, free: int, replaces_damaged: bool, actor: str
    ) -> CardIssue:
        """Note that a physical card is given out.

        Args:
            free: how many are free of charge.
            replaces_damaged: the one he has is damaged; the new one has the same number.

        Raises:
            StorageConflict: ``physical_card_out``, he has one.
            NotFound: there is no such person.
        """
        ...

    def issue_online(self, patron_id: PatronId, token: Identifier, *, actor: str) -> CardIssue:
        """Give him a token; the one before is dead at once."""
        ...

    def begin_change(
        self, patron_id: PatronId, lost: Identifier | None, *, cards: CardRange, actor: str
    ) -> NumberChange | None:
        """Kill every number that hangs on a lost card, and take a new card number for him.

        A change that is under way is returned as it is. None = he gets no new number, since his
        card is not in force.

        Args:
            lost: the number of the lost card; None = he has none.

        Raises:
            StorageConflict: ``reported_before``: that number is dead already.
            ConfigurationError: the range is used up.
            NotFound: there is no such person.
        """
        ...

    def find_change(self, patron_id: PatronId) -> NumberChange | None:
        """Return the change that is under way."""
        ...

    def take_next(
        self, change: NumberChange, *, cards: CardRange, actor: str
    ) -> NumberChange | None:
        """Take another new number, since the ILS has an account with this one; None when the change
        is no longer under way.
        """
        ...

    def finish_change(self, change: NumberChange, *, actor: str) -> bool:
        """Write that the ILS answers to the new number: account, identifier and open loans follow.

        Says whether the change was still under way.
        """
        ...

    def link(self, patron_id: PatronId, identifier: Identifier, *, actor: str) -> None:
        """Give him one more number; raises ``StorageConflict`` when another person has it."""
        ...

    def unlink(self, patron_id: PatronId, kind: str, *, actor: str) -> int:
        """Forget his numbers of a kind, so that another person may have them; return how many."""
        ...

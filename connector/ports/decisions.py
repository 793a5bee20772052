"""What plugins may say about a decision: narrow it, or find a patron. They never widen one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from connector.domain.circulation import Decision
from connector.domain.ids import InstitutionId, TerminalId
from connector.domain.item import Classification, IlsItem
from connector.domain.patron import PatronStanding
from connector.ports.store import Identifier

__all__ = ["DecisionRequest", "Decider", "NoDecider"]


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """What a plugin sees of a decision: no name, no number.

    Attributes:
        action: ``checkout`` or ``renewal``.
    """

    action: str
    institution: InstitutionId
    terminal: TerminalId | None
    standing: PatronStanding
    item: IlsItem
    classification: Classification


class Decider(Protocol):
    """The plugins, as the circulation service sees them."""

    def narrow_decision(self, decision: Decision, request: DecisionRequest) -> Decision:
        """Return the decision after every plugin has had a say; a permission may become a refusal,
        never the reverse.
        """
        ...

    def resolve_patron_identifier(
        self, scanned: str, institution: InstitutionId
    ) -> Sequence[Identifier]:
        """Return further identifiers that a scanned string may stand for, such as a dynamic QR
        code.
        """
        ...


class NoDecider:
    """No plugin has anything to say."""

    def narrow_decision(self, decision: Decision, request: DecisionRequest) -> Decision:
        """Return the decision as it is."""
        del request
        return decision

    def resolve_patron_identifier(
        self, scanned: str, institution: InstitutionId
    ) -> Sequence[Identifier]:
        """Return nothing."""
        del scanned, institution
        return ()

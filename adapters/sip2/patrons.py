"""Patrons by SIP2: 63/64 or 23/24 to read, 01 and 25 to block.

Nothing here opens an account; ``registration`` does where the ILS has a dialect for it. Rules: a
PIN goes out only where one was given; a list of loans is complete only when it is as long as the
ILS's own count.
"""

from __future__ import annotations

from collections.abc import Mapping

from adapters.sip2.base import Budget, Sip2Base
from connector.domain.ids import IlsPatronId
from connector.domain.patron import IlsHold, PatronFacts
from connector.errors import NotFound
from connector.ports.ils import BlockReason, Capability
from connector.sip2.codec import Message

__all__ = ["Sip2Patrons"]

_HOLDS, _CHARGED, _UNAVAILABLE = 0, 2, 5
"""Positions of the summary in 63."""
_MAX_PAGES = 20
_REASONS = {
    BlockReason.CARD_RETAINED: "card retained",
    BlockReason.CARD_LOST: "card lost",
    BlockReason.CONSENT_WITHDRAWN: "account closing",
    BlockReason.CARD_EXCHANGED: "card exchanged",
    BlockReason.CARD_CLOSING: "account closing",
    BlockReason.STAFF: "staff",
}
"""AL, the text that the ILS keeps; it tells nothing about a family's choice."""


class Sip2Patrons(Sip2Base):
    """The ``Patrons`` part of the port, without accounts."""

    def fetch_patron(self, identifier: IlsPatronId, pin: str | None = None) -> PatronFacts:
        """Return what the ILS says about a patron; unknown → ``valid`` False."""
        self.require(Capability.FETCH_PATRON)
        return self.read_patron(identifier, self.budget(), pin=pin)

    def read_patron(
        self, identifier: IlsPatronId, budget: Budget, *, pin: str | None = None
    ) -> PatronFacts:
        """Read a patron within the time of a call."""
        as_of = self.now()
        sent = pin if self.settings.patron_pin != "never" else None
        if "63" not in self.answered:
            answer = self.ask("23", budget, values={"AA": identifier}, pin=sent)
            return self.answers.read_patron(identifier, answer, as_of, pin=sent)
        answer = self._ask_patron(identifier, _CHARGED, budget, pin=sent)
        charged = answer.get_all("AU")
        if self.settings.charged_paged:
            charged = self._read_pages(identifier, answer, charged, budget)
        return self.answers.read_patron(identifier, answer, as_of, pin=sent, charged=charged)

    def _ask_patron(
        self,
        identifier: IlsPatronId,
        position: int,
        budget: Budget,
        *,
        pin: str | None = None,
        start: int = 0,
        end: int = 0,
    ) -> Message:
        summary = "".join("Y" if place == position else " " for place in range(10))
        values: dict[str, str | None] = {"AA": identifier}
        if start:
            values |= {"BP": str(start), "BQ": str(end)}
        return self.ask("63", budget, fixed={"summary": summary}, values=values, pin=pin)

    def _read_pages(
        self, identifier: IlsPatronId, first: Message, charged: list[str], budget: Budget
    ) -> list[str]:
        """Ask for the rest of a list that the ILS cuts; one that ignores BP gives nothing new."""
        text = first.fixed.get("charged_count", "").strip()
        total = int(text) if text.isascii() and text.isdigit() else 0
        for _ in range(_MAX_PAGES):
            if not charged or len(charged) >= total:
                break
            page = self._ask_patron(
                identifier, _CHARGED, budget, start=len(charged) + 1, end=total
            ).get_all("AU")
            new = [value for value in page if value not in charged]
            if not new:
                break
            charged = charged + new
        return charged

    def verify_pin(self, identifier: IlsPatronId, pin: str) -> bool:
        """Say whether the PIN is right; an empty one never is, though some systems say so."""
        self.require(Capability.VERIFY_PIN)
        if not pin:
            return False
        facts = self.read_patron(identifier, self.budget(), pin=pin)
        return facts.valid and facts.pin_valid is True

    def block_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Block the card (01). Some systems end it so for good: see the README."""
        self.require(Capability.BLOCK_PATRON)
        retained = "Y" if reason is BlockReason.CARD_RETAINED else "N"
        self._change(
            "01", identifier, fixed={"card_retained": retained}, values={"AL": _REASONS[reason]}
        )

    def unblock_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Enable the card (25); SIP2 has no reasons, so whatever blocked it is undone."""
        self.require(Capability.UNBLOCK_PATRON)
        del reason
        self._change("25", identifier)

    def _change(
        self,
        code: str,
        identifier: IlsPatronId,
        *,
        fixed: Mapping[str, str] | None = None,
        values: Mapping[str, str] | None = None,
    ) -> None:
        now = self.now()
        message = self.requests.build(
            code, now, fixed=fixed, values={"AA": identifier, **(values or {})}
        )
        answer = self.exchange(message, timeout_s=self.budget().left_s, changes=True)
        if not self.answers.read_patron(identifier, answer, now, pin=None).valid:
            raise NotFound("patron")

    def list_holds(self, patron: IlsPatronId) -> tuple[IlsHold, ...]:
        """Return the patron's holds, by titles where the ILS lists no barcodes."""
        self.require(Capability.LIST_HOLDS)
        budget = self.budget()
        waiting = self._ask_patron(patron, _HOLDS, budget)
        unavailable = self._ask_patron(patron, _UNAVAILABLE, budget)
        return self.answers.read_holds(waiting, unavailable)

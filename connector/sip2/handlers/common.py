"""What every handler of the gateway shares: one request under way, and the way from a message to an
exchange.

Nothing here answers. Rules: decisions 14, 16, 17 — ``no block = Y`` counts only where the terminal
may upload off-line transactions; a terminal's own date counts only then, or in a book drop, only
when its clock has been compared with ours, and only within bounds. What was scanned (AA, AB) loses
the blanks and control characters around it here and nowhere else; answers echo it as it came.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from connector.domain.circulation import Reason
from connector.domain.identity import mask_name, mask_number, normalise_scanned
from connector.domain.ids import Barcode
from connector.domain.library import Library
from connector.domain.wire import WireMessage
from connector.ports.ils import ExchangeContext
from connector.ports.ledger import Place
from connector.services.desk import Exchange
from connector.services.patrons import PatronService
from connector.sip2.clocks import TerminalClocks
from connector.sip2.codec import Message, format_date, parse_date
from connector.sip2.dispatch import Exchange as Turn
from connector.sip2.replies import build_refusal
from connector.sip2.screen import ScreenTexts, language_of
from connector.sip2.terminal import Permission, Terminal, TerminalKind

__all__ = ["Answering", "flag"]

_OLDEST_UPLOAD = timedelta(days=7)
_CLOCK_SLACK = timedelta(minutes=5)
_LEAST_TIMEOUT_S = 0.2
_SCANNED = frozenset({"AA", "AB"})
_AROUND = "".join(map(chr, (*range(0x21), 0x7F, *range(0x80, 0xA1), 0x3000)))
_STAFF = frozenset({TerminalKind.DESK, TerminalKind.SORTER})


def flag(value: bool | None) -> str:  # noqa: FBT001 - a wire flag is a flag
    """Return Y, N or U."""
    return "U" if value is None else "Y" if value else "N"


@dataclass(frozen=True, slots=True)
class Answering:
    """One request under way: what a handler needs to answer it."""

    request: Message
    turn: Turn
    library: Library
    texts: ScreenTexts
    patrons: PatronService
    clocks: TerminalClocks
    now: datetime
    ils_timeout_s: float

    @property
    def terminal(self) -> Terminal:
        """The machine that asks."""
        return self.turn.terminal

    @property
    def language(self) -> str:
        """Language of the request, else of the terminal."""
        code = self.request.fixed.get("language") or self.turn.language
        return language_of(code, self.terminal.language)

    @property
    def institution(self) -> str:
        """AO: echo what was sent, else our code."""
        return self.request.get("AO") or self.library.code

    @property
    def item(self) -> Barcode:
        """The item that was scanned, as the library's ILS writes it."""
        return self.library.barcodes.normalise(self.scanned("AB"))

    @property
    def is_staff(self) -> bool:
        """Staff stand at the machine, or nobody does."""
        return self.terminal.kind in _STAFF

    def scanned(self, tag: str) -> str:
        """Return what was scanned or typed, without blanks and control characters around it."""
        return self.request.get(tag).strip(_AROUND)

    def stamp(self) -> str:
        """Return the transaction date of an answer."""
        return format_date(self.now, self.library.zone)

    def say(self, key: str, *, limit: int | None = None, due: datetime | None = None) -> str:
        """Return a screen message in the right language."""
        return self.texts.render(
            key,
            self.language,
            limit=limit,
            due=due,
            zone=self.library.zone,
            own=self.terminal.messages,
        )

    def refuse(self, reason: Reason, *, message: str = "", limit: int | None = None) -> Message:
        """Return the refusal of the right pair; the ILS's own words win over our template."""
        self.turn.reason = reason
        key: str = reason
        if reason is Reason.OUTCOME_UNKNOWN and self.request.code != "11":
            key = "unknown_outcome"  # what is said at a checkout, "leave the item", fits no other
        refused = build_refusal(
            self.request,
            institution=self.institution,
            screen_message=message or self.say(key, limit=limit),
            now=self.now,
            zone=self.library.zone,
        )
        if self.terminal.mask_id:
            refused.fields = [
                (tag, self.show_patron() if tag == "AA" else value) for tag, value in refused.fields
            ]
        return refused

    def permits(self, permission: Permission) -> bool:
        """Say whether the terminal may do this."""
        return permission in self.terminal.permissions

    def show_name(self, name: str) -> str:
        """Return AE as this terminal may show it."""
        return mask_name(name) if self.terminal.mask_name else name

    def show_patron(self) -> str:
        """Return AA as this terminal may echo it: an identity number is masked with ``mask_id``."""
        return self.show_number(self.request.get("AA"))

    def show_number(self, number: str) -> str:
        """Return a patron's number as this terminal may show it."""
        if not self.terminal.mask_id:
            return number
        kinds = {identifier.kind for identifier in normalise_scanned(number)}
        return mask_number(number) if kinds & {"id_card", "student_no"} else number

    def to_exchange(self) -> Exchange:
        """Return the request as the services know it."""
        at = self._moment()
        no_block = self._is_upload()
        timeout_s = max(
            _LEAST_TIMEOUT_S, min(self.ils_timeout_s, self.turn.deadline - time.monotonic() - 0.5)
        )
        terminal = self.terminal
        return Exchange(
            institution=self.library.code,
            place=Place(
                institution=self.library.code,
                at=at,
                local_date=self.library.today(at),
                branch=terminal.branch,
                terminal=terminal.terminal_id,
                kind=terminal.kind.value,
            ),
            context=ExchangeContext(
                at=at,
                branch=terminal.branch,
                terminal=terminal.terminal_id,
                pin=self.request.get("AD") or None,
                fee_acknowledged=self.request.get("BO") == "Y",
                no_block=no_block,
                timeout_s=timeout_s,
                location=terminal.location,
                register=terminal.register,
                request=self._as_wire(),
            ),
            scanned_item=self.scanned("AB"),
            scanned_patron=self.scanned("AA"),
            slot=self.turn.slot,
            pin_rule=terminal.pin,
            returned_at=self._returned_at() if self.request.code == "09" else None,
            may_renew=self.request.fixed.get("sc_renewal_policy") == "Y",
        )

    def _as_wire(self) -> WireMessage:
        """Return the terminal's message for an ILS that speaks SIP2."""
        request = self.request
        fields = [
            (tag, value.strip(_AROUND) if tag in _SCANNED else value)
            for tag, value in request.fields
        ]
        return WireMessage(request.code, dict(request.fixed), tuple(fields))

    def _is_upload(self) -> bool:
        return self.request.fixed.get("no_block") == "Y" and self.permits(Permission.OFFLINE_UPLOAD)

    def _moment(self) -> datetime:
        """Return when it happened: now, or the terminal's date of an off-line upload."""
        if not self._is_upload():
            return self.now
        fixed = self.request.fixed
        return self._bounded(fixed.get("return_date") or fixed.get("transaction_date", ""))

    def _returned_at(self) -> datetime | None:
        """Return when what lies in a book drop was returned: at the last closing (decision 17)."""
        if self.terminal.kind is not TerminalKind.BOOKDROP or self._is_upload():
            return None
        closing = self.library.last_closing(self.now)
        return closing or self._bounded(self.request.fixed.get("return_date", ""))

    def _bounded(self, stamp: str) -> datetime:
        """Return the terminal's date, mended by what its clock is off, where it can be right; else
        now.
        """
        offset = self.clocks.find_offset(self.terminal.terminal_id, self.now)
        told = parse_date(stamp, self.terminal.zone) if stamp.strip() else None
        if offset is None or told is None:
            return self.now
        claimed = told - offset
        if not self.now - _OLDEST_UPLOAD <= claimed <= self.now + _CLOCK_SLACK:
            return self.now
        return min(claimed, self.now)

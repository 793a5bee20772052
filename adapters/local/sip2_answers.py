"""The embedded ILS's answers to the messages of SIP2 2.00, in its own words and by its own rules.

Nothing here reads a socket (``sip2_server``) or knows any policy of the connector. Rules:
everything is asked of the adapter; ``no block = Y`` records what has happened; an item that the
patron has already is renewed by a checkout where the terminal's renewal policy is Y and the ILS is
set so; the ILS's own clock dates what was not recorded off-line.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final

from adapters.local.adapter import LocalAdapter
from adapters.local.mapping import is_overdue
from connector.domain.ids import Barcode, BranchId, IlsPatronId, TerminalId
from connector.domain.item import IlsItem
from connector.domain.patron import PatronFacts, PatronFlag
from connector.errors import NotFound
from connector.ports.ils import (
    BlockReason,
    CheckoutResult,
    ExchangeContext,
    FeePayment,
    HoldRequest,
    HoldResult,
)
from connector.sip2.codec import Message, format_patron_status
from connector.sip2.timestamps import format_date, parse_date

__all__ = ["Caller", "Sip2Answers"]

_DONE: Final = {
    "12": ("借书成功", "Checked out"),
    "30": ("续借成功", "Renewed"),
    "10": ("还书成功", "Checked in"),
    "66": ("续借成功", "Renewed"),
    "38": ("缴费成功", "Paid"),
}
_SUPPORTED: Final = "Y" * 16
_BY_STAFF: Final = (BlockReason.STAFF, BlockReason.CARD_RETAINED)
_Fields = list[tuple[str, str]]


@dataclass(slots=True)
class Caller:
    """One connection: who logged in, and where the terminal stands (CP)."""

    user: str = ""
    location: str = ""
    logged_in: bool = False


class Sip2Answers:
    """The messages of the standard, one method each.

    Args:
        renew_on_checkout: what a checkout of an item means that the patron has already, when the
            terminal's renewal policy is Y; False = it is refused as ``already_charged``.
    """

    def __init__(self, adapter: LocalAdapter, *, renew_on_checkout: bool = True) -> None:
        self.adapter = adapter
        self._renew_on_checkout = renew_on_checkout
        self.answers: dict[str, Callable[[Message, Caller], Message]] = {
            "01": self._block,
            "09": self._checkin,
            "11": self._checkout,
            "15": self._hold,
            "17": self._item,
            "19": self._item_status,
            "23": self._patron_status,
            "25": self._enable,
            "29": self._renew,
            "35": self._end_session,
            "37": self._fee_paid,
            "63": self._patron_information,
            "65": self._renew_all,
            "99": self._status,
        }

    # -- patrons -----------------------------------------------------------------------------------

    def _patron_status(self, request: Message, _caller: Caller) -> Message:
        facts = self._read_patron(request)
        return Message("24", self._patron_fixed(request, facts), self._patron_fields(facts))

    def _patron_information(self, request: Message, _caller: Caller) -> Message:
        facts = self._read_patron(request)
        waiting = [hold for hold in facts.holds if hold.available]
        coming = [hold for hold in facts.holds if not hold.available]
        overdue: list[str] = [
            loan.barcode
            for loan in facts.loans
            if loan.due is not None and is_overdue(loan.due, facts.as_of, self.adapter.zone)
        ]
        lists: tuple[tuple[str, str, list[str]], ...] = (
            ("hold_count", "AS", [hold.barcode or hold.title for hold in waiting]),
            ("overdue_count", "AT", overdue),
            ("charged_count", "AU", [loan.barcode for loan in facts.loans]),
            ("fine_count", "AV", [f"{fee.fee_id} {fee.amount:.2f}" for fee in facts.fees]),
            ("recall_count", "BU", []),
            ("unavailable_hold_count", "CD", [hold.barcode or hold.title for hold in coming]),
        )
        fixed = self._patron_fixed(request, facts)
        fixed |= {name: str(len(values)) for name, _, values in lists}
        fields = self._patron_fields(facts)
        if facts.loan_limit is not None:
            fields.append(("CB", f"{min(facts.loan_limit, 9999):04}"))
        if facts.valid and self.adapter.settings.fee_limit is not None:
            fields.append(("CC", f"{self.adapter.settings.fee_limit:.2f}"))
        begin, end = _range(request)
        summary = request.fixed.get("summary", "")
        for asked, (_, tag, values) in zip(summary, lists, strict=False):
            if asked == "Y":
                fields += [(tag, value) for value in values[begin:end]]
        if facts.phone:
            fields.append(("BF", facts.phone))
        if facts.expires is not None:
            fields.append(("PA", f"{facts.expires:%Y%m%d}"))
        if facts.birth_date is not None:
            fields.append(("PB", f"{facts.birth_date:%Y%m%d}"))
        if facts.category:
            fields.append(("PC", facts.category))
        return Message("64", fixed, fields)

    def _end_session(self, request: Message, _caller: Caller) -> Message:
        fields = [("AO", self.adapter.institution_id), ("AA", request.get("AA"))]
        return Message("36", {"end_session": "Y", **self._date()}, fields)

    def _block(self, request: Message, _caller: Caller) -> Message:
        retained = request.fixed.get("card_retained") == "Y"
        reason = BlockReason.CARD_RETAINED if retained else BlockReason.STAFF
        with suppress(NotFound):  # the answer says that the card is not known
            self.adapter.block_patron(IlsPatronId(request.get("AA")), reason)
        return self._patron_status(request, _caller)

    def _enable(self, request: Message, _caller: Caller) -> Message:
        with suppress(NotFound):
            for reason in _BY_STAFF:
                self.adapter.unblock_patron(IlsPatronId(request.get("AA")), reason)
        answer = self._patron_status(request, _caller)
        return Message("26", answer.fixed, answer.fields)

    def _read_patron(self, request: Message) -> PatronFacts:
        return self.adapter.fetch_patron(
            IlsPatronId(request.get("AA")), pin=request.get("AD") or None
        )

    def _patron_fixed(self, request: Message, facts: PatronFacts) -> dict[str, str]:
        flags = facts.flags
        if not facts.valid:
            flags = frozenset(list(PatronFlag)[:4])
        return {
            "patron_status": format_patron_status(flags),
            "language": request.fixed.get("language", "000"),
            **self._date(),
        }

    def _patron_fields(self, facts: PatronFacts) -> _Fields:
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("AA", facts.ils_patron),
            ("AE", facts.name),
            ("BL", _yes(is_so=facts.valid)),
        ]
        if facts.pin_valid is not None:
            fields.append(("CQ", _yes(is_so=facts.pin_valid)))
        if facts.fees:
            fields += [("BH", facts.currency), ("BV", f"{facts.fee_total:.2f}")]
        return fields + _screen(facts.message)

    # -- loans -------------------------------------------------------------------------------------

    def _checkout(self, request: Message, caller: Caller) -> Message:
        patron, barcode = IlsPatronId(request.get("AA")), Barcode(request.get("AB"))
        context = self._context(request, caller)
        due = self._due(request) if context.no_block else None
        if self._renew_on_checkout and request.fixed.get("sc_renewal_policy") == "Y":
            loan = self.adapter.fetch_item_loan(barcode)
            owner = self.adapter.fetch_patron(patron)
            if loan is not None and owner.valid and loan.patron == owner.ils_patron:
                return self._lent(
                    "12", request, self.adapter.renew(patron, barcode, context, due=due)
                )
        return self._lent("12", request, self.adapter.checkout(patron, barcode, context, due=due))

    def _renew(self, request: Message, caller: Caller) -> Message:
        context = self._context(request, caller)
        due = self._due(request) if context.no_block else None
        patron, barcode = IlsPatronId(request.get("AA")), request.get("AB")
        if not barcode and request.get("AJ"):
            barcode = next(
                (
                    loan.barcode
                    for loan in self.adapter.fetch_patron(patron).loans
                    if loan.title == request.get("AJ")
                ),
                "",
            )
        done = self.adapter.renew(patron, Barcode(barcode), context, due=due)
        return self._lent("30", request, done, barcode)

    def _renew_all(self, request: Message, caller: Caller) -> Message:
        facts = self._read_patron(request)
        context = self._context(request, caller)
        renewed: list[str] = []
        left: list[str] = []
        for loan in facts.loans:
            done = self.adapter.renew(facts.ils_patron, loan.barcode, context)
            (renewed if done.ok else left).append(loan.barcode)
        fixed = {
            "ok": "1" if facts.valid else "0",
            "renewed_count": str(len(renewed)),
            "unrenewed_count": str(len(left)),
            **self._date(),
        }
        fields = [("AO", str(self.adapter.institution_id))]
        fields += [("BM", barcode) for barcode in renewed] + [("BN", barcode) for barcode in left]
        return Message("66", fixed, fields + _screen(facts.message or self._done("66")))

    def _lent(
        self, code: str, request: Message, done: CheckoutResult, barcode: str = ""
    ) -> Message:
        fixed = {
            "ok": "1" if done.ok else "0",
            "renewal_ok": _yes(is_so=done.renewed),
            "magnetic": "U" if done.magnetic is None else _yes(is_so=done.magnetic),
            "desensitize": _yes(is_so=done.ok),
            **self._date(),
        }
        due = "" if done.due is None else format_date(done.due, self.adapter.zone)
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("AA", request.get("AA")),
            ("AB", barcode or request.get("AB")),
            ("AJ", done.title),
            ("AH", due),
        ]
        if done.fee is not None:
            fields += [
                ("BT", done.fee.fee_type),
                ("BH", done.fee.currency),
                ("BV", f"{done.fee.amount:.2f}"),
            ]
        if done.media_type:
            fields.append(("CK", done.media_type))
        said = done.message or (self._done(code) if done.ok else "")
        return Message(code, fixed, fields + _screen(said))

    def _checkin(self, request: Message, caller: Caller) -> Message:
        returned = parse_date(request.fixed.get("return_date", ""), self.adapter.zone)
        context = self._context(request, caller, branch=request.get("AP") or caller.location)
        done = self.adapter.checkin(Barcode(request.get("AB")), context, returned_at=returned)
        fixed = {
            "ok": "1" if done.ok else "0",
            "resensitize": _yes(is_so=done.ok),
            "magnetic": "U" if done.magnetic is None else _yes(is_so=done.magnetic),
            "alert": _yes(is_so=done.alert is not None),
            **self._date(),
        }
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("AB", request.get("AB")),
            ("AQ", done.permanent_location),
            ("AJ", done.title),
        ]
        more = (
            ("CL", done.sort_bin),
            ("AA", done.patron or ""),
            ("CK", done.media_type),
            ("CH", done.properties),
            ("CR", done.collection),
            ("CS", done.call_number),
            ("CT", done.destination),
            ("CV", done.alert.value if done.alert is not None else ""),
            ("CY", done.hold_patron or ""),
            ("DA", done.hold_patron_name),
        )
        fields += [(tag, value) for tag, value in more if value]
        return Message(
            "10", fixed, fields + _screen(done.message or (self._done("10") if done.ok else ""))
        )

    # -- items -------------------------------------------------------------------------------------

    def _item(self, request: Message, _caller: Caller) -> Message:
        item = self.adapter.fetch_item(Barcode(request.get("AB")))
        if item is None:
            fields = [("AB", request.get("AB")), ("AJ", "")]
            return Message(
                "18",
                {"circulation_status": "01", "security_marker": "00", **self._date()},
                fields + _screen(self.adapter.say("unknown_item")),
            )
        fixed = {
            "circulation_status": item.status.value,
            "security_marker": "01",
            "fee_type": "06" if item.fee else "01",
            **self._date(),
        }
        return Message("18", fixed, self._item_fields(item))

    def _item_fields(self, item: IlsItem) -> _Fields:
        due = "" if item.due is None else format_date(item.due, self.adapter.zone)
        pairs = (
            ("CF", str(item.hold_count) if item.hold_count else ""),
            ("AH", due),
            ("BG", str(self.adapter.institution_id)),
            ("BH", item.currency if item.fee else ""),
            ("BV", f"{item.fee:.2f}" if item.fee else ""),
            ("CK", item.media_type),
            ("AQ", item.permanent_location),
            ("AP", item.current_location),
            ("CH", item.properties),
            ("CR", item.collection),
            ("CS", item.call_number),
            ("CY", item.held_for or ""),
        )
        return [
            ("AB", str(item.barcode)),
            ("AJ", item.title),
            *((tag, value) for tag, value in pairs if value),
        ]

    def _item_status(self, request: Message, _caller: Caller) -> Message:
        barcode, properties = Barcode(request.get("AB")), request.get("CH")
        known = self.adapter.update_item_status(barcode, properties)
        item = self.adapter.fetch_item(barcode) if known else None
        fields = [("AB", str(barcode)), ("AJ", item.title if item else ""), ("CH", properties)]
        said = "" if known else self.adapter.say("unknown_item")
        fixed = {"item_properties_ok": "1" if known else "0", **self._date()}
        return Message("20", fixed, fields + _screen(said))

    # -- holds, fees, status -----------------------------------------------------------------------

    def _hold(self, request: Message, caller: Caller) -> Message:
        patron = IlsPatronId(request.get("AA"))
        wanted = HoldRequest(
            barcode=Barcode(request.get("AB")) if request.get("AB") else None,
            title=request.get("AJ"),
            pickup=request.get("BS"),
            hold_type=request.get("BY") or "2",
            expires=parse_date(request.get("BW"), self.adapter.zone),
        )
        context = self._context(request, caller)
        if request.fixed.get("hold_mode") == "-":
            done = self.adapter.cancel_hold(patron, wanted, context)
        else:  # a change is a hold on the same title with another pickup place
            done = self.adapter.place_hold(patron, wanted, context)
        fixed = {
            "ok": "1" if done.ok else "0",
            "available": _yes(is_so=done.available),
            **self._date(),
        }
        fields = [("AO", str(self.adapter.institution_id)), ("AA", request.get("AA"))]
        return Message("16", fixed, fields + self._hold_fields(request, done))

    def _hold_fields(self, request: Message, done: HoldResult) -> _Fields:
        expires = "" if done.expires is None else format_date(done.expires, self.adapter.zone)
        pairs = (
            ("BW", expires),
            ("BR", str(done.queue_position) if done.queue_position else ""),
            ("BS", done.pickup),
            ("AB", done.barcode or request.get("AB")),
            ("AJ", done.title),
            ("AF", done.message),
        )
        return [(tag, value) for tag, value in pairs if value]

    def _fee_paid(self, request: Message, caller: Caller) -> Message:
        try:
            amount = Decimal(request.get("BV"))
        except InvalidOperation:
            amount = Decimal(0)  # which is never the right amount
        payment = FeePayment(
            amount=amount,
            currency=request.fixed.get("currency", "").strip(),
            fee_type=request.fixed.get("fee_type", ""),
            payment_type=request.fixed.get("payment_type", ""),
            fee_id=request.get("CG"),
            transaction_id=request.get("BK"),
        )
        done = self.adapter.pay_fee(
            IlsPatronId(request.get("AA")), payment, self._context(request, caller)
        )
        fields = [("AO", str(self.adapter.institution_id)), ("AA", request.get("AA"))]
        if done.transaction_id:
            fields.append(("BK", done.transaction_id))
        said = done.message or (self._done("38") if done.ok else "")
        fixed = {"payment_accepted": _yes(is_so=done.ok), **self._date()}
        return Message("38", fixed, fields + _screen(said))

    def _status(self, _request: Message, caller: Caller) -> Message:
        now = format_date(self.adapter.now(), self.adapter.zone)
        fixed = {
            "online": "Y",
            "checkin_ok": "Y",
            "checkout_ok": "Y",
            "acs_renewal_policy": "Y",
            "status_update_ok": "Y",
            "offline_ok": "Y",
            "timeout_period": "100",
            "retries_allowed": "003",
            "date_time_sync": now,
            "protocol_version": "2.00",
        }
        fields = [("AO", str(self.adapter.institution_id)), ("BX", _SUPPORTED)]
        if caller.location:
            fields.append(("AN", caller.location))
        return Message("98", fixed, fields)

    # -- shared ------------------------------------------------------------------------------------

    def _context(self, request: Message, caller: Caller, *, branch: str = "") -> ExchangeContext:
        no_block = request.fixed.get("no_block") == "Y"
        now = self.adapter.now()
        stated = parse_date(request.fixed.get("transaction_date", ""), self.adapter.zone)
        return ExchangeContext(
            at=min(stated, now) if no_block and stated is not None else now,
            branch=BranchId(branch) if branch else None,
            terminal=TerminalId(caller.user or "sip2"),
            pin=request.get("AD") or None,
            fee_acknowledged=request.get("BO") == "Y",
            no_block=no_block,
        )

    def _due(self, request: Message) -> datetime | None:
        return parse_date(request.fixed.get("nb_due_date", ""), self.adapter.zone)

    def _date(self) -> dict[str, str]:
        return {"transaction_date": format_date(self.adapter.now(), self.adapter.zone)}

    def _done(self, code: str) -> str:
        chinese, english = _DONE[code]
        return english if self.adapter.settings.language == "en" else chinese


def _yes(*, is_so: bool) -> str:
    return "Y" if is_so else "N"


def _screen(message: str) -> _Fields:
    return [("AF", message)] if message else []


def _range(request: Message) -> tuple[int, int | None]:
    """Return where the wanted lines of a list begin and end; BP and BQ count from one."""
    begin, end = request.get("BP").strip(), request.get("BQ").strip()
    first = max(int(begin) - 1, 0) if begin.isdecimal() else 0
    return first, int(end) if end.isdecimal() else None

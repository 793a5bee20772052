"""The embedded ILS's answers about loans, items and holds: 09, 11, 15, 17, 19, 29, 65, 99 of SIP2.

Nothing here reads a socket (``sip2_server``) or knows any policy of the connector. Rules:
everything is asked of the adapter and said in its words; ``no block = Y`` records what has
happened; an item that the patron has already is renewed by a checkout where the terminal's renewal
policy is Y and the ILS is set so.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Final

from adapters.local.adapter import LocalAdapter
from adapters.local.sip2_base import Caller, Fields, Sip2Base, screen, yes
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import IlsItem
from connector.ports.ils import CheckoutResult, HoldRequest, HoldResult
from connector.sip2.codec import Message
from connector.sip2.timestamps import format_date, parse_date

__all__ = ["Sip2Answers"]

_SUPPORTED: Final = "Y" * 16


class Sip2Answers(Sip2Base):
    """One method per message.

    Args:
        renew_on_checkout: what a checkout of an item means that the patron has already, when the
            terminal's renewal policy is Y; False = it is refused as ``already_charged``.
    """

    def __init__(self, adapter: LocalAdapter, *, renew_on_checkout: bool = True) -> None:
        super().__init__(adapter)
        self._renew_on_checkout = renew_on_checkout
        self.answers: dict[str, Callable[[Message, Caller], Message]] = {
            "09": self._checkin,
            "11": self._checkout,
            "15": self._hold,
            "17": self._item,
            "19": self._item_status,
            "29": self._renew,
            "65": self._renew_all,
            "99": self._status,
        }

    # -- loans -------------------------------------------------------------------------------------

    def _checkout(self, request: Message, caller: Caller) -> Message:
        patron, barcode = IlsPatronId(request.get("AA")), Barcode(request.get("AB"))
        context = self.context(request, caller)
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
        context = self.context(request, caller)
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
        facts = self.adapter.fetch_patron(IlsPatronId(request.get("AA")))
        context = self.context(request, caller)
        renewed: list[str] = []
        left: list[str] = []
        for loan in facts.loans:
            done = self.adapter.renew(facts.ils_patron, loan.barcode, context)
            (renewed if done.ok else left).append(loan.barcode)
        fixed = {
            "ok": "1" if facts.valid else "0",
            "renewed_count": str(len(renewed)),
            "unrenewed_count": str(len(left)),
            **self.date(),
        }
        fields = [("AO", str(self.adapter.institution_id))]
        fields += [("BM", barcode) for barcode in renewed] + [("BN", barcode) for barcode in left]
        return Message("66", fixed, fields + screen(facts.message or self.done("66")))

    def _lent(
        self, code: str, request: Message, done: CheckoutResult, barcode: str = ""
    ) -> Message:
        fixed = {
            "ok": "1" if done.ok else "0",
            "renewal_ok": yes(is_so=done.renewed),
            "magnetic": "U" if done.magnetic is None else yes(is_so=done.magnetic),
            "desensitize": yes(is_so=done.ok),
            **self.date(),
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
        said = done.message or (self.done(code) if done.ok else "")
        return Message(code, fixed, fields + screen(said))

    def _checkin(self, request: Message, caller: Caller) -> Message:
        returned = parse_date(request.fixed.get("return_date", ""), self.adapter.zone)
        context = self.context(request, caller, branch=request.get("AP") or caller.location)
        done = self.adapter.checkin(Barcode(request.get("AB")), context, returned_at=returned)
        fixed = {
            "ok": "1" if done.ok else "0",
            "resensitize": yes(is_so=done.ok),
            "magnetic": "U" if done.magnetic is None else yes(is_so=done.magnetic),
            "alert": yes(is_so=done.alert is not None),
            **self.date(),
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
            "10", fixed, fields + screen(done.message or (self.done("10") if done.ok else ""))
        )

    # -- items -------------------------------------------------------------------------------------

    def _item(self, request: Message, _caller: Caller) -> Message:
        item = self.adapter.fetch_item(Barcode(request.get("AB")))
        if item is None:
            fields = [("AB", request.get("AB")), ("AJ", "")]
            return Message(
                "18",
                {"circulation_status": "01", "security_marker": "00", **self.date()},
                fields + screen(self.adapter.say("unknown_item")),
            )
        fixed = {
            "circulation_status": item.status.value,
            "security_marker": "01",
            "fee_type": "06" if item.fee else "01",
            **self.date(),
        }
        return Message("18", fixed, self._item_fields(item))

    def _item_fields(self, item: IlsItem) -> Fields:
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
        fixed = {"item_properties_ok": "1" if known else "0", **self.date()}
        return Message("20", fixed, fields + screen(said))

    # -- holds, status ----------------------------------------------------------------------------

    def _hold(self, request: Message, caller: Caller) -> Message:
        patron = IlsPatronId(request.get("AA"))
        wanted = HoldRequest(
            barcode=Barcode(request.get("AB")) if request.get("AB") else None,
            title=request.get("AJ"),
            pickup=request.get("BS"),
            hold_type=request.get("BY") or "2",
            expires=parse_date(request.get("BW"), self.adapter.zone),
        )
        context = self.context(request, caller)
        if request.fixed.get("hold_mode") == "-":
            done = self.adapter.cancel_hold(patron, wanted, context)
        else:  # a change is a hold on the same title with another pickup place
            done = self.adapter.place_hold(patron, wanted, context)
        fixed = {
            "ok": "1" if done.ok else "0",
            "available": yes(is_so=done.available),
            **self.date(),
        }
        fields = [("AO", str(self.adapter.institution_id)), ("AA", request.get("AA"))]
        return Message("16", fixed, fields + self._hold_fields(request, done))

    def _hold_fields(self, request: Message, done: HoldResult) -> Fields:
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

    def _due(self, request: Message) -> datetime | None:
        return parse_date(request.fixed.get("nb_due_date", ""), self.adapter.zone)

"""The embedded ILS's answers about patrons: 01, 23, 25, 35, 37, 63 of SIP2 2.00.

Nothing here lends (``sip2_answers``). Rules: an unknown card is answered as a blocked one with BL
N, as other ILSs do; 25 undoes what 01 did and no other block.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from typing import Final

from adapters.local.adapter import LocalAdapter
from adapters.local.mapping import is_overdue
from adapters.local.sip2_base import Caller, Fields, Sip2Base, screen, yes
from connector.domain.ids import IlsPatronId
from connector.domain.patron import PatronFacts, PatronFlag
from connector.errors import NotFound
from connector.ports.ils import BlockReason, FeePayment
from connector.sip2.codec import Message, format_patron_status

__all__ = ["Sip2PatronAnswers"]

_BY_STAFF: Final = (BlockReason.STAFF, BlockReason.CARD_RETAINED)


class Sip2PatronAnswers(Sip2Base):
    """One method per message."""

    def __init__(self, adapter: LocalAdapter) -> None:
        super().__init__(adapter)
        self.answers: dict[str, Callable[[Message, Caller], Message]] = {
            "01": self._block,
            "23": self._patron_status,
            "25": self._enable,
            "35": self._end_session,
            "37": self._fee_paid,
            "63": self._patron_information,
        }

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
        return Message("36", {"end_session": "Y", **self.date()}, fields)

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
            **self.date(),
        }

    def _patron_fields(self, facts: PatronFacts) -> Fields:
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("AA", facts.ils_patron),
            ("AE", facts.name),
            ("BL", yes(is_so=facts.valid)),
        ]
        if facts.pin_valid is not None:
            fields.append(("CQ", yes(is_so=facts.pin_valid)))
        if facts.fees:
            fields += [("BH", facts.currency), ("BV", f"{facts.fee_total:.2f}")]
        return fields + screen(facts.message)

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
            IlsPatronId(request.get("AA")), payment, self.context(request, caller)
        )
        fields = [("AO", str(self.adapter.institution_id)), ("AA", request.get("AA"))]
        if done.transaction_id:
            fields.append(("BK", done.transaction_id))
        said = done.message or (self.done("38") if done.ok else "")
        fixed = {"payment_accepted": yes(is_so=done.ok), **self.date()}
        return Message("38", fixed, fields + screen(said))


def _range(request: Message) -> tuple[int, int | None]:
    """Return where the wanted lines of a list begin and end; BP and BQ count from one."""
    begin, end = request.get("BP").strip(), request.get("BQ").strip()
    first = max(int(begin) - 1, 0) if begin.isdecimal() else 0
    return first, int(end) if end.isdecimal() else None

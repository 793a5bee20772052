"""What an ILS's answers mean: messages 10, 12, 16, 18, 30 and 38 as values of the port.

Nothing here sends. Rules: what is not told is None or empty, never a guess; only ``Y`` and 1 are
yes.
"""

from __future__ import annotations

from decimal import Decimal

from adapters.sip2.patron_mapping import PatronAnswers
from adapters.sip2.reading import (
    get_first,
    read_amount,
    read_codes,
    read_count,
    read_flag,
    said,
    to_wire,
)
from connector.domain.barcodes import is_same_label
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.patron import Fee
from connector.ports.ils import (
    AlertType,
    CheckinResult,
    CheckoutResult,
    FeeResult,
    HoldResult,
)
from connector.sip2.codec import Message

__all__ = ["Answers"]


class Answers(PatronAnswers):
    """Reads the answers of one ILS."""

    # -- loans -------------------------------------------------------------------------------------

    def read_checkout(self, answer: Message) -> CheckoutResult:
        """Read 12 or 30."""
        ok = self.is_ok(answer)
        is_renewal = answer.code == "30"
        flag = answer.fixed.get("renewal_ok") == "Y" and self.rules.renews_on_checkout
        return CheckoutResult(
            ok=ok,
            title=get_first(answer, "AJ"),
            due=self._dates.read_due(answer.get("AH")) if ok else None,
            renewed=ok and (is_renewal or flag),
            code="" if ok else self._loan_refusal(answer, had_it=flag and not is_renewal),
            message=said(answer),
            media_type=get_first(answer, "CK"),
            magnetic=read_flag(answer.fixed.get("magnetic")),
            fee=self._fee(answer),
            desensitize=read_flag(answer.fixed.get("desensitize")),
            native=to_wire(answer),
        )

    def _loan_refusal(self, answer: Message, *, had_it: bool) -> str:
        """Return a short code; renewal ok Y with ok 0 tells that this patron has the item
        (Evergreen).
        """
        found = self._refusal_code(answer)
        return found or ("already_charged" if had_it else "refused")

    def read_checkin(self, answer: Message) -> CheckinResult:
        """Read 10; AA is there when somebody had the item."""
        ok = self.is_ok(answer)
        patron = get_first(answer, "AA")
        hold_patron = get_first(answer, "CY")
        return CheckinResult(
            ok=ok,
            title=get_first(answer, "AJ"),
            was_on_loan=True if ok and patron else None,
            patron=IlsPatronId(patron) if patron else None,
            permanent_location=get_first(answer, "AQ"),
            destination=get_first(answer, "CT"),
            collection=get_first(answer, self.rules.collection_tag),
            call_number=get_first(answer, "CS", "KC"),
            sort_bin=get_first(answer, "CL"),
            media_type=get_first(answer, "CK"),
            magnetic=read_flag(answer.fixed.get("magnetic")),
            alert=_alert(answer),
            hold_patron=IlsPatronId(hold_patron) if hold_patron else None,
            hold_patron_name=get_first(answer, "DA"),
            code="" if ok else self._refusal_code(answer) or "refused",
            message=said(answer),
            properties=get_first(answer, "CH"),
            resensitize=read_flag(answer.fixed.get("resensitize")),
            native=to_wire(answer),
        )

    def is_ok(self, answer: Message) -> bool:
        """Is it a yes? Some systems say so only in the text of the screen."""
        if answer.fixed.get("ok") in {"1", "Y"}:
            return True
        words = said(answer)
        return any(pattern.search(words) for pattern in self.rules.success_words)

    def _refusal_code(self, answer: Message) -> str:
        words = said(answer)
        return next(
            (code for pattern, code in self.rules.refusal_codes.items() if pattern.search(words)),
            "",
        )

    def _fee(self, answer: Message) -> Fee | None:
        amount = read_amount(answer.get("BV"))
        if not amount:
            return None
        return Fee(
            "",
            amount,
            fee_type=get_first(answer, "BT") or "01",
            currency=self.find_currency(answer),
        )

    # -- items -------------------------------------------------------------------------------------

    def read_item(self, barcode: Barcode, answer: Message) -> IlsItem | None:
        """Read 18; None when the ILS does not know the item."""
        status = _status(answer.fixed.get("circulation_status", ""))
        title = get_first(answer, "AJ")
        if self._is_unknown(title, status):
            return None
        borrower = get_first(answer, self.rules.borrower_tag)
        held_for = get_first(answer, "CY")
        own = get_first(answer, "AB")
        return IlsItem(
            barcode=Barcode(own) if is_same_label(own, barcode) else barcode,
            title=title,
            status=status,
            item_type=get_first(answer, self.rules.item_type_tag),
            permanent_location=get_first(answer, "AQ"),
            current_location=get_first(answer, "AP"),
            collection=get_first(answer, self.rules.collection_tag),
            call_number=get_first(answer, "CS", "KC"),
            languages=read_codes(answer.get_all(self.rules.language_tag or "")),
            isbn=get_first(answer, "AK"),
            due=self._dates.read_due(answer.get("AH")),
            borrower=IlsPatronId(borrower) if borrower else None,
            hold_count=read_count(answer.get("CF")) or 0,
            held_for=IlsPatronId(held_for) if held_for else None,
            media_type=get_first(answer, "CK") or "001",
            fee=read_amount(answer.get("BV")) or Decimal(0),
            currency=self.find_currency(answer),
            properties=get_first(answer, "CH"),
            native=to_wire(answer),
        )

    def _is_unknown(self, title: str, status: CirculationStatus) -> bool:
        match self.rules.unknown_item:
            case "no_title":
                return not title
            case "no_title_and_other":
                return not title and status is CirculationStatus.OTHER
            case _:
                return False

    # -- holds and fees ----------------------------------------------------------------------------

    def read_hold(self, answer: Message) -> HoldResult:
        """Read 16."""
        ok = self.is_ok(answer)
        barcode = get_first(answer, "AB")
        return HoldResult(
            ok=ok,
            available=answer.fixed.get("available") == "Y",
            barcode=Barcode(barcode) if barcode else None,
            title=get_first(answer, "AJ"),
            pickup=get_first(answer, "BS"),
            queue_position=read_count(answer.get("BR")),
            expires=self._dates.read_moment(answer.get("BW")),
            code="" if ok else self._refusal_code(answer) or "refused",
            message=said(answer),
            native=to_wire(answer),
        )

    def read_payment(self, answer: Message) -> FeeResult:
        """Read 38."""
        ok = answer.fixed.get("payment_accepted") == "Y"
        return FeeResult(
            ok=ok,
            transaction_id=get_first(answer, "BK"),
            code="" if ok else self._refusal_code(answer) or "refused",
            message=said(answer),
            native=to_wire(answer),
        )


def _alert(answer: Message) -> AlertType | None:
    """Return the alert; CV 00 without an alert is an ordinary return (Koha)."""
    has_alert = answer.fixed.get("alert") == "Y"
    kind = get_first(answer, "CV")
    if kind in {"", AlertType.UNKNOWN}:
        return AlertType.UNKNOWN if has_alert else None
    return AlertType(kind) if kind in set(AlertType) else AlertType.OTHER


def _status(code: str) -> CirculationStatus:
    known = set(CirculationStatus)
    return CirculationStatus(code) if code in known else CirculationStatus.OTHER

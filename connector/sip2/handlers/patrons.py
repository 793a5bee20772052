"""Patron status (23), information (63), block (01), enable (25), hold (15), fee paid (37), end
session (35).

Nothing here decides. Rules: flags, counts and limits are the stricter of ILS and policy; names are
masked where the terminal says so; address, e-mail and phone are sent only where names are not
masked (decisions 14–16).
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from connector.domain.circulation import Reason
from connector.domain.ids import Barcode
from connector.domain.patron import PatronFlag
from connector.errors import AdapterError
from connector.ports.ils import Capability, FeePayment, HoldRequest
from connector.services.patrons import PatronAnswer
from connector.sip2.codec import Message, format_date, format_patron_status, parse_date
from connector.sip2.handlers.common import Answering, flag
from connector.sip2.terminal import Permission

__all__ = [
    "answer_block",
    "answer_enable",
    "answer_end_session",
    "answer_fee_paid",
    "answer_hold",
    "answer_patron",
]

_SUMMARY_TAGS = ("AS", "AT", "AU", "AV", "BU", "CD")
_COUNT_MAX = 9999
_POSITION = re.compile(r"[0-9]{1,9}", re.ASCII)


def answer_patron(turn: Answering) -> Message:
    """Answer 23 with 24 and 63 with 64."""
    if not turn.request.get("AA").strip():
        return turn.refuse(Reason.UNKNOWN_PATRON)
    try:
        answer = turn.patrons.fetch_information(turn.to_exchange())
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if not answer.facts.valid:
        return turn.refuse(Reason.UNKNOWN_PATRON, message=answer.facts.message)
    return _information(turn, answer) if turn.request.code == "63" else _status("24", turn, answer)


def answer_block(turn: Answering) -> Message:
    """Answer 01 with 24: the terminal keeps the card."""
    return _change_card(turn, Permission.BLOCK_PATRON, Capability.BLOCK_PATRON, "24")


def answer_enable(turn: Answering) -> Message:
    """Answer 25 with 26: undo what 01 did."""
    return _change_card(turn, Permission.ENABLE_PATRON, Capability.UNBLOCK_PATRON, "26")


def answer_end_session(turn: Answering) -> Message:
    """Answer 35 with 36."""
    fixed = {"end_session": "Y", "transaction_date": turn.stamp()}
    return Message("36", fixed, [("AO", turn.institution), ("AA", turn.show_patron())])


def answer_fee_paid(turn: Answering) -> Message:
    """Answer 37 with 38."""
    if not _can(turn, Capability.PAY_FEE):
        return turn.refuse(Reason.NOT_SUPPORTED)
    try:
        amount = Decimal(turn.request.get("BV").strip())
    except InvalidOperation:
        return turn.refuse(Reason.BAD_REQUEST)
    if not amount.is_finite() or amount <= 0:
        return turn.refuse(Reason.BAD_REQUEST)
    payment = FeePayment(
        amount=amount,
        currency=turn.request.fixed.get("currency", ""),
        fee_type=turn.request.fixed.get("fee_type", ""),
        payment_type=turn.request.fixed.get("payment_type", ""),
        fee_id=turn.request.get("CG"),
        transaction_id=turn.request.get("BK"),
    )
    try:
        result = turn.patrons.pay_fee(turn.to_exchange(), payment)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if isinstance(result, Reason):
        return turn.refuse(result)
    if not result.ok:
        return turn.refuse(Reason.ILS_REFUSED, message=result.message)
    fields = [("AO", turn.institution), ("AA", turn.show_patron())]
    if result.transaction_id:
        fields.append(("BK", result.transaction_id))
    fields.append(("AF", result.message or turn.say("fee_ok")))
    return Message("38", {"payment_accepted": "Y", "transaction_date": turn.stamp()}, fields)


def answer_hold(turn: Answering) -> Message:
    """Answer 15 with 16: ``+`` places, ``*`` changes, ``-`` cancels."""
    mode = turn.request.fixed.get("hold_mode", "")
    barcode, title = turn.request.get("AB").strip(), turn.request.get("AJ").strip()
    if mode not in {"+", "-", "*"} or not (barcode or title):
        return turn.refuse(Reason.BAD_REQUEST)
    wanted = Capability.CANCEL_HOLD if mode == "-" else Capability.PLACE_HOLD
    if not _can(turn, wanted):
        return turn.refuse(Reason.NOT_SUPPORTED)
    request = HoldRequest(
        barcode=Barcode(turn.library.barcodes.normalise(barcode)) if barcode else None,
        title=title,
        pickup=turn.request.get("BS"),
        hold_type=turn.request.get("BY") or "2",
        expires=parse_date(turn.request.get("BW"), turn.library.zone)
        if turn.request.get("BW")
        else None,
    )
    act = turn.patrons.cancel_hold if mode == "-" else turn.patrons.place_hold
    try:
        result = act(turn.to_exchange(), request)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if isinstance(result, Reason):
        return turn.refuse(result)
    if not result.ok:
        return turn.refuse(Reason.ILS_REFUSED, message=result.message)
    fields = [("AO", turn.institution), ("AA", turn.show_patron())]
    if result.expires is not None:
        fields.append(("BW", format_date(result.expires, turn.library.zone)))
    if result.queue_position is not None:
        fields.append(("BR", str(result.queue_position)))
    fields += [
        (tag, value)
        for tag, value in (
            ("BS", result.pickup),
            ("AB", result.barcode or barcode),
            ("AJ", result.title),
        )
        if value
    ]
    fields.append(("AF", result.message or turn.say("hold_ok")))
    fixed = {"ok": "1", "available": flag(result.available), "transaction_date": turn.stamp()}
    return Message("16", fixed, fields)


def _change_card(
    turn: Answering, permission: Permission, capability: Capability, code: str
) -> Message:
    if not turn.permits(permission):
        return turn.refuse(Reason.NOT_PERMITTED_HERE)
    if not _can(turn, capability):
        return turn.refuse(Reason.NOT_SUPPORTED)
    act = turn.patrons.block_card if code == "24" else turn.patrons.enable_card
    try:
        answer = act(turn.to_exchange())
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if isinstance(answer, Reason):
        return turn.refuse(answer)
    if not answer.facts.valid:
        return turn.refuse(Reason.UNKNOWN_PATRON, message=answer.facts.message)
    return _status(code, turn, answer)


def _can(turn: Answering, capability: Capability) -> bool:
    return capability in turn.patrons.adapter_of(turn.library.code).capabilities


def _flags(turn: Answering, answer: PatronAnswer) -> str:
    flags = set(answer.flags)
    if answer.at_limit and turn.terminal.charge_denied_at_limit:
        flags.add(PatronFlag.CHARGE_DENIED)
    return format_patron_status(frozenset(flags))


def _status(code: str, turn: Answering, answer: PatronAnswer) -> Message:
    fixed = {
        "patron_status": _flags(turn, answer),
        "language": turn.request.fixed.get("language") or "000",
        "transaction_date": turn.stamp(),
    }
    return Message(code, fixed, _person_fields(turn, answer))


def _information(turn: Answering, answer: PatronAnswer) -> Message:
    counts = answer.facts.counts
    available = [hold for hold in answer.facts.holds if hold.available]
    waiting = [hold for hold in answer.facts.holds if not hold.available]
    overdue = [loan for loan in answer.loans if loan.overdue]
    numbers = {
        "hold_count": len(available) if answer.facts.holds else counts.holds or 0,
        "overdue_count": len(overdue) or (counts.overdue or 0 if not answer.enrolled else 0),
        "charged_count": answer.charged,
        "fine_count": counts.fines if counts.fines is not None else len(answer.facts.fees),
        "recall_count": counts.recalls or 0,
        "unavailable_hold_count": len(waiting)
        if answer.facts.holds
        else counts.unavailable_holds or 0,
    }
    fixed = {
        "patron_status": _flags(turn, answer),
        "language": turn.request.fixed.get("language") or "000",
        "transaction_date": turn.stamp(),
        **{name: f"{min(number, _COUNT_MAX):04d}" for name, number in numbers.items()},
    }
    fields = _person_fields(turn, answer)
    texts = [pair for pair in fields if pair[0] == "AF"]
    fields = [pair for pair in fields if pair[0] != "AF"]
    if answer.limit is not None:
        fields.append(("CB", f"{min(answer.limit, _COUNT_MAX):04d}"))
    lists: dict[str, list[str]] = {
        "AS": [hold.barcode or hold.title for hold in available],
        "AT": [loan.barcode for loan in overdue],
        "AU": [loan.barcode for loan in answer.loans],
        "AV": [
            f"{fee.fee_id} {fee.amount:.2f} {fee.description}".strip() for fee in answer.facts.fees
        ],
        "BU": [],
        "CD": [hold.barcode or hold.title for hold in waiting],
    }
    tag = _wanted_list(turn.request)
    if tag:
        fields += [(tag, value) for value in _slice(turn.request, lists[tag])]
    if not turn.terminal.mask_name:
        personal = (
            ("BD", answer.facts.address),
            ("BE", answer.facts.email),
            ("BF", answer.facts.phone),
        )
        fields += [pair for pair in personal if pair[1]]
    return Message("64", fixed, fields + texts)


def _person_fields(turn: Answering, answer: PatronAnswer) -> list[tuple[str, str]]:
    facts = answer.facts
    fields = [
        ("AO", turn.institution),
        ("AA", turn.show_patron()),
        ("AE", turn.show_name(facts.name)),
        ("BL", "Y"),
    ]
    if turn.request.get("AD") and answer.pin_valid is not None:
        fields.append(("CQ", flag(answer.pin_valid)))
    fields.append(("BH", facts.currency))
    if facts.fee_total:
        fields.append(("BV", f"{facts.fee_total:.2f}"))
    text = facts.message
    if answer.reason is not None:
        text = turn.say(answer.reason)
    elif answer.at_limit:
        text = turn.say("at_limit", limit=answer.limit)
    if text:
        fields.append(("AF", text))
    return fields


def _wanted_list(request: Message) -> str:
    """Return the tag of the one list that the summary asks for; positions 6 to 9 mean nothing."""
    summary = request.fixed.get("summary", "")
    return next(
        (tag for tag, wanted in zip(_SUMMARY_TAGS, summary, strict=False) if wanted == "Y"), ""
    )


def _slice(request: Message, values: list[str]) -> list[str]:
    """Return the items from BP to BQ, counted from 1; nonsense means all."""
    first, last = _position(request.get("BP")), _position(request.get("BQ"))
    return values[(first or 1) - 1 : last or len(values)]


def _position(text: str) -> int:
    """Return a number that may be counted to, 0 for anything else."""
    found = _POSITION.fullmatch(text.strip())
    return int(found[0]) if found else 0

"""Patron status (23), information (63), block (01), enable (25), hold (15), fee paid (37), end
session (35).

Nothing here decides. Rules: flags, counts and limits are the stricter of ILS and policy; names are
masked where the terminal says so; address, e-mail and phone are sent only where names are not
masked (decisions 14–16). What an ILS that speaks SIP2 says of people whom we did not enrol goes
back whole (decision 4), and beside our answer about a pupil whatever we do not say ourselves.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation

from connector.domain.circulation import Reason
from connector.domain.ids import Barcode
from connector.domain.patron import PatronFlag
from connector.domain.wire import WireMessage
from connector.errors import AdapterError
from connector.ports.ils import Capability, FeePayment, HoldRequest
from connector.services.forwarding import Passed
from connector.services.patron_answers import LoanLine, PatronAnswer
from connector.sip2.codec import Message, format_date, format_patron_status, parse_date
from connector.sip2.handlers.common import Answering, flag
from connector.sip2.handlers.passing import add_native, pass_on, texts_of
from connector.sip2.spec import SPECS
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
_LISTS_OF_THE_ILS = frozenset({"AS", "AV", "BU", "CD"})
_ONLY_64 = frozenset({"BZ", "CA", "CB", "CC", "BD", "BE", "BF", *_SUMMARY_TAGS})
_NOT_BESIDE = {"24": _ONLY_64, "26": _ONLY_64, "64": frozenset({"CB", *_SUMMARY_TAGS})}
"""Tags of the ILS's 64 that our 24, 26 and 64 do not take over: lists are asked for by summary, and
the limit is ours where there is one.
"""
_COUNT_MAX = 9999
_POSITION = re.compile(r"[0-9]{1,9}", re.ASCII)


def answer_patron(turn: Answering) -> Message:
    """Answer 23 with 24 and 63 with 64."""
    if not turn.scanned("AA"):
        return turn.refuse(Reason.UNKNOWN_PATRON)
    wanted = _wanted_lists(turn.request) if turn.request.code == "63" else ()
    try:
        answer = turn.patrons.fetch_information(turn.to_exchange())
        if isinstance(answer, Passed):
            return _passed(turn, answer)
        wants_more = (
            answer.enrolled and answer.facts.valid and _lists_of_the_ils(answer) & {*wanted}
        )
        listed = turn.patrons.fetch_list(turn.to_exchange(), answer) if wants_more else None
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if not answer.facts.valid:
        return _unknown(turn, answer)
    if turn.request.code == "63":
        return _information(turn, answer, wanted, listed)
    return _status("24", turn, answer)


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
    native = pass_on(turn, result.native, echo_patron=True) if result.native else None
    if native is not None:
        return native
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
    barcode, title = turn.scanned("AB"), turn.request.get("AJ").strip()
    if mode not in {"+", "-", "*"} or not (barcode or title or _names_otherwise(turn)):
        return turn.refuse(Reason.BAD_REQUEST)
    wanted = Capability.CANCEL_HOLD if mode == "-" else Capability.PLACE_HOLD
    if not _can(turn, wanted):
        return turn.refuse(Reason.NOT_SUPPORTED)
    request = HoldRequest(
        barcode=turn.item if barcode else None,
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
    if isinstance(result, Passed):
        return _passed(turn, result)
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
    if isinstance(answer, Passed):
        return _passed(turn, answer)
    if not answer.facts.valid:
        return _unknown(turn, answer)
    return _status(code, turn, answer)


def _passed(turn: Answering, passed: Passed) -> Message:
    """Return the ILS's own answer; a refusal where it is of another pair."""
    native = pass_on(turn, passed.native, echo_patron=passed.enrolled)
    return native or turn.refuse(Reason.ILS_UNAVAILABLE)


def _unknown(turn: Answering, answer: PatronAnswer) -> Message:
    """Refuse a card that the ILS does not know, with its own words."""
    words = texts_of(turn, answer.native) if answer.native else (answer.facts.message,)
    refused = turn.refuse(Reason.UNKNOWN_PATRON, message=next(iter(words), ""))
    return add_native(turn, refused, answer.native, without=_NOT_BESIDE[refused.code])


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
    ours = Message(code, fixed, _person_fields(turn, answer))
    return add_native(turn, ours, answer.native, without=_NOT_BESIDE[code])


def _information(
    turn: Answering, answer: PatronAnswer, wanted: tuple[str, ...], listed: WireMessage | None
) -> Message:
    counts = answer.facts.counts
    available = [hold for hold in answer.facts.holds if hold.available]
    waiting = [hold for hold in answer.facts.holds if not hold.available]
    written = _as_the_ils_writes(turn, answer)
    loans = _in_the_order_of(written, answer.loans)
    overdue = [loan for loan in loans if loan.overdue]
    lists_holds = bool(answer.facts.holds) and answer.native is None
    numbers = {
        "hold_count": len(available) if lists_holds else counts.holds or 0,
        "overdue_count": _overdue(answer, len(overdue)),
        "charged_count": answer.charged,
        "fine_count": counts.fines if counts.fines is not None else len(answer.facts.fees),
        "recall_count": counts.recalls or 0,
        "unavailable_hold_count": len(waiting) if lists_holds else counts.unavailable_holds or 0,
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
        "AT": [written.get(loan.barcode, loan.barcode) for loan in overdue],
        "AU": [written.get(loan.barcode, loan.barcode) for loan in loans],
        "AV": [
            f"{fee.fee_id} {fee.amount:.2f} {fee.description}".strip() for fee in answer.facts.fees
        ],
        "BU": [],
        "CD": [hold.barcode or hold.title for hold in waiting],
    }
    for tag in wanted:
        if listed is not None and tag in _lists_of_the_ils(answer):
            theirs = [*listed.get_all(tag), *_lent_elsewhere(turn.request, tag, loans)]
            fields += [(tag, value) for value in theirs]
        else:
            fields += [(tag, value) for value in _slice(turn.request, lists[tag])]
    if not turn.terminal.mask_name:
        personal = (
            ("BD", answer.facts.address),
            ("BE", answer.facts.email),
            ("BF", answer.facts.phone),
        )
        fields += [pair for pair in personal if pair[1]]
    ours = Message("64", fixed, fields + texts)
    return add_native(turn, ours, answer.native, without=_NOT_BESIDE["64"])


def _overdue(answer: PatronAnswer, ours: int) -> int:
    """Return how many items are overdue; an ILS that lists no due dates only counts them."""
    theirs = answer.facts.counts.overdue or 0
    if answer.native is not None:
        return max(ours, theirs)
    return ours or (0 if answer.enrolled else theirs)


def _as_the_ils_writes(turn: Answering, answer: PatronAnswer) -> dict[Barcode, str]:
    """Return how the ILS itself lists an item: some send a title after the barcode."""
    texts = answer.native.get_all("AU") if answer.native else ()
    barcodes = turn.library.barcodes
    return {barcodes.normalise(text.partition(" ")[0]): text for text in texts if text.strip()}


def _lists_of_the_ils(answer: PatronAnswer) -> frozenset[str]:
    """Return the lists that only the ILS can give: where it lists titles, the loans too."""
    lists_titles = answer.native is not None and answer.native.get("AU") and not answer.facts.loans
    return _LISTS_OF_THE_ILS | {"AT", "AU"} if lists_titles else _LISTS_OF_THE_ILS


def _lent_elsewhere(request: Message, tag: str, loans: Sequence[LoanLine]) -> list[str]:
    """Return what other libraries lent, for a whole list of the ILS; a part of it is its own."""
    if request.get("BP").strip() or tag not in {"AT", "AU"}:
        return []
    return [loan.barcode for loan in loans if loan.elsewhere and (loan.overdue or tag == "AU")]


def _in_the_order_of(written: Mapping[Barcode, str], loans: Sequence[LoanLine]) -> list[LoanLine]:
    """Return the loans as the ILS lists them, the others after them: BP and BQ count by it."""
    places = {barcode: place for place, barcode in enumerate(written)}
    return sorted(loans, key=lambda loan: places.get(loan.barcode, len(places)))


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
    if answer.native is None:
        fields.append(("BH", facts.currency))
        if facts.fee_total:
            fields.append(("BV", f"{facts.fee_total:.2f}"))
    text = facts.message if answer.native is None else ""
    if answer.reason is not None:
        text = turn.say(answer.reason)
    elif answer.at_limit:
        text = turn.say("at_limit", limit=answer.limit)
    if text:
        fields.append(("AF", text))
    return fields


def _names_otherwise(turn: Answering) -> bool:
    """Say whether a hold may name its title by tags of a vendor (MA, MB and MC of Voyager)."""
    known = SPECS[turn.request.code].tags
    named = any(value.strip() and tag not in known for tag, value in turn.request.fields)
    return named and _can(turn, Capability.FORWARD)


def _wanted_lists(request: Message) -> tuple[str, ...]:
    """Return the tags of the lists that the summary asks for: one by the standard, more from some
    kiosks; positions 6 to 9 mean nothing.
    """
    summary = request.fixed.get("summary", "")
    return tuple(tag for tag, wanted in zip(_SUMMARY_TAGS, summary, strict=False) if wanted == "Y")


def _slice(request: Message, values: list[str]) -> list[str]:
    """Return the items from BP to BQ, counted from 1; nonsense means all."""
    first, last = _position(request.get("BP")), _position(request.get("BQ"))
    return values[(first or 1) - 1 : last or len(values)]


def _position(text: str) -> int:
    """Return a number that may be counted to, 0 for anything else."""
    found = _POSITION.fullmatch(text.strip())
    return int(found[0]) if found else 0

"""Checkout (11), checkin (09), renew (29) and renew all (65): from message to service and back.

Nothing here decides. Rules: a refusal has ok 0 and desensitize N, so that no gate lets the item
pass; a repeated checkout is answered with desensitize Y (decision 17). What an ILS that speaks SIP2
said goes back whole where the policy has no say (people whom we did not enrol, decision 4, and
returns), and beside our answer to a pupil whatever we do not say ourselves.
"""

from __future__ import annotations

from connector.domain.circulation import Reason
from connector.domain.library import Mode
from connector.ports.ils import AlertType
from connector.services.circulation import CirculationService
from connector.services.desk import CheckinAnswer, CirculationAnswer
from connector.sip2.codec import Message, format_date
from connector.sip2.handlers.common import Answering, flag
from connector.sip2.handlers.passing import add_native, pass_on, texts_of, without_pupil
from connector.sip2.terminal import TerminalKind

__all__ = ["answer_checkin", "answer_checkout", "answer_renew", "answer_renew_all"]


def answer_checkout(turn: Answering, service: CirculationService) -> Message:
    """Answer 11 with 12."""
    if not turn.scanned("AA") or not turn.scanned("AB"):
        return turn.refuse(Reason.BAD_REQUEST)
    answer = service.checkout(turn.to_exchange())
    word = "checkout_again" if answer.repeated else "renew_ok" if answer.renewed else "checkout_ok"
    return _loan_answer("12", turn, answer, word)


def answer_renew(turn: Answering, service: CirculationService) -> Message:
    """Answer 29 with 30."""
    if not turn.scanned("AA") or not turn.scanned("AB"):
        return turn.refuse(Reason.BAD_REQUEST)
    return _loan_answer("30", turn, service.renew(turn.to_exchange()), "renew_ok")


def answer_renew_all(turn: Answering, service: CirculationService) -> Message:
    """Answer 65 with 66; each item is decided by itself (BM, BN)."""
    if not turn.scanned("AA"):
        return turn.refuse(Reason.BAD_REQUEST)
    outcome = service.renew_all(turn.to_exchange())
    if isinstance(outcome, CirculationAnswer):
        passed = _pass_on(turn, outcome)
        return passed or turn.refuse(outcome.reason or Reason.ILS_REFUSED, message=outcome.message)
    renewed = [barcode for barcode, answer in outcome if answer.ok]
    unrenewed = [barcode for barcode, answer in outcome if not answer.ok]
    fields = [("AO", turn.institution)]
    fields += [("BM", barcode) for barcode in renewed] + [("BN", barcode) for barcode in unrenewed]
    reasons = dict.fromkeys(
        turn.say(answer.reason, limit=answer.limit)
        for _, answer in outcome
        if answer.reason is not None
    )
    fields += [("AF", text) for text in reasons]
    fixed = {
        "ok": "1",
        "renewed_count": f"{len(renewed):04d}",
        "unrenewed_count": f"{len(unrenewed):04d}",
        "transaction_date": turn.stamp(),
    }
    return Message("66", fixed, fields)


def answer_checkin(turn: Answering, service: CirculationService) -> Message:
    """Answer 09 with 10."""
    if not turn.scanned("AB"):
        return turn.refuse(Reason.BAD_REQUEST)
    answer = service.checkin(turn.to_exchange())
    result = answer.result
    elsewhere = answer.item.owner != turn.library.code
    if result is not None and result.native is not None and not elsewhere:
        passed = pass_on(turn, without_pupil(turn, result.native))
        if passed is not None:
            turn.turn.reason = answer.reason or ""
            return passed
    if not answer.ok:
        refused = turn.refuse(
            answer.reason or Reason.ILS_REFUSED, message=result.message if result else ""
        )
        if result is not None and result.alert is not None:
            refused.fixed["alert"] = "Y"
            refused.fields.append(("CV", result.alert.value))
        return refused
    alert = result.alert if result else None
    if alert is None and elsewhere:
        alert = AlertType.OTHER_BRANCH
    fixed = {
        "ok": "1",
        "resensitize": flag(result is None or result.resensitize is not False),
        "magnetic": flag(result.magnetic if result else None),
        "alert": flag(alert is not None),
        "transaction_date": turn.stamp(),
    }
    ours = Message("10", fixed, _checkin_fields(turn, answer, alert, elsewhere=elsewhere))
    if result is None or result.native is None:
        return ours
    return add_native(turn, ours, without_pupil(turn, result.native))


def _pass_on(turn: Answering, answer: CirculationAnswer) -> Message | None:
    """Return the ILS's own answer to somebody whom we did not enrol, if it speaks SIP2."""
    native = answer.result.native if answer.result else None
    if not answer.passed_through or native is None:
        return None
    turn.turn.reason = answer.reason or ""
    return pass_on(turn, native)


def _checkin_fields(
    turn: Answering, answer: CheckinAnswer, alert: AlertType | None, *, elsewhere: bool
) -> list[tuple[str, str]]:
    result = answer.result
    staff = turn.terminal.kind in {TerminalKind.DESK, TerminalKind.SORTER}
    fields = [
        ("AO", turn.institution),
        ("AB", turn.request.get("AB")),
        ("AQ", (result.permanent_location if result else "") or answer.item.owner),
        ("AJ", result.title if result else ""),
    ]
    if result is not None:
        fields += [
            ("CL", result.sort_bin),
            ("CK", result.media_type),
            ("CH", result.properties),
            ("CR", result.collection),
            ("CS", result.call_number),
            ("CT", result.destination or (answer.item.owner if elsewhere else "")),
        ]
    if alert is not None:
        fields.append(("CV", alert.value))
    if result is not None and staff:
        fields += [
            ("CY", result.hold_patron or ""),
            ("DA", turn.show_name(result.hold_patron_name)),
        ]
    message = result.message if result else ""
    word = "checkin_away" if answer.deferred else "checkin_ok"
    fields.append(("AF", message or turn.say("checkin_other" if elsewhere else word)))
    return [(tag, value) for tag, value in fields if value or tag in {"AO", "AB", "AQ", "AJ"}]


def _loan_answer(code: str, turn: Answering, answer: CirculationAnswer, word: str) -> Message:
    passed = _pass_on(turn, answer)
    if passed is not None:
        return passed
    result = answer.result
    native = result.native if result else None
    if not answer.ok:
        reason = answer.reason or Reason.ILS_REFUSED
        message = next(iter(texts_of(turn, native)), "") if native is not None else answer.message
        refused = turn.refuse(reason, message=message, limit=answer.limit)
        refused.fields = [
            (tag, answer.title if tag == "AJ" and not value else value)
            for tag, value in refused.fields
        ]
        if result is not None and result.fee is not None and native is None:
            refused.fields += [
                ("BT", result.fee.fee_type),
                ("BH", result.fee.currency),
                ("BV", f"{result.fee.amount:.2f}"),
            ]
        return add_native(turn, refused, native)
    fixed = {
        "ok": "1",
        "renewal_ok": flag(answer.renewed),
        "magnetic": flag(result.magnetic if result else None),
        "desensitize": flag(result is None or result.desensitize is not False),
        "transaction_date": turn.stamp(),
    }
    due = format_date(answer.due, turn.library.zone) if answer.due else ""
    if native is not None and result is not None and result.due == answer.due:
        due = native.get("AH") or due
    fields = [
        ("AO", turn.institution),
        ("AA", turn.show_patron()),
        ("AB", turn.request.get("AB")),
        ("AJ", answer.title),
        ("AH", due),
    ]
    media_type = (result.media_type if result else "") or (
        answer.item.media_type if answer.item else ""
    )
    if media_type:
        fields.append(("CK", media_type))
    if answer.item is not None and answer.item.properties:
        fields.append(("CH", answer.item.properties))
    text = answer.message if answer.passed_through else ""
    if not text and turn.library.mode is not Mode.OBSERVE:
        text = turn.say(word, due=answer.due)
    texts = [text] if native is not None else [text, answer.message]
    fields += [("AF", one) for one in dict.fromkeys(texts) if one]
    return add_native(turn, Message(code, fixed, fields), native)

"""Registration machines: create or change (81), duplicate check (91), cards by number (85).

Nothing here decides; ``connector.services.registration`` does. Rules —

- what a machine sends and the programme does not ask for is dropped at once: card number, password,
  address, e-mail, sex, birth date, ethnicity, reader type, dates, remarks;
- ``OK1`` says that the application is there; there is no card number in the answer, AA goes back as
  it came;
- a student card has no deposit (A24): 81 with XK 01 is taken where BV is empty or zero, and refused
  where money was asked for, so that the machine takes none;
- no answer holds a value of another person, or repeats one that was wrong.

Source: the drivers of kiosks that ``connector.sip2.dialects`` names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Final

from connector.domain.circulation import Reason
from connector.domain.identity import IdentityProblem, parse_student_number
from connector.enrolment.columns import HEADERS
from connector.enrolment.messages import describe_problem
from connector.errors import AdapterError, OutcomeUnknown
from connector.services.pin_change import PinChange
from connector.services.registration import (
    Lookup,
    Registration,
    RegistrationOutcome,
    RegistrationService,
)
from connector.sip2.codec import Message
from connector.sip2.handlers.common import Answering
from connector.sip2.terminal import Permission

__all__ = ["answer_duplicate_check", "answer_find_cards", "answer_registration", "read_cells"]

_NEW: Final = frozenset({"01", "1", "11"})
_CHANGE: Final = frozenset({"02", "2"})
_CHANGE_PIN: Final = "14"
_BY_CARD, _BY_NUMBER = "0", "1"
_SEPARATOR: Final = "]]"
_NO_MONEY: Final = re.compile(r"\s*(?:0+(?:\.0*)?)?\s*", re.ASCII)

_WORDS: Final[Mapping[RegistrationOutcome, str]] = {
    RegistrationOutcome.SUBMITTED: "registered",
    RegistrationOutcome.HAS_CARD: "registered_before",
    RegistrationOutcome.NO_SCHOOL: "register_no_school",
    RegistrationOutcome.AT_DESK: "register_at_desk",
    RegistrationOutcome.TOO_OFTEN: "asked_too_often",
}


def answer_registration(turn: Answering, service: RegistrationService) -> Message:
    """Answer 81 with 82: OK1 when the application is there and waits for its review."""
    if not turn.permits(Permission.REGISTER_PATRONS):
        return turn.refuse(Reason.NOT_PERMITTED_HERE)
    operation = turn.request.get("XK").strip()
    if operation in _CHANGE:
        asked = service.ask_for_change(
            turn.library.code, turn.request.get("XO"), terminal=turn.terminal.terminal_id
        )
        return _refuse(turn, "change_at_desk" if asked else "asked_too_often")
    if operation == _CHANGE_PIN:
        return _change_pin(turn, service)
    if operation not in _NEW:
        return turn.refuse(Reason.NOT_SUPPORTED)
    if not _NO_MONEY.fullmatch(turn.request.get("BV")):
        return _refuse(turn, "no_deposit")
    done = service.apply(
        turn.library.code,
        (turn.terminal.school, turn.request.get("AM")),
        read_cells(turn.request, turn.library.today(turn.now)),
        terminal=turn.terminal.terminal_id,
    )
    if done.outcome is not RegistrationOutcome.SUBMITTED:
        return turn.refuse(Reason.BAD_REQUEST, message=_explain(turn, done))
    return _done(turn, "registered")


def answer_duplicate_check(turn: Answering, service: RegistrationService) -> Message:
    """Answer 91 with 92: AC1 = there is somebody, AC0 = nobody; AC1 too where nobody knows."""
    if not turn.permits(Permission.REGISTER_PATRONS):
        return turn.refuse(Reason.NOT_PERMITTED_HERE)
    request, library = turn.request, turn.library.code
    terminal, school = turn.terminal.terminal_id, turn.terminal.school
    operation = request.get("XK").strip().removeprefix("0") or _BY_CARD
    try:
        if operation == _BY_NUMBER:
            number = request.get("XO")
            found = service.is_person_known(library, number, terminal=terminal, school=school)
        elif operation == _BY_CARD:
            number = request.get("AA")
            found = service.is_card_taken(library, number, terminal=terminal, school=school)
        else:
            return turn.refuse(Reason.NOT_SUPPORTED)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if text := _trouble(turn, found):
        return turn.refuse(Reason.BAD_REQUEST, message=text)
    fields = [("AO", turn.institution), ("AC", "1" if found.found else "0")]
    if request.has("AA"):
        fields.append(("AA", turn.show_patron()))
    fields.append(("XK", request.get("XK")))
    return Message("92", {"transaction_date": turn.stamp()}, fields)


def answer_find_cards(turn: Answering, service: RegistrationService) -> Message:
    """Answer 85 with 86: the numbers of the open cards in OX, else an empty OX and why."""
    if not turn.permits(Permission.FIND_BY_ID):
        return turn.refuse(Reason.NOT_PERMITTED_HERE)
    found = service.find_cards(
        turn.library.code,
        turn.request.get("XO"),
        terminal=turn.terminal.terminal_id,
        school=turn.terminal.school,
    )
    if text := _trouble(turn, found):
        return turn.refuse(Reason.BAD_REQUEST, message=text)
    if not found.found:
        return turn.refuse(Reason.UNKNOWN_PATRON)
    fields = [
        ("AO", turn.institution),
        ("OX", _SEPARATOR.join(found.cards)),
        ("XK", turn.request.get("XK")),
    ]
    return Message("86", {"transaction_date": turn.stamp()}, fields)


def read_cells(request: Message, today: date) -> dict[str, str]:
    """Return what the programme asks for, by column key, of what a machine sent.

    A student registry number may stand in XO. AA is dropped too: the library numbers the cards, and
    what stands there may be a telephone or identity number.
    """
    number = request.get("XO").strip()
    is_student = not isinstance(parse_student_number(number, today=today), IdentityProblem)
    return {
        "name": request.get("AE").strip(),
        "student_no" if is_student else "id_number": number,
        "phone": request.get("MP").strip() or request.get("BP").strip(),
    }


def _change_pin(turn: Answering, service: RegistrationService) -> Message:
    """Answer XK 14: the ILS compares the old PIN and sets the new one, where it can."""
    exchange = turn.to_exchange()
    try:
        became = service.pins.change(
            turn.library.code, exchange.scanned_patron, turn.request.get("KD"), exchange.context
        )
    except OutcomeUnknown:
        return turn.refuse(Reason.OUTCOME_UNKNOWN)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if became is PinChange.CHANGED:
        return _done(turn, "pin_changed")
    return (
        turn.refuse(Reason.PIN_WRONG)
        if became is PinChange.REFUSED
        else _refuse(turn, "pin_at_desk")
    )


def _done(turn: Answering, word: str) -> Message:
    fields = [
        ("AO", turn.institution),
        ("AA", turn.show_patron()),
        ("XD", ""),
        ("OK", "1"),
        ("XK", turn.request.get("XK")),
        ("AF", turn.say(word)),
    ]
    return Message("82", {"transaction_date": turn.stamp()}, fields)


def _refuse(turn: Answering, word: str) -> Message:
    return turn.refuse(Reason.NOT_SUPPORTED, message=turn.say(word))


def _explain(turn: Answering, done: Registration) -> str:
    """Return what the screen says: of data that are wrong every field and what to do."""
    if done.outcome is not RegistrationOutcome.INVALID or not done.problems:
        return turn.say(_WORDS.get(done.outcome, "register_at_desk"))
    is_english = turn.language == "en"
    said = []
    for problem in done.problems:
        header = HEADERS.get(problem.column, ("", ""))[is_english]
        text = describe_problem(problem.code, turn.language)
        colon = ": " if is_english else "："
        said.append(f"{header}{colon}{text}" if header else text)
    return ("; " if is_english else "；").join(dict.fromkeys(said))


def _trouble(turn: Answering, lookup: Lookup) -> str:
    """Return why a question was not asked; empty when it was."""
    if lookup.is_too_often:
        return turn.say("asked_too_often")
    return describe_problem(lookup.code, turn.language) if lookup.code else ""

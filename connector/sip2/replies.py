"""The answer of the right pair that says "no", for any request and any failure.

Nothing here decides or knows why; ``gateway`` builds the answers that say "yes". Rules: a kiosk
always gets its own pair with every required field, whatever failed; a refusal never claims more
than it knows and never disarms an item (desensitize N); AO, AA and AB go back as they came.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from connector.sip2.codec import Message
from connector.sip2.spec import SPECS
from connector.sip2.timestamps import format_date

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

__all__ = ["BLOCKED", "STATUS_BEFORE_LOGIN", "answer_code", "build_refusal", "refuse"]

BLOCKED: Final = "YYYY          "
"""Patron status of a card that may do nothing: there is no explicit bit, Evergreen, Koha and
Polaris send this.
"""

STATUS_BEFORE_LOGIN: Final = Message(
    "98",
    {
        "online": "Y",
        "checkin_ok": "Y",
        "checkout_ok": "Y",
        "acs_renewal_policy": "Y",
        "status_update_ok": "N",
        "offline_ok": "N",
        "timeout_period": "999",
        "retries_allowed": "999",
        "date_time_sync": "0" * 18,
        "protocol_version": "2.00",
    },
    [("AO", ""), ("BX", "YYYNYYYYYYYNNYYY")],
)
"""The least that lets a kiosk go on to log in; what it may do is in the 98 after its login."""

_ECHOED: Final = frozenset({"AA", "AB", "AO", "XK", "XO"})

# What differs from the defaults in ``spec``, which already say 0, N, U or zero.
_FIXED: Final[Mapping[str, Mapping[str, str]]] = {
    "24": {"patron_status": BLOCKED},
    "26": {"patron_status": BLOCKED},
    "64": {"patron_status": BLOCKED},
    # The session of a patron ends on the kiosk whatever we say; N would keep the next person on
    # this one's screen.
    "36": {"end_session": "Y"},
}
# BL N: a reader of 24 and 64 that only looks at BL and CQ must not take the refusal for a valid
# card. 92: AC1 = exists, so that nobody is registered twice. 82: OK0 = not done. BX: login, status
# and resend are what remains.
_FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    "24": {"BL": "N"},
    "26": {"BL": "N"},
    "64": {"BL": "N"},
    "98": {"BX": "NNNNYYYNNNNNNNNN"},
    "82": {"OK": "0"},
    "92": {"AC": "1"},
}


def answer_code(code: str) -> str | None:
    """Return the code that answers a request; None for replies, 96, 97 and unknown codes."""
    spec = SPECS.get(code)
    return spec.answer if spec else None


def build_refusal(
    request: Message, *, institution: str, screen_message: str, now: datetime, zone: ZoneInfo
) -> Message:
    """Return the refusal of a request.

    Args:
        institution: AO where the request has none.
        screen_message: AF; none is sent when it is empty or the answer has no AF (94).
        now: aware; becomes the transaction date.

    Raises:
        KeyError: the request's code has no answer; ask ``answer_code`` first.
    """
    return refuse(
        request, institution=institution, screen_message=screen_message, date=format_date(now, zone)
    )


def refuse(request: Message, *, institution: str, screen_message: str, date: str) -> Message:
    """Return the refusal with a timestamp that the caller has at hand, in SIP2's eighteen
    characters.

    Raises:
        KeyError: the request's code has no answer.
    """
    spec = SPECS[answer_code(request.code) or ""]
    code = spec.code
    fixed = {**spec.defaults, **_FIXED.get(code, {})}
    for one in spec.fixed:
        if one.is_date:
            fixed[one.name] = date
    if "language" in fixed:
        fixed["language"] = request.fixed.get("language", "000")
    said = _FIELDS.get(code, {})
    fields = []
    for tag in spec.required:
        value = said.get(tag, "")
        if tag in _ECHOED:
            value = request.get(tag)
        if tag == "AO":
            value = value or institution
        fields.append((tag, value))
    fields += [(tag, value) for tag, value in said.items() if tag not in spec.required_set]
    if "AD" in request_tags(request) and "CQ" in spec.tags:
        fields.append(("CQ", "N"))
    if screen_message and "AF" in spec.tags:
        fields.append(("AF", screen_message))
    return Message(code, fixed, fields)


def request_tags(request: Message) -> set[str]:
    """Return the tags of a request that hold something."""
    return {tag for tag, value in request.fields if value}

"""What an ILS that speaks SIP2 answered, on its way to a terminal: whole, or beside our answer.

Nothing here decides or asks an ILS. Rules: decisions 4, 14, 16 —

- what the policy has no opinion about passes in order, with all repeats and unknown tags; AO is the
  terminal's own, AB goes back as scanned where it is the same item;
- what a terminal may show holds for everybody: names are masked (in screen messages too) and
  personal tags left out where its ``mask_name`` is on, identity numbers where its ``mask_id`` is,
  and who waits for an item is told to staff only; passwords never pass;
- beside an answer of ours only what we do not say ourselves is added, after it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from connector.domain.wire import WireMessage
from connector.sip2.codec import Message
from connector.sip2.handlers.common import Answering
from connector.sip2.replies import answer_code
from connector.sip2.shapes import MessageSpec
from connector.sip2.spec import SPECS
from connector.sip2.tags import PERSONAL_TAGS, SECRET_TAGS, WAITING_TAGS

__all__ = ["add_native", "pass_on", "texts_of", "without_pupil"]

_ABOUT_ITEMS = frozenset({"10", "18"})
_TEXTS = frozenset({"AF", "AG"})
_OURS = frozenset({"AO", "AA", "AB", "AE", "AF", "BL", "CQ"})
_NUMBER = re.compile(r"[!-~]{1,64}")
"""What may be the number of a patron."""
_MOST_NUMBERS = 16
"""So many are looked up for one answer; what comes after them is not shown."""


def pass_on(turn: Answering, native: WireMessage, *, echo_patron: bool = False) -> Message | None:
    """Return the ILS's answer as this terminal may have it; None when it is not of this pair.

    Args:
        echo_patron: AA goes back as scanned, since the ILS was asked about its own number.
    """
    spec = SPECS.get(answer_code(turn.request.code) or "")
    if spec is None or native.code != spec.code:
        return None
    fields = list(_visible(turn, native))
    if echo_patron:
        fields = [(tag, turn.show_patron() if tag == "AA" else value) for tag, value in fields]
    sent = {tag for tag, _ in fields}
    echoed = (
        ("AO", turn.institution),
        ("AA", turn.show_patron()),
        ("AB", turn.request.get("AB")),
    )
    fields += [
        (tag, value) for tag, value in echoed if tag in spec.required_set and tag not in sent
    ]
    return Message(spec.code, _legal(turn, native, spec), fields, in_order=True)


def _legal(turn: Answering, native: WireMessage, spec: MessageSpec) -> dict[str, str]:
    """Return the ILS's fixed part; what cannot stand in it gives way to the field's default."""
    fixed = {}
    for one in spec.fixed:
        value = native.fixed.get(one.name, "")
        if not one.accepts(value):
            value = turn.stamp() if one.is_date else one.default
        fixed[one.name] = value
    return fixed


def add_native(
    turn: Answering, ours: Message, native: WireMessage | None, *, without: Iterable[str] = ()
) -> Message:
    """Add to our answer what only the ILS said, in its order and with repeats; return it.

    A tag that we send empty gets the ILS's value. Screen messages of the ILS follow ours.

    Args:
        without: tags of the ILS that would contradict our answer.
    """
    if native is None:
        return ours
    theirs = [
        (tag, value) for tag, value in _visible(turn, native) if tag not in _OURS | {*without}
    ]
    empty = {tag for tag, value in ours.fields if not value}
    filled = {tag: value for tag, value in reversed(theirs) if tag in empty and value}
    ours.fields = [(tag, value or filled.get(tag, "")) for tag, value in ours.fields]
    have = {tag for tag, _ in ours.fields}
    ours.fields += [(tag, value) for tag, value in theirs if tag not in have]
    said = ours.get_all("AF")
    ours.fields += [("AF", text) for text in texts_of(turn, native) if text not in said]
    return ours


def without_pupil(turn: Answering, native: WireMessage) -> WireMessage:
    """Return what the ILS said of an item, without the number of the pupil who has or had it, be it
    in AA or in a tag that the standard does not know; staff see it.
    """
    if turn.is_staff:
        return native
    known = SPECS[native.code].tags - {"AA"} if native.code in SPECS else frozenset[str]()
    doubtful = {
        value.strip(): None
        for tag, value in native.fields
        if tag not in known and _NUMBER.fullmatch(value.strip())
    }
    looked_up = list(doubtful)[:_MOST_NUMBERS]
    shown = {one for one in looked_up if not turn.patrons.is_enrolled(one, turn.library)}
    hidden = doubtful.keys() - shown
    if not hidden:
        return native
    fields = [pair for pair in native.fields if pair[0] in known or pair[1].strip() not in hidden]
    return replace(native, fields=tuple(fields))


def texts_of(turn: Answering, native: WireMessage) -> tuple[str, ...]:
    """Return the ILS's screen messages that say something, as this terminal may show them."""
    fields = _visible(turn, native)
    return tuple(value for tag, value in fields if tag == "AF" and value.strip())


def _visible(turn: Answering, native: WireMessage) -> Iterator[tuple[str, str]]:
    """Yield what this terminal may have of the ILS's fields, changed as it may show them."""
    terminal = turn.terminal
    hidden = SECRET_TAGS | (PERSONAL_TAGS if terminal.mask_name else frozenset())
    if native.code in _ABOUT_ITEMS:
        hidden = hidden - WAITING_TAGS if turn.is_staff else hidden | WAITING_TAGS
    name = native.get("AE").strip() if terminal.mask_name else ""
    for tag, value in native.fields:
        if tag in hidden:
            continue
        if tag == "AO":
            yield tag, turn.request.get("AO") or value
        elif tag == "AA":
            yield tag, turn.show_number(value)
        elif tag == "AB":
            yield tag, turn.request.get("AB") if value == turn.item else value
        elif tag in {"AE", "DA"} or (name and value.strip() == name):
            yield tag, turn.show_name(value)
        elif tag in _TEXTS and len(name) > 1 and name in value:
            yield tag, value.replace(name, turn.show_name(name))
        else:
            yield tag, value

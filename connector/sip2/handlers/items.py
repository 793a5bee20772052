"""Item information (17) and item status update (19).

Nothing here decides. Rules: the policy has no say in either, so that an ILS that speaks SIP2
answers itself, and its answer goes back whole; an item of another library of this process that the
local ILS does not know is asked of its owner's.
"""

from __future__ import annotations

from connector.domain.circulation import Reason
from connector.domain.ids import ItemId
from connector.domain.item import IlsItem
from connector.errors import AdapterError, OutcomeUnknown
from connector.ports.ils import Capability
from connector.services.facts import FactReader
from connector.sip2.codec import Message, format_date
from connector.sip2.handlers.common import Answering
from connector.sip2.handlers.passing import add_native, pass_on, without_pupil
from connector.sip2.terminal import Permission

__all__ = ["answer_item_information", "answer_item_status"]


def answer_item_information(turn: Answering, facts: FactReader) -> Message:
    """Answer 17 with 18; an unknown item has circulation status 01 and an empty title."""
    adapter = facts.adapters[turn.library.code]
    if Capability.FETCH_ITEM not in adapter.capabilities:
        return turn.refuse(Reason.NOT_SUPPORTED)
    items = facts.resolve_item(turn.scanned("AB"), turn.library)
    if len(items) != 1:
        return turn.refuse(Reason.AMBIGUOUS_ITEM)
    item = items[0]
    try:
        native = (
            turn.patrons.forward(turn.to_exchange()) if item.owner == turn.library.code else None
        )
        passed = pass_on(turn, without_pupil(turn, native)) if native is not None else None
        if passed is not None:
            return passed
        record = adapter.fetch_item(item.barcode) or _ask_owner(turn, facts, item)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if record is None:
        return turn.refuse(Reason.UNKNOWN_ITEM)
    return _information(turn, item, record)


def _ask_owner(turn: Answering, facts: FactReader, item: ItemId) -> IlsItem | None:
    """Return an item of another library as its own ILS knows it."""
    owner = facts.adapters.get(item.owner)
    if item.owner == turn.library.code or owner is None:
        return None
    return owner.fetch_item(item.barcode) if Capability.FETCH_ITEM in owner.capabilities else None


def _information(turn: Answering, of: ItemId, item: IlsItem) -> Message:
    fixed = {
        "circulation_status": item.status.value,
        "security_marker": "00",
        "fee_type": "01",
        "transaction_date": turn.stamp(),
    }
    fields = [("AB", turn.request.get("AB")), ("AJ", item.title)]
    more = [
        ("CF", f"{item.hold_count:04d}" if item.hold_count else ""),
        ("AH", format_date(item.due, turn.library.zone) if item.due else ""),
        ("BG", of.owner),
        ("BH", item.currency if item.fee else ""),
        ("BV", f"{item.fee:.2f}" if item.fee else ""),
        ("CK", item.media_type),
        ("AQ", item.permanent_location),
        ("AP", item.current_location),
        ("CH", item.properties),
        ("CR", item.collection),
        ("CS", item.call_number),
    ]
    ours = Message("18", fixed, fields + [(tag, value) for tag, value in more if value])
    if item.native is None:
        return ours
    for name in ("security_marker", "fee_type"):
        ours.fixed[name] = item.native.fixed.get(name) or ours.fixed[name]
    return add_native(turn, ours, without_pupil(turn, item.native))


def answer_item_status(turn: Answering, facts: FactReader) -> Message:
    """Answer 19 with 20: the terminal's properties of an item are stored."""
    if not turn.permits(Permission.ITEM_STATUS):
        return turn.refuse(Reason.NOT_PERMITTED_HERE)
    adapter = facts.adapters[turn.library.code]
    if Capability.UPDATE_ITEM_STATUS not in adapter.capabilities:
        return turn.refuse(Reason.NOT_SUPPORTED)
    barcode = turn.item
    try:
        native = turn.patrons.forward(turn.to_exchange())
        passed = pass_on(turn, native) if native is not None else None
        if passed is not None:
            return passed
        stored = adapter.update_item_status(barcode, turn.request.get("CH"))
        item = adapter.fetch_item(barcode) if stored else None
    except OutcomeUnknown:
        return turn.refuse(Reason.OUTCOME_UNKNOWN)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if not stored:
        return turn.refuse(Reason.UNKNOWN_ITEM)
    fields = [("AB", turn.request.get("AB")), ("AJ", item.title if item else "")]
    if item is not None and item.properties:
        fields.append(("CH", item.properties))
    return Message("20", {"item_properties_ok": "1", "transaction_date": turn.stamp()}, fields)

"""Item information (17) and item status update (19)."""

from __future__ import annotations

from connector.domain.circulation import Reason
from connector.errors import AdapterError
from connector.ports.ils import Capability
from connector.services.facts import FactReader
from connector.sip2.codec import Message, format_date
from connector.sip2.handlers.common import Answering
from connector.sip2.terminal import Permission

__all__ = ["answer_item_information", "answer_item_status"]


def answer_item_information(turn: Answering, facts: FactReader) -> Message:
    """Answer 17 with 18; an unknown item has circulation status 01 and an empty title."""
    adapter = facts.adapters[turn.library.code]
    if Capability.FETCH_ITEM not in adapter.capabilities:
        return turn.refuse(Reason.NOT_SUPPORTED)
    items = facts.resolve_item(turn.request.get("AB"), turn.library)
    if len(items) != 1:
        return turn.refuse(Reason.AMBIGUOUS_ITEM)
    try:
        item = adapter.fetch_item(items[0].barcode)
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if item is None:
        return turn.refuse(Reason.UNKNOWN_ITEM)
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
        ("BG", items[0].owner),
        ("BH", item.currency if item.fee else ""),
        ("BV", f"{item.fee:.2f}" if item.fee else ""),
        ("CK", item.media_type),
        ("AQ", item.permanent_location),
        ("AP", item.current_location),
        ("CH", item.properties),
        ("CR", item.collection),
        ("CS", item.call_number),
    ]
    return Message("18", fixed, fields + [(tag, value) for tag, value in more if value])


def answer_item_status(turn: Answering, facts: FactReader) -> Message:
    """Answer 19 with 20: the terminal's properties of an item are stored."""
    if not turn.permits(Permission.ITEM_STATUS):
        return turn.refuse(Reason.NOT_PERMITTED_HERE)
    adapter = facts.adapters[turn.library.code]
    if Capability.UPDATE_ITEM_STATUS not in adapter.capabilities:
        return turn.refuse(Reason.NOT_SUPPORTED)
    barcode = turn.library.barcodes.normalise(turn.request.get("AB"))
    try:
        stored = adapter.update_item_status(barcode, turn.request.get("CH"))
        item = adapter.fetch_item(barcode) if stored else None
    except AdapterError:
        return turn.refuse(Reason.ILS_UNAVAILABLE)
    if not stored:
        return turn.refuse(Reason.UNKNOWN_ITEM)
    fields = [("AB", turn.request.get("AB")), ("AJ", item.title if item else "")]
    if item is not None and item.properties:
        fields.append(("CH", item.properties))
    return Message("20", {"item_properties_ok": "1", "transaction_date": turn.stamp()}, fields)

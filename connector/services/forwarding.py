"""Handing a terminal's own message on to an ILS that speaks SIP2, and its answer back.

Nothing here decides who may. Rules: decisions 4, 15 —

- of somebody whom we did not enrol, patron and PIN go on untouched; the item goes as the library's
  ILS writes its barcodes; of several patrons, items or PINs in one message only the first goes on,
  which is the one that was looked at;
- of an enrolled patron, the number that the ILS knows him by is put in for the scanned one, and no
  PIN goes on that this terminal may not ask for;
- never for what lends, takes back, renews or pays for an enrolled patron: that has a flow of its
  own.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.wire import WireMessage
from connector.ports.ils import Capability
from connector.services.desk import CirculationDesk, Exchange, context_for_ils

__all__ = ["Passed", "can_forward", "forward"]

_ONCE = frozenset({"AA", "AB", "AD"})


@dataclass(frozen=True, slots=True)
class Passed:
    """The whole answer of an ILS that speaks SIP2, to be passed on.

    Attributes:
        enrolled: it was asked about its own number of an enrolled patron, not the scanned one.
    """

    native: WireMessage = field(repr=False)
    enrolled: bool = False


def can_forward(desk: CirculationDesk, exchange: Exchange) -> bool:
    """Say whether there is a terminal's message, and an ILS that takes it."""
    adapter = desk.adapters[exchange.institution]
    return exchange.context.request is not None and Capability.FORWARD in adapter.capabilities


def forward(
    desk: CirculationDesk, exchange: Exchange, *, patron: IlsPatronId | None = None
) -> WireMessage | None:
    """Hand the terminal's message on and return the answer; None = the ILS has no such message.

    Args:
        patron: the number that the ILS knows an enrolled patron by; None passes who was scanned.

    Raises:
        AdapterUnavailable: nothing was sent.
        OutcomeUnknown: it was sent, and no answer came.
    """
    request, context = exchange.context.request, exchange.context
    if request is None:
        return None
    if patron is not None:
        context = context_for_ils(exchange)
        request = _in_the_name_of(request, patron, context.pin)
    barcode = desk.libraries[exchange.institution].barcodes.normalise(exchange.scanned_item)
    request = _with_item(_without_repeats(request), barcode)
    adapter = desk.adapters[exchange.institution]
    return adapter.forward(request, replace(context, request=request))


def _without_repeats(request: WireMessage) -> WireMessage:
    """Return a terminal's message with one patron, one item and one PIN: an ILS that takes the
    last of several would act for somebody whom nobody has looked at.
    """
    fields, seen = [], set()
    for tag, value in request.fields:
        if tag in _ONCE and tag in seen:
            continue
        seen.add(tag)
        fields.append((tag, value))
    return replace(request, fields=tuple(fields))


def _in_the_name_of(request: WireMessage, patron: IlsPatronId, pin: str | None) -> WireMessage:
    """Return a terminal's message with the ILS's own number of the patron, and this PIN or none."""
    fields = [
        (tag, patron if tag == "AA" else value)
        for tag, value in request.fields
        if tag != "AD" or pin is not None
    ]
    return replace(request, fields=tuple(fields))


def _with_item(request: WireMessage, barcode: Barcode) -> WireMessage:
    """Return a terminal's message with the item as the ILS writes it."""
    fields = [(tag, barcode if tag == "AB" and value else value) for tag, value in request.fields]
    return replace(request, fields=tuple(fields))

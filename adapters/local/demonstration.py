"""What the demonstration gets from the embedded ILS: sample stock, and one behind a SIP2 server.

Nothing here is used by a library. Rules: an ILS is filled only where its settings say that it is
for the demonstration; the password of the server is made here and is told to the caller only.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Final

from adapters.local.adapter import SPEC, LocalAdapter
from adapters.local.settings import LocalSettings
from connector.domain.ids import Barcode
from connector.plugins.hookspecs import DemoContext, DemoIls, DemoIlsContext, DemoItem
from connector.ports.ils import AdapterContext, ItemInput
from connector.sip2.terminal import WireProfile

__all__ = ["open_ils", "seed"]

_LOGIN: Final = "gateway"
_HOST: Final = "127.0.0.1"


def seed(context: DemoContext) -> None:
    """Add the sample stock to an embedded ILS whose settings allow it; what is there stays."""
    if isinstance(context.adapter, LocalAdapter) and context.adapter.settings.demo:
        _fill(context.adapter, context.items)


def open_ils(context: DemoIlsContext) -> DemoIls:
    """Serve an embedded ILS over SIP2."""
    # Here, since `python -m adapters.local.sip2_server` imports this package first.
    from adapters.local.sip2_server import LocalSip2Server

    adapter = SPEC.build(
        LocalSettings(demo=True),
        AdapterContext(context.institution, context.timezone, str(context.folder), context.now),
    )
    assert isinstance(adapter, LocalAdapter)  # noqa: S101 (for the reader of types)
    _fill(adapter, context.items)
    password = secrets.token_urlsafe(9)
    server = LocalSip2Server(
        adapter,
        profile=WireProfile(encoding=context.encoding),
        logins={_LOGIN: password},
        host=_HOST,
    )
    server.start()

    def close() -> None:
        server.stop()
        adapter.close()

    return DemoIls(_HOST, server.port, _LOGIN, password, adapter.upsert_patron, close)


def _fill(adapter: LocalAdapter, items: Sequence[DemoItem]) -> None:
    for item in items:
        if adapter.fetch_item(Barcode(item.barcode)) is None:
            bib_id = adapter.add_bib(item.record, item.dialect)
            adapter.add_item(bib_id, _input_of(item))


def _input_of(item: DemoItem) -> ItemInput:
    return ItemInput(
        barcode=Barcode(item.barcode),
        item_type=item.item_type,
        location=item.location,
        collection=item.collection,
        call_number=item.call_number,
    )

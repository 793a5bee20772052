"""The embedded ILS as a plugin: it offers its adapter and fills it for the demonstration."""

from __future__ import annotations

from collections.abc import Sequence

from adapters.local.adapter import SPEC, LocalAdapter
from connector.domain.ids import Barcode
from connector.plugins.hookspecs import DemoContext, DemoItem, hookimpl
from connector.ports.ils import AdapterSpec, ItemInput

__all__ = ["register_ils_adapters", "seed_demonstration"]


@hookimpl
def register_ils_adapters() -> Sequence[AdapterSpec]:
    """Offer the embedded ILS."""
    return (SPEC,)


@hookimpl
def seed_demonstration(context: DemoContext) -> None:
    """Add the sample stock to an embedded ILS whose settings allow it; what is there stays."""
    adapter = context.adapter
    if isinstance(adapter, LocalAdapter) and adapter.settings.demo:
        for item in context.items:
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

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from adapters.local.adapter import build_adapter
from adapters.local.settings import LocalSettings
from connector.domain.bib import BibSummary
from connector.marc.write import build_record
from connector.ports.ils import AdapterContext, ExchangeContext, ItemInput, PatronInput


class Clock:
    """A clock that the test moves."""

    def __init__(self):
        self.now = datetime(2026, 9, 7, 2, 0, tzinfo=UTC)

    def __call__(self):
        return self.now

    def forward(self, **how):
        self.now += timedelta(**how)


class LocalWorld:
    """One embedded ILS with what a test needs at hand."""

    def __init__(self, folder, **settings):
        self.clock = Clock()
        self.folder = folder
        self.adapter = build_adapter(
            LocalSettings(**settings),
            AdapterContext("LIB", "Asia/Shanghai", str(folder), self.clock),
        )
        self.serial = 0

    def at(self, **values):
        return ExchangeContext(at=values.pop("at", self.clock.now), **values)

    def patron(self, card="P1", **values):
        values = {"category": "adult", "name": "王小明"} | values
        return self.adapter.upsert_patron(PatronInput(f"x-{card}", card, **values)).ils_patron

    def title(self, *barcodes, title=None, **values):
        self.serial += 1
        record = build_record(BibSummary(title or f"书{self.serial}", "某人", languages=("chi",)))
        bib_id = self.adapter.add_bib(record, "marc21")
        for barcode in barcodes:
            self.adapter.add_item(bib_id, ItemInput(barcode, **values))
        return bib_id


@pytest.fixture
def make_world(tmp_path):
    made = []

    def make(**settings):
        made.append(LocalWorld(tmp_path, **settings))
        return made[-1]

    yield make
    for world in made:
        world.adapter.close()


@pytest.fixture
def world(make_world):
    return make_world()

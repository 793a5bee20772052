"""A library with the embedded ILS behind the gateway, two pupils and three books."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from adapters.local.adapter import SPEC, LocalAdapter
from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.ils import AdapterContext, ItemInput, PatronInput
from connector.ports.store import PersonalData
from connector.testing.records import make_record
from tests.support.world import Kiosk, SteppingClock, World

CODE = InstitutionId("FDX")
EVERYTHING = 'permissions = ["block_patron", "enable_patron", "item_status"]'


class Shelf:
    """A library with the embedded ILS, one pupil and three books."""

    def __init__(self, make_world: Callable[..., World], folder: Path, **options: str) -> None:
        clock = SteppingClock()
        context = AdapterContext(CODE, "Asia/Shanghai", str(folder), clock)
        ils = SPEC.build(SPEC.settings.model_validate({"path": "ils.db"}), context)
        assert isinstance(ils, LocalAdapter)
        self.ils = ils
        self.world = make_world(clock=clock, adapters={CODE: ils}, **options)
        for number in ("1", "2", "3"):
            bib = ils.add_bib(make_record(f"书名{number}"), "marc21")
            ils.add_item(bib, ItemInput(Barcode(f"B{number}"), call_number=f"I287/{number}"))
        for card, name, pin in (("S1", "张小江", "2468"), ("S2", "李知夏", None)):
            self.ils.upsert_patron(PatronInput(card, IlsPatronId(card), name, "student", pin=pin))
            people = self.world.app.store.people
            person = people.add_person(
                PersonalData(name=name),
                [Identifier("card", card)],
                home=CODE,
                category="student",
                state=StandingState.ACTIVE,
            )
            people.set_account(person, CODE, IlsPatronId(card))
        self.kiosk: Kiosk = self.world.kiosk(CODE)

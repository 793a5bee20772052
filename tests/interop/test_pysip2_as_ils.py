"""The ILS behind is pysip2's server, written by others: our codec is not on both sides.

It closes the connection on a blank ``nb due date`` and on values over 255 bytes; an ILS like it is set up with ``obeys_due_date``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from adapters.sip2.adapter import SPEC
from connector.domain.loan import LoanState
from connector.ports.ils import AdapterContext, Capability
from tests.support.fault_matrix import enrol
from tests.support.sip2_ils import CODE, LOGIN, PASSWORD
from tests.support.world import Kiosk, SteppingClock, World

pysip2 = pytest.importorskip("pysip2", reason="the package pysip2 is not installed")
anyio = pytest.importorskip("anyio", reason="pysip2 brings the package anyio")
pytestmark = pytest.mark.interop

NOON = "20261121    120000"


@dataclass
class Shelf:
    """The whole library system: who has what until when, and how often it was renewed."""

    titles: dict[str, str]
    cards: set[str]
    loans: dict[str, tuple[str, str]] = field(default_factory=dict)
    renewals: dict[str, int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)


def serve(shelf: Shelf) -> pysip2.SIP2Server:
    """Return pysip2's server over it."""
    app = pysip2.SIP2Server(institution_id=CODE, encoding="utf-8", login_required=True)

    def same(request) -> dict[str, str]:
        shelf.asked.append(type(request).__name__)
        return {"institution_id": request.institution_id, "transaction_date": NOON}

    @app.route(pysip2.LOGIN)
    async def login(request, _context):
        right = (request.login_user_id, request.login_password) == (LOGIN, PASSWORD)
        return pysip2.LoginResponse(ok="1" if right else "0")

    @app.route(pysip2.PATRON_INFORMATION)
    async def information(request, _context):
        card = request.patron_identifier
        mine = tuple(barcode for barcode, (who, _) in shelf.loans.items() if who == card)
        known = card in shelf.cards
        return pysip2.PatronInformationResponse(
            **same(request),
            patron_status=" " * 14 if known else "YYYY" + " " * 10,
            language="019",
            hold_items_count="0000",
            overdue_items_count="0000",
            charged_items_count=f"{len(mine):04}",
            fine_items_count="0000",
            recall_items_count="0000",
            unavailable_holds_count="0000",
            patron_identifier=card,
            personal_name="张小江" if known else "",
            valid_patron="Y" if known else "N",
            charged_items=mine if request.summary[2] == "Y" else (),
        )

    @app.route(pysip2.ITEM_INFORMATION)
    async def item(request, _context):
        barcode = request.item_identifier
        lent = shelf.loans.get(barcode)
        common = same(request)
        del common["institution_id"]
        return pysip2.ItemInformationResponse(
            **common,
            circulation_status="01" if barcode not in shelf.titles else "04" if lent else "03",
            security_marker="01",
            fee_type="01",
            item_identifier=barcode,
            title_identifier=shelf.titles.get(barcode, ""),
            due_date=lent[1] if lent else None,
        )

    @app.route(pysip2.CHECKOUT)
    async def checkout(request, _context):
        barcode = request.item_identifier
        free = barcode in shelf.titles and barcode not in shelf.loans
        if free:
            shelf.loans[barcode] = (request.patron_identifier, request.nb_due_date)
            shelf.renewals[barcode] = 0
        return pysip2.CheckoutResponse(
            **same(request),
            ok="1" if free else "0",
            renewal_ok="N",
            magnetic_media="N",
            desensitize="Y" if free else "N",
            patron_identifier=request.patron_identifier,
            item_identifier=barcode,
            title_identifier=shelf.titles.get(barcode, ""),
            due_date=request.nb_due_date if free else "",
            screen_message=() if free else ("Not for you",),
        )

    @app.route(pysip2.RENEW)
    async def renew(request, _context):
        barcode = request.item_identifier
        mine = shelf.loans.get(barcode, ("", ""))[0] == request.patron_identifier
        if mine:
            shelf.loans[barcode] = (request.patron_identifier, request.nb_due_date)
            shelf.renewals[barcode] += 1
        return pysip2.RenewResponse(
            **same(request),
            ok="1" if mine else "0",
            renewal_ok="Y" if mine else "N",
            magnetic_media="N",
            desensitize="N",
            patron_identifier=request.patron_identifier,
            item_identifier=barcode,
            title_identifier=shelf.titles.get(barcode, ""),
            due_date=shelf.loans.get(barcode, ("", ""))[1],
        )

    @app.route(pysip2.CHECKIN)
    async def checkin(request, _context):
        barcode = request.item_identifier
        lent = shelf.loans.pop(barcode, None)
        return pysip2.CheckinResponse(
            **same(request),
            ok="1" if barcode in shelf.titles else "0",
            resensitize="Y",
            magnetic_media="N",
            alert="N",
            item_identifier=barcode,
            permanent_location="hall",
            title_identifier=shelf.titles.get(barcode, ""),
            patron_identifier=lent[0] if lent else None,
        )

    return app


class Running:
    """The server in a thread with an event loop of its own."""

    def __init__(self, app: pysip2.SIP2Server) -> None:
        self._app = app
        self._port: Future[int] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._thread.start()
        self.port = self._port.result(timeout=20)

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        # Its own ``start`` leaves the listener open.
        listener = await self._app.listen("127.0.0.1", 0)
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._app._handle_connection)
            self._port.set_result(listener.extra(anyio.abc.SocketAttribute.local_port))
            await self._stop.wait()
            group.cancel_scope.cancel()

    def stop(self) -> None:
        assert self._loop is not None
        assert self._stop is not None
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout=20)


@dataclass
class Site:
    shelf: Shelf
    world: World
    kiosk: Kiosk


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    titles = {f"B{number}": f"第{number}本书" for number in range(1, 11)}
    shelf = Shelf(titles, {"S1", "A1"})
    running = Running(serve(shelf))
    clock = SteppingClock()
    (tmp_path / "ils.password").write_text(PASSWORD, encoding="utf-8")
    settings = SPEC.settings.model_validate(
        {
            "host": "127.0.0.1",
            "port": running.port,
            "login": LOGIN,
            "password_file": "ils.password",
            "obeys_due_date": True,
        }
    )
    adapter = SPEC.build(settings, AdapterContext(CODE, "Asia/Shanghai", str(tmp_path), clock))
    world = World(tmp_path, f"sqlite:///{tmp_path}/store.db", clock=clock, adapters={CODE: adapter})
    enrol(world, "S1")
    yield Site(shelf, world, world.kiosk(CODE))
    world.close()
    running.stop()


def test_a_visit(site: Site) -> None:
    kiosk, shelf = site.kiosk, site.shelf
    before = kiosk.information("S1")
    assert (before.get("BL"), before.fixed["charged_count"]) == ("Y", "0000")
    lent = kiosk.checkout("S1", "B1")
    assert (lent.fixed["ok"], lent.get("AJ"), lent.get("AH")[:8]) == ("1", "第1本书", "20261221")
    assert shelf.loans["B1"][0] == "S1"
    assert kiosk.item("B1").fixed["circulation_status"] == "04"
    assert kiosk.charged("S1") == ["B1"]
    site.world.clock.advance(days=3)
    renewed = kiosk.renew("S1", "B1")
    assert (renewed.fixed["ok"], renewed.get("AH")[:8]) == ("1", "20261224")
    assert shelf.renewals["B1"] == 1
    assert kiosk.renew("S1", "B1").fixed["ok"] == "0"
    assert shelf.renewals["B1"] == 1
    back = kiosk.checkin("B1")
    assert (back.fixed["ok"], back.fixed["resensitize"]) == ("1", "Y")
    assert shelf.loans == {}
    assert kiosk.item("B1").fixed["circulation_status"] == "03"
    assert kiosk.charged("S1") == []


def test_the_limit_and_what_the_ils_refuses(site: Site) -> None:
    kiosk, shelf = site.kiosk, site.shelf
    for number in range(1, 9):
        assert kiosk.checkout("S1", f"B{number}").fixed["ok"] == "1"
    assert kiosk.checkout("S1", "B9").fixed["ok"] == "0"
    assert len(shelf.loans) == 8
    assert kiosk.information("S1").fixed["charged_count"] == "0008"
    kiosk.checkin("B1")
    shelf.loans["B9"] = ("A1", "20261231    235959")
    assert kiosk.checkout("S1", "B9").fixed["ok"] == "0"
    assert kiosk.checkout("S1", "NOTHING").fixed["ok"] == "0"
    assert kiosk.checkout("S1", "B10").fixed["ok"] == "1"


def test_a_loan_made_at_its_desk_is_found_and_counts(site: Site) -> None:
    shelf = site.shelf
    shelf.loans["B1"] = ("S1", "20261231    235959")
    shelf.renewals["B1"] = 0
    assert site.kiosk.charged("S1") == ["B1"]
    (row,) = site.world.app.store.ledger.list_unclosed(
        site.world.app.store.people.find_by_account("S1", CODE).patron_id
    )
    assert (row.item.barcode, row.state) == ("B1", LoanState.OPEN)
    assert row.due - site.world.clock() > timedelta(days=39)


def test_what_it_can_do_is_learnt_from_its_98(site: Site) -> None:
    adapter = site.world.adapters[CODE]
    adapter.ping()
    can = adapter.capabilities
    assert {Capability.CHECKOUT, Capability.RENEW, Capability.FETCH_ITEM} <= can
    assert not {Capability.PAY_FEE, Capability.PLACE_HOLD, Capability.BLOCK_PATRON} & can

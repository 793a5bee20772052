"""The real gateway over the embedded ILS, for clients that are not ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from adapters.local.sip2_server import LocalSip2Server
from connector.domain.ids import IlsPatronId
from tests.support.shelf import CODE, EVERYTHING, Shelf
from tests.support.world import PASSWORD, World


@dataclass
class GatewayServer:
    """Where the server is, and who and what may be used for one round of everything."""

    port: int
    login: str
    password: str
    institution: str
    patron: str
    pin: str
    item: str


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made: list[World] = []

    def make_world(**options: object) -> World:
        made.append(World(tmp_path, f"sqlite:///{tmp_path}/store.db", **options))  # type: ignore[arg-type]
        return made[-1]

    yield Shelf(make_world, tmp_path, terminal=EVERYTHING)
    for world in made:
        world.close()


@pytest.fixture
def gateway_server(shelf: Shelf) -> GatewayServer:
    shelf.ils.charge_fee(IlsPatronId("S1"), Decimal("1.50"))
    return GatewayServer(
        shelf.world.server.port, f"kiosk-{CODE}", PASSWORD, CODE, "S1", "2468", "B1"
    )


@pytest.fixture
def local_server(shelf: Shelf) -> Iterator[GatewayServer]:
    """The embedded ILS's own SIP2 server, without any gateway."""
    shelf.ils.charge_fee(IlsPatronId("S1"), Decimal("1.50"))
    with LocalSip2Server(shelf.ils, logins={"kiosk": "secret"}) as server:
        yield GatewayServer(server.port, "kiosk", "secret", CODE, "S1", "2468", "B1")

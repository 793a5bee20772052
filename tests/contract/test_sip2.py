"""An ILS that speaks SIP2 keeps the contract of the port: the embedded ILS behind a real socket."""

from __future__ import annotations

from typing import ClassVar

import pytest

from adapters.local.adapter import build_adapter as build_local
from adapters.local.settings import LocalSettings
from adapters.local.sip2_server import LocalSip2Server
from adapters.sip2.adapter import build_adapter
from adapters.sip2.settings import Sip2Settings
from connector.domain.ids import InstitutionId
from connector.ports.clock import utc_now
from connector.ports.ils import AdapterContext
from connector.sip2.terminal import WireProfile
from connector.testing.contract_seed import AdapterSeed
from connector.testing.ils_contract import IlsAdapterContract


class TestSip2(IlsAdapterContract):
    """By the standard, with everything that an ILS can offer by it."""

    speaks = WireProfile()
    settings: ClassVar = {}

    @pytest.fixture
    def desk(self, tmp_path):
        """The ILS behind, as its own staff use it."""
        context = AdapterContext(InstitutionId("LIB"), "Asia/Shanghai", str(tmp_path), utc_now)
        desk = build_local(LocalSettings(), context)
        yield desk
        desk.close()

    @pytest.fixture
    def adapter(self, desk, tmp_path):
        (tmp_path / "ils.password").write_text("secret", "utf-8")
        context = AdapterContext(InstitutionId("LIB"), "Asia/Shanghai", str(tmp_path), utc_now)
        with LocalSip2Server(desk, profile=self.speaks, logins={"gateway": "secret"}) as server:
            settings = Sip2Settings(
                host="127.0.0.1",
                port=server.port,
                login="gateway",
                password_file="ils.password",
                **self.settings,
            )
            adapter = build_adapter(settings, context)
            yield adapter
            adapter.close()

    @pytest.fixture
    def seed(self, desk):
        seed = AdapterSeed(desk)
        yield seed
        seed.clean()


class TestSip2Chinese(TestSip2):
    """GBK, CRLF, no error detection, zeros for zones: as much of it as SIP2 lets vary."""

    speaks = WireProfile(encoding="gbk", terminator="\r\n")
    settings: ClassVar = {
        "encoding": "gbk",
        "terminator": "CRLF",
        "error_detection": "never",
        "checksum": "ignore",
        "dates": "zeros",
        "institution_rule": "echo",
        "status": "before_login",
        "connections": 1,
    }


class TestSip2Sparse(TestSip2):
    """A system that counts loans and lists none, and has neither holds nor payments."""

    settings: ClassVar = {
        "charged_items": "none",
        "trust_bx": False,
        "features": {"hold": False, "fee_paid": False, "item_status": False},
    }


class TestSip2PatronStatusOnly(TestSip2):
    """A system that answers 23 and no 63, and no item information."""

    settings: ClassVar = {"features": {"patron_information": False, "item_information": False}}


class TestSip2Blocking(TestSip2):
    """Blocks and their undoing, where a library allows them."""

    settings: ClassVar = {"features": {"block_patron": True}}

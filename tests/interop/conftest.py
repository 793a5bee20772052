"""A SIP2 server for clients that are not ours."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from connector.domain.ids import InstitutionId, TerminalId
from connector.sip2.codec import Message
from connector.sip2.replies import build_refusal
from connector.sip2.server import Sip2Server
from connector.sip2.terminal import Terminal

NOON = "20261121    120000"
SHANGHAI = ZoneInfo("Asia/Shanghai")
TERMINAL = Terminal(TerminalId("kiosk1"), InstitutionId("MAIN"), password="secret")


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


class SmallLibrary:
    """One patron, one item, every reply that the client asks for."""

    def __init__(self):
        self.borrower = ""

    def log_in(self, login, password, location, peer):
        return TERMINAL if (login, password) == ("kiosk1", "secret") else None

    def handle(self, request, exchange):
        answer = getattr(self, f"_answer_{request.code}", None)
        return self.refuse_late(request, exchange) if answer is None else answer(request)

    def refuse_late(self, request, exchange):
        return build_refusal(
            request, institution="MAIN", screen_message="no", now=datetime.now(UTC), zone=SHANGHAI
        )

    def _patron(self, request):
        valid = "Y" if request.get("AA") == "P1" else "N"
        right = "Y" if request.get("AD") == "4711" else "N"
        ids = [("AO", request.get("AO")), ("AA", request.get("AA")), ("AE", "张*")]
        return [*ids, ("BL", valid), ("CQ", right)]

    def _answer_99(self, request):
        fixed = {"online": "Y", "checkin_ok": "Y", "checkout_ok": "Y", "acs_renewal_policy": "Y"}
        fields = [("AO", "MAIN"), ("BX", "Y" * 16)]
        return Message("98", {**fixed, "date_time_sync": NOON, "protocol_version": "2.00"}, fields)

    def _answer_23(self, request):
        fixed = {"patron_status": " " * 14, "language": "019", "transaction_date": NOON}
        return Message("24", fixed, self._patron(request))

    def _answer_63(self, request):
        count = "0001" if self.borrower else "0000"
        fixed = {"patron_status": " " * 14, "transaction_date": NOON, "charged_count": count}
        charged = [("AU", "B1")] if self.borrower else []
        return Message("64", fixed, [*self._patron(request), *charged])

    def _loan(self, code, request, *, renewal):
        ok = "1" if request.get("AB") == "B1" and bool(self.borrower) == renewal else "0"
        if ok == "1":
            self.borrower = request.get("AA")
        fixed = {"ok": ok, "renewal_ok": "Y" if renewal else "N", "transaction_date": NOON}
        fields = [(tag, request.get(tag)) for tag in ("AO", "AA", "AB")]
        return Message(code, fixed, [*fields, ("AJ", "红楼梦"), ("AH", "2026-12-21")])

    def _answer_11(self, request):
        return self._loan("12", request, renewal=False)

    def _answer_29(self, request):
        return self._loan("30", request, renewal=True)

    def _answer_09(self, request):
        self.borrower = ""
        fixed = {
            "ok": "1",
            "resensitize": "Y",
            "magnetic": "N",
            "alert": "N",
            "transaction_date": NOON,
        }
        return Message("10", fixed, [("AO", "MAIN"), ("AB", request.get("AB")), ("AQ", "stacks")])

    def _answer_37(self, request):
        fixed = {"payment_accepted": "Y", "transaction_date": NOON}
        return Message("38", fixed, [("AO", "MAIN"), ("AA", request.get("AA"))])

    def _answer_35(self, request):
        fixed = {"end_session": "Y", "transaction_date": NOON}
        return Message("36", fixed, [("AO", "MAIN"), ("AA", request.get("AA"))])


@pytest.fixture
def gateway_server():
    """A running server as ``GatewayServer``; another one may take its place."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def call(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(30)

    async def start():
        server = Sip2Server(SmallLibrary())
        await server.start("127.0.0.1", 0)
        return server

    server = call(start())
    yield GatewayServer(server.port, "kiosk1", "secret", "MAIN", "P1", "4711", "B1")
    call(server.stop(1))
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()

"""A SIP2 server in a thread of its own, and a small real handler, for the tests that use sockets."""

from __future__ import annotations

import asyncio
import io
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import connector.log
from connector.domain.ids import InstitutionId, TerminalId
from connector.sip2.codec import Message
from connector.sip2.replies import build_refusal
from connector.sip2.server import Sip2Server
from connector.sip2.terminal import Terminal, WireProfile

SHANGHAI = ZoneInfo("Asia/Shanghai")
NOON = "20261121    120000"


def make_terminal(name="kiosk1", password="secret", **more):
    return Terminal(TerminalId(name), InstitutionId("MAIN"), password=password, **more)


class CountingHandler:
    """Lends anything once; remembers what it was asked."""

    def __init__(self, *terminals):
        self.terminals = {
            terminal.terminal_id: terminal for terminal in terminals or [make_terminal()]
        }
        self.handled = []
        self.exchanges = []
        self.late = []
        self.logins = []
        self.gate = None  # a threading.Event that ``handle`` waits for
        self.claim_first = False
        self.started = threading.Event()
        self.raises = None
        self.reply = None

    def log_in(self, login, password, location, peer):
        self.logins.append((login, password, location, peer))
        terminal = self.terminals.get(login)
        return terminal if terminal is not None and terminal.password == password else None

    def handle(self, request, exchange):
        self.handled.append(request)
        self.exchanges.append(exchange)
        if self.claim_first:
            exchange.slot.claim()
        self.started.set()
        if self.gate is not None:
            assert self.gate.wait(30)
        if self.raises is not None:
            raise self.raises
        if self.reply is not None:
            return self.reply
        return answer(request)

    def refuse_late(self, request, exchange):
        self.late.append(request)
        return build_refusal(
            request,
            institution=exchange.terminal.institution,
            screen_message="try again",
            now=datetime.now(UTC),
            zone=SHANGHAI,
        )


def answer(request):
    """The plainest "yes" to each request that the tests send."""
    code = request.code
    echo = [("AO", request.get("AO")), ("AA", request.get("AA")), ("AB", request.get("AB"))]
    if code == "11":
        fixed = {
            "ok": "1",
            "renewal_ok": "N",
            "magnetic": "N",
            "desensitize": "Y",
            "transaction_date": NOON,
        }
        return Message("12", fixed, [*echo, ("AJ", "红楼梦"), ("AH", "2026-12-21")])
    if code == "09":
        fixed = {
            "ok": "1",
            "resensitize": "Y",
            "magnetic": "N",
            "alert": "N",
            "transaction_date": NOON,
        }
        return Message("10", fixed, [echo[0], echo[2], ("AQ", "stacks")])
    if code == "23":
        fixed = {"patron_status": " " * 14, "language": "019", "transaction_date": NOON}
        return Message("24", fixed, [*echo[:2], ("AE", "张*"), ("BL", "Y")])
    if code == "99":
        fixed = {"online": "Y", "checkin_ok": "Y", "checkout_ok": "Y", "date_time_sync": NOON}
        return Message("98", fixed, [("AO", "MAIN"), ("BX", "Y" * 16)])
    if code == "35":
        return Message("36", {"end_session": "Y", "transaction_date": NOON}, echo[:2])
    return build_refusal(
        request, institution="MAIN", screen_message="", now=datetime.now(UTC), zone=SHANGHAI
    )


class Running:
    """A started server; its loop lives in a thread."""

    def __init__(self, handler, options):
        self.handler = handler
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.server = self.call(self._start(options))
        self.port = self.server.port
        self._stopped = False

    async def _start(self, options):
        proxy_from = options.pop("proxy_from", ())
        server = Sip2Server(self.handler, **options)
        await server.start("127.0.0.1", 0, proxy_from=proxy_from)
        return server

    def listen(self, **options):
        """Open one more port."""
        return self.call(self.server.listen("127.0.0.1", 0, **options))

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    @property
    def dispatcher(self):
        return self.server._state.dispatcher

    def run(self, function):
        """Call a plain function in the server's loop."""

        async def call():
            function()

        self.call(call())

    def call_later(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    async def _stop(self, drain_s):
        await self.server.stop(drain_s)
        for _ in range(1000):  # TLS handshakes that have just failed
            if any(one.server._active_count for one in self.server.listeners):
                await asyncio.sleep(0.005)

    def stop(self, drain_s=1.0):
        if self._stopped:
            return
        self._stopped = True
        self.call(self._stop(drain_s))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


class Wire:
    """A raw socket that reads whole frames."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def read(self):
        """The next frame with its terminator; empty at the end of the stream."""
        while b"\r" not in self._rest:
            try:
                data = self.sock.recv(65536)
            except ConnectionResetError:
                return b""
            if not data:
                return b""
            self._rest += data
        frame, _, self._rest = self._rest.partition(b"\r")
        return frame + b"\r"

    def ask(self, data):
        self.send(data)
        return self.read()

    def is_closed(self):
        return self.read() == b""


@pytest.fixture(autouse=True)
def log_lines():
    """Every log line of the test, as JSON text; other tests may have closed the stream that was configured."""
    stream = io.StringIO()
    connector.log.configure(stream=stream)
    yield stream
    structlog.reset_defaults()


@pytest.fixture
def serve():
    running = []

    def start(handler=None, **options):
        options.setdefault("anonymous", lambda _peer: make_terminal("desk"))
        options.setdefault("login_delay_s", 0)
        running.append(Running(handler or CountingHandler(), options))
        return running[-1]

    yield start
    for one in running:
        one.stop()


@pytest.fixture
def connect():
    wires = []

    def open_wire(port):
        wires.append(Wire(port))
        return wires[-1]

    yield open_wire
    for wire in wires:
        wire.sock.close()


@pytest.fixture
def eventually():
    def wait(condition):
        until = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < until, "never happened"
            time.sleep(0.005)

    return wait


@pytest.fixture
def kit():
    """The names above, for tests that import nothing from this file."""

    class Kit:
        terminal = staticmethod(make_terminal)
        handler = CountingHandler
        answer = staticmethod(answer)
        profile = WireProfile
        zone = SHANGHAI

    return Kit


@pytest.fixture(scope="session")
def tls_pair(tmp_path_factory):
    """(server context, client context) around a certificate made for this run."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    client = ssl.create_default_context(cafile=path)
    return server, client

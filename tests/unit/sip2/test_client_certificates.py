"""Kiosks that show a certificate: which authority, and which certificate for which terminal."""

from __future__ import annotations

import ssl

import pytest

from connector.errors import RemoteProtocolError
from connector.sip2.client import Sip2Client
from connector.sip2.tls import ClientCertificate, build_server_context
from tests.support.certificates import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca"), "kiosk-ca")


@pytest.fixture(scope="module")
def contexts(authority):
    """The server's context, and a maker of kiosks' contexts."""
    certificate, key, _ = authority.issue("localhost", names=("localhost",))
    server = build_server_context(certificate, key, authority.file)

    def client(*files):
        context = ssl.create_default_context(cafile=authority.file)
        if files:
            context.load_cert_chain(*files)
        return context

    return server, client


@pytest.fixture
def guarded(serve, kit, contexts):
    """A TLS server whose terminal kiosk1 has a setting ``certificate``."""

    def start(certificate):
        handler = kit.handler(kit.terminal(certificate=certificate), kit.terminal("free"))
        return serve(handler, anonymous=lambda _peer: None, tls=contexts[0]), handler

    return start


def log_in(running, context, user="kiosk1"):
    with Sip2Client("127.0.0.1", running.port, tls=context, server_hostname="localhost") as client:
        return client.login(user, "secret")


def test_kiosk_with_its_certificate_logs_in(guarded, contexts, authority):
    certificate, key, fingerprint = authority.issue("kiosk-1.lib")
    colons = ":".join(fingerprint[i : i + 2] for i in range(0, 64, 2)).upper()
    for setting in ("kiosk-1.lib", fingerprint, colons):
        running, _ = guarded(setting)
        assert log_in(running, contexts[1](certificate, key))


@pytest.mark.parametrize("setting", ["kiosk-2.lib", "kiosk-1", "ab" * 32])
def test_certificate_of_another_kiosk_is_refused(guarded, contexts, authority, log_lines, setting):
    certificate, key, _ = authority.issue("kiosk-1.lib")
    running, _ = guarded(setting)
    assert not log_in(running, contexts[1](certificate, key))
    assert "certificate_not_allowed" in log_lines.getvalue()
    assert log_in(running, contexts[1](certificate, key), user="free")


def test_without_a_certificate_of_the_authority_there_is_no_connection(
    guarded, contexts, authority, tmp_path, eventually, log_lines
):
    running, handler = guarded("kiosk-1.lib")
    with pytest.raises((OSError, RemoteProtocolError)):
        log_in(running, contexts[1]())
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises((OSError, RemoteProtocolError)):
        log_in(running, contexts[1](*stranger.issue("kiosk-1.lib")[:2]))
    assert handler.logins == []
    eventually(lambda: log_lines.getvalue().count("tls_failed") == 2)
    assert running.server.connections == 0


def test_terminal_with_a_certificate_cannot_use_the_plain_port(
    guarded, contexts, authority, connect
):
    running, _ = guarded("kiosk-1.lib")
    plain = running.listen()
    wire = connect(plain.port)
    assert wire.ask(b"9300CNkiosk1|COsecret|\r") == b"940\r"
    assert wire.ask(b"9300CNfree|COsecret|\r") == b"941\r"


def test_a_name_that_looks_like_hex_is_a_name():
    certificate = ClientCertificate(frozenset({"ab"}), "0" * 64)
    assert certificate.is_named("ab")
    assert certificate.is_named("0" * 64)
    assert not certificate.is_named("1" * 64)
    assert not certificate.is_named("")

"""``onecard serve`` as a process: its ports, its figures, its end."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from urllib.request import urlopen

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from connector.bootstrap import Application, build
from connector.cli.serve import listening
from connector.settings import load_settings


@contextmanager
def serving(folder, *expected):
    """Start the program and give the ports that it announces, by name."""
    command = [
        sys.executable,
        "-m",
        "connector.cli",
        "--config",
        str(folder / "onecard.toml"),
        "serve",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    ) as process:
        try:
            ports = {}
            while set(expected) - set(ports):
                line = process.stderr.readline()
                assert line, f"it ended with {process.wait()}"
                if found := re.match(r"(.+?) on (?:http://)?127\.0\.0\.1:(\d+)", line):
                    ports[found.group(1)] = int(found.group(2))
            yield process, ports
        finally:
            process.kill()


@pytest.fixture
def free_ports(installation):
    """Let the installation take free ports; give a way to add settings."""
    path = installation / "onecard.toml"

    def add(more=""):
        text = path.read_text("utf-8").replace("port = 6001", "port = 0")
        path.write_text(text + more, "utf-8")
        return installation

    return add


def status(onecard, folder, port, *options):
    password = (folder / "kiosk-1.password").read_text().strip()
    return onecard(
        "sip2", "send", "--port", str(port), "--login", "kiosk-1", *options, "99",
        env={"ONECARD_SIP2_PASSWORD": password},
    )  # fmt: skip


def test_kiosk_is_answered_and_counted_and_sigterm_ends_it_with_code_0(free_ports, onecard):
    folder = free_ports("[metrics]\nenabled = true\nport = 0\n")
    with serving(folder, "Metrics", "SIP2") as (process, ports):
        result = status(onecard, folder, ports["SIP2"])
        assert result.exit_code == 0, result.output
        with urlopen(f"http://127.0.0.1:{ports['Metrics']}/metrics") as answer:
            assert 'request="99"} 1.0' in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert process.wait() == 0


def test_taken_port_is_one_line_with_the_remedy(free_ports, onecard):
    folder = free_ports()
    with serving(folder, "SIP2") as (_, ports):
        path = folder / "onecard.toml"
        path.write_text(
            path.read_text("utf-8").replace("port = 0", f"port = {ports['SIP2']}"), "utf-8"
        )
        result = onecard("serve")
    assert result.exit_code == 1
    assert "[sip2]" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.output


def test_kiosk_over_tls_is_answered(free_ports, onecard):
    folder = free_ports('[sip2.tls]\nport = 0\ncert_file = "tls.pem"\nkey_file = "tls.key"\n')
    make_certificate(folder / "tls.pem", folder / "tls.key")
    with serving(folder, "SIP2", "SIP2 over TLS") as (_, ports):
        port = ports["SIP2 over TLS"]
        result = status(onecard, folder, port, "--tls", "--tls-ca", str(folder / "tls.pem"))
        assert result.exit_code == 0, result.output
        assert status(onecard, folder, port, "--tls").exit_code == 1  # nobody vouches for it


def test_a_port_that_wants_a_certificate_is_told_from_one_that_wants_a_login(free_ports, onecard):
    tls = '[sip2.tls]\nport = 0\ncert_file = "tls.pem"\nkey_file = "tls.key"\n'
    folder = free_ports(f'{tls}client_ca_file = "tls.pem"\n')
    make_certificate(folder / "tls.pem", folder / "tls.key")
    with serving(folder, "SIP2", "SIP2 over TLS") as (_, ports):
        port = ports["SIP2 over TLS"]
        result = status(onecard, folder, port, "--tls", "--tls-ca", str(folder / "tls.pem"))
    assert result.exit_code == 1
    assert "client certificate" in result.output


def test_every_port_of_a_library_uses_the_same_threads(free_ports, monkeypatch):
    folder = free_ports('[sip2.tls]\nport = 0\ncert_file = "tls.pem"\nkey_file = "tls.key"\n')
    make_certificate(folder / "tls.pem", folder / "tls.key")
    made = []
    real = Application.pools

    def pools(app):
        made.append(real(app))
        return made[-1]

    monkeypatch.setattr(Application, "pools", pools)

    async def listen():
        async with listening(app, 1.0):
            pass

    with closing(build(load_settings(folder / "onecard.toml"))) as app:
        asyncio.run(listen())
    assert len(made) == 1


def test_missing_certificate_is_one_line_with_the_remedy(free_ports, onecard):
    free_ports('[sip2.tls]\nport = 0\ncert_file = "none.pem"\nkey_file = "none.key"\n')
    result = onecard("serve")
    assert result.exit_code == 1
    assert "cert_file" in result.stderr.splitlines()[-1]


def make_certificate(cert_file, key_file):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
    cert_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))

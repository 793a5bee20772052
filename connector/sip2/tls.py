"""TLS for the listener: the context from the files that the settings name, and what a kiosk's
certificate says.

Nothing here listens. SIP2 itself has no STARTTLS and no port of its own for TLS; 6443 is ours
(decision 27). That a certificate is of the right authority is seen by the handshake.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from connector.errors import ConfigurationError

__all__ = ["ClientCertificate", "build_server_context", "read_client_certificate"]

_FINGERPRINT = re.compile(r"[0-9a-f]{64}", re.ASCII)


def build_server_context(
    cert_file: Path, key_file: Path, client_ca_file: Path | None = None
) -> ssl.SSLContext:
    """Return a context for the server side, TLS 1.2 or newer.

    Args:
        cert_file: PEM, the server's certificate first, then the chain.
        client_ca_file: kiosks must show a certificate of this authority; None = none is asked for.

    Raises:
        ConfigurationError: a file is missing, unreadable, no PEM, or key and certificate differ.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(cert_file, key_file)
        if client_ca_file is not None:
            context.load_verify_locations(client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ssl.SSLError) as err:
        raise ConfigurationError(
            f"The files of [sip2.tls] cannot be used ({type(err).__name__}).",
            f"Check cert_file {cert_file}, key_file {key_file} and client_ca_file: PEM, a pair.",
        ) from err
    return context


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """What a kiosk is known by: common names of the subject, SHA-256 of the whole in hex."""

    common_names: frozenset[str]
    fingerprint: str

    def is_named(self, wanted: str) -> bool:
        """Say whether a setting means this one: a fingerprint, with or without colons, or a
        common name.
        """
        digest = wanted.replace(":", "").lower()
        if _FINGERPRINT.fullmatch(digest):
            return digest == self.fingerprint
        return wanted in self.common_names


def read_client_certificate(transport: asyncio.BaseTransport) -> ClientCertificate | None:
    """Return the certificate that the kiosk has shown, if it had to."""
    tls = transport.get_extra_info("ssl_object")
    whole = None if tls is None else tls.getpeercert(binary_form=True)
    if not whole:
        return None
    subject = (tls.getpeercert() or {}).get("subject", ())
    return ClientCertificate(
        common_names=frozenset(
            value for part in subject for key, value in part if key == "commonName"
        ),
        fingerprint=hashlib.sha256(whole).hexdigest(),
    )

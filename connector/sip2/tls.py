"""TLS for the listener: the context from the files that the settings name.

Nothing here listens. SIP2 itself has no STARTTLS and no port of its own for TLS; 6443 is ours
(decision 27).
"""

from __future__ import annotations

import ssl
from pathlib import Path

from connector.errors import ConfigurationError

__all__ = ["build_server_context"]


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

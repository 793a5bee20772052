"""What ``onecard doctor`` looks at on the side of the self-check machines.

Nothing here mends anything or talks to a machine.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509

from connector.bootstrap import Application
from connector.cli.sip2_terminals import BAD_CLOCK, list_bad_clocks
from connector.plugins.hookspecs import HealthResult
from connector.settings import Settings, TlsSettings
from connector.sip2.screen import TEXTS
from connector.sip2.tls import build_server_context

__all__ = ["check_clocks", "check_plain_port", "check_tls_port", "check_words"]

_RENEW_BEFORE = timedelta(days=21)


def check_plain_port(settings: Settings) -> HealthResult:
    """Warn of a port that anybody may connect to, where every PIN passes in clear."""
    sip2 = settings.sip2
    if _is_loopback(sip2.host):
        return HealthResult("ok", f"The plain port is on {sip2.host} only.")
    if sip2.allow_from:
        return HealthResult("ok", "The plain port is for the networks of allow_from.")
    if sip2.terminals and all(terminal.allow_from for terminal in sip2.terminals):
        return HealthResult("ok", "Every terminal has its own allow_from.")
    return HealthResult(
        "warn",
        "Anybody in reach may connect to the plain port, where PINs pass in clear.",
        "Set [sip2] allow_from to the networks of the machines, or use [sip2.tls].",
    )


def check_tls_port(tls: TlsSettings, now: datetime) -> HealthResult:
    """Say whether machines will take the certificate of the TLS port.

    Raises:
        ConfigurationError: the files cannot be used.
    """
    build_server_context(tls.cert_file, tls.key_file, tls.client_ca_file)
    certificate = x509.load_pem_x509_certificates(tls.cert_file.read_bytes())[0]
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    remedy = f"Put a renewed certificate into {tls.cert_file.name}; it is taken over by itself."
    if ends <= now:
        message = f"The certificate ended on {ends:%Y-%m-%d}: no machine that verifies takes it."
        return HealthResult("fail", message, remedy)
    if begins > now:
        message = f"The certificate begins on {begins:%Y-%m-%d} only."
        return HealthResult("fail", message, f"Check the date of this machine. {remedy}")
    if ends - now < _RENEW_BEFORE:
        return HealthResult("warn", f"The certificate ends on {ends:%Y-%m-%d}.", remedy)
    return HealthResult("ok", f"The certificate of the TLS port ends on {ends:%Y-%m-%d}.")


def check_clocks(app: Application) -> HealthResult:
    """Warn of machines whose clock is off: what they did off line would be misplaced in time."""
    bad = list_bad_clocks(app)
    if not bad:
        return HealthResult("ok", "No machine is known to show a wrong time.")
    named = ", ".join(
        f"{clock.terminal} ({round(clock.offset.total_seconds() / 60):+d} min)" for clock in bad
    )
    return HealthResult(
        "warn",
        f"Off by more than {round(BAD_CLOCK.total_seconds() / 60)} minutes: {named}.",
        "Set the clocks of these machines, and let them run NTP; or their timezone here.",
    )


def check_words(settings: Settings) -> HealthResult:
    """Warn of screen messages that nothing shows: their key is misspelt."""
    sip2 = settings.sip2
    tables = [("[sip2.messages]", sip2.messages)]
    tables += [(f"messages of {terminal.login}", terminal.messages) for terminal in sip2.terminals]
    known = {str(key) for key in TEXTS["en"]}
    unknown = sorted(
        {
            f"{key} in {where}"
            for where, languages in tables
            for texts in languages.values()
            for key in texts
            if key not in known
        }
    )
    if not unknown:
        return HealthResult("ok", "Every own screen message has its place.")
    return HealthResult(
        "warn",
        f"Nothing shows these messages: {', '.join(unknown)}.",
        "See docs/reference/reasons.md for the keys.",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

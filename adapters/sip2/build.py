"""From the settings to the parts of the adapter: rules, secrets, TLS.

Nothing here connects. Rules: what is wrong with the settings shows at the start, before the first
kiosk does; a secret is read once and stands in no error.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from zoneinfo import ZoneInfo

from adapters.sip2.dates import Dates
from adapters.sip2.options import ChannelOptions
from adapters.sip2.reading import ReadingRules
from adapters.sip2.requests import RequestRules
from adapters.sip2.settings import Sip2Settings, TlsSettings
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.log import get_logger
from connector.ports.ils import AdapterContext
from connector.sip2.profiles import check_profile

__all__ = [
    "build_channel_options",
    "build_dates",
    "build_reading_rules",
    "build_request_rules",
    "build_tls",
    "password_variable",
]

_log = get_logger(__name__)


def build_channel_options(settings: Sip2Settings, context: AdapterContext) -> ChannelOptions:
    """Return where the ILS is and how it is spoken to.

    Raises:
        ConfigurationError: encoding, delimiter, dialect, a password or a file of TLS.
    """
    _check_profile(settings, context)
    folder = Path(context.data_dir)
    return ChannelOptions(
        host=settings.host,
        port=settings.port,
        profile=settings.profile,
        tls=None if settings.tls is None else build_tls(settings.tls, folder),
        server_hostname=settings.tls.server_hostname if settings.tls is not None else "",
        login=settings.login,
        password=_find_password(settings, context) if settings.login else "",
        location=settings.location,
        status=settings.status,
        connections=settings.connections,
        connect_s=settings.connect_s,
        answer_s=settings.answer_s,
        heartbeat_s=settings.heartbeat_s,
        max_idle_s=settings.max_idle_s,
        verdict_s=settings.verdict_s,
        failures=settings.failures,
        open_s=settings.open_s,
        max_open_s=settings.max_open_s,
        refused_login_s=settings.refused_login_s,
    )


def _check_profile(settings: Sip2Settings, context: AdapterContext) -> None:
    try:
        check_profile(settings.profile)
    except ConfigurationError as err:
        where = f"[library.ils] of {context.institution_id}: {err.message}"
        raise ConfigurationError(where, err.remedy) from err


def build_request_rules(settings: Sip2Settings, context: AdapterContext) -> RequestRules:
    """Return what the ILS wants in every request."""
    secret = settings.terminal_password_file
    return RequestRules(
        institution=settings.institution or context.institution_id,
        echo_institution=settings.institution_rule == "echo",
        location=settings.location,
        terminal_password=(
            "" if secret is None else _read(Path(context.data_dir) / secret, context.institution_id)
        ),
        language=settings.language,
        sends_pin=settings.patron_pin != "never",
    )


def build_reading_rules(settings: Sip2Settings) -> ReadingRules:
    """Return how answers are read."""
    return ReadingRules(
        success_words=tuple(re.compile(word) for word in settings.success_words),
        refusal_codes={re.compile(k): code for k, code in settings.refusal_codes.items()},
        lists_barcodes=settings.charged_items == "barcodes",
        charged_separator=_compile(settings.charged_separator),
        charged_pattern=_compile(settings.charged_pattern),
        holds_are_barcodes=settings.hold_items == "barcodes",
        renews_on_checkout=settings.renews_on_checkout,
        unknown_item=settings.unknown_item,
        language_tag=settings.language_tag,
        collection_tag=settings.collection_tag,
        item_type_tag=settings.item_type_tag,
        borrower_tag=settings.borrower_tag,
        currency=settings.currency,
    )


def build_dates(settings: Sip2Settings, context: AdapterContext) -> Dates:
    """Return how the ILS writes dates; one that cannot be read is logged, without the date."""

    def report() -> None:
        _log.warning("ils.due_date_unreadable", institution=context.institution_id, adapter="sip2")

    return Dates(
        ZoneInfo(context.timezone),
        style=settings.dates,
        formats=settings.date_formats,
        report=report,
    )


def build_tls(settings: TlsSettings, folder: Path) -> ssl.SSLContext:
    """Return the context for connecting, TLS 1.2 or newer; the certificate is verified.

    Raises:
        ConfigurationError: a file cannot be used.
    """
    try:
        ca_file = None if settings.ca_file is None else folder / settings.ca_file
        context = ssl.create_default_context(cafile=ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if not settings.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if settings.cert_file is not None:
            key_file = None if settings.key_file is None else folder / settings.key_file
            context.load_cert_chain(folder / settings.cert_file, key_file)
    except (OSError, ssl.SSLError) as err:
        raise ConfigurationError(
            f"The TLS files of the SIP2 connection cannot be used ({type(err).__name__}).",
            "Check ca_file, cert_file and key_file of [library.ils.tls]: PEM, in the data folder.",
        ) from err
    return context


def password_variable(settings: Sip2Settings, institution: InstitutionId) -> str:
    """Return the name of the variable that may hold the password."""
    code = re.sub(r"[^A-Z0-9]+", "_", institution.upper())
    return settings.password_env or f"ONECARD_ILS_{code}_PASSWORD"


def _find_password(settings: Sip2Settings, context: AdapterContext) -> str:
    if settings.password_file is not None:
        return _read(Path(context.data_dir) / settings.password_file, context.institution_id)
    variable = password_variable(settings, context.institution_id)
    password = os.environ.get(variable)
    if password is None:
        raise ConfigurationError(
            f"Library {context.institution_id}: the SIP2 login {settings.login} has no password.",
            f"Add password_file to [library.ils], or set {variable}.",
        )
    return password


def _read(path: Path, institution: InstitutionId) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeError) as err:
        raise ConfigurationError(
            f"Library {institution}: {path} cannot be read ({type(err).__name__}).",
            "Put the password there, in one line.",
        ) from err


def _compile(pattern: str) -> re.Pattern[str] | None:
    return re.compile(pattern) if pattern else None

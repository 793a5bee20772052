"""Both ends of the program, built from their settings: adapters of the ILSs, and terminals.

Nothing here talks to one.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connector.domain.ids import BranchId, InstitutionId, TerminalId
from connector.domain.library import Library
from connector.errors import ConfigurationError, ConnectorError
from connector.ports.clock import Clock, utc_now
from connector.ports.ils import AdapterContext, AdapterSpec, IlsAdapter
from connector.settings import LibrarySettings, Settings, TerminalSettings, TlsSettings
from connector.sip2.profiles import check_profile
from connector.sip2.terminal import (
    ChecksumPolicy,
    Permission,
    Terminal,
    TerminalKind,
    WireProfile,
)
from connector.sip2.tls import build_server_context

__all__ = [
    "build_adapter",
    "build_adapters",
    "build_context",
    "build_terminal",
    "build_terminals",
    "close_all",
    "screen_messages",
]

_TERMINATORS = {"CR": "\r", "CRLF": "\r\n", "LF": "\n"}


def build_adapter(
    library: LibrarySettings,
    settings: Settings,
    specs: Mapping[str, AdapterSpec],
    now: Clock = utc_now,
) -> IlsAdapter:
    """Build the adapter of one library.

    Raises:
        ConfigurationError: there is no such adapter, or its own settings are wrong.
    """
    ils = settings.ils_of(library)
    spec = specs.get(ils.adapter)
    if spec is None:
        raise ConfigurationError(
            f"Library {library.code} uses the adapter {ils.adapter!r}, which is not installed.",
            f"Use one of: {', '.join(specs) or 'none is installed'}.",
        )
    try:
        options = spec.settings.model_validate(ils.options)
    except ValidationError as err:
        first = err.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"Library {library.code}, adapter {spec.name}: {where}: {first['msg']}.",
            f"See adapters/{spec.name}/README.md for its settings.",
        ) from None
    context = AdapterContext(
        institution_id=InstitutionId(library.code),
        timezone=library.timezone,
        data_dir=str(settings.data_dir),
        now=now,
    )
    return spec.build(options, context)


def build_adapters(
    settings: Settings, specs: Mapping[str, AdapterSpec], now: Clock
) -> dict[InstitutionId, IlsAdapter]:
    """Build the adapter of every library, or none; raises like ``build_adapter``."""
    built: dict[InstitutionId, IlsAdapter] = {}
    try:
        for library in settings.libraries:
            built[InstitutionId(library.code)] = build_adapter(library, settings, specs, now)
    except ConnectorError:
        close_all(built)
        raise
    return built


def close_all(adapters: Mapping[InstitutionId, IlsAdapter]) -> None:
    """Let the adapters give back what they hold."""
    for adapter in adapters.values():
        adapter.close()


def build_context(tls: TlsSettings) -> ssl.SSLContext:
    """Build what the TLS port needs; raises ``ConfigurationError`` for files of no use."""
    return build_server_context(tls.cert_file, tls.key_file, tls.client_ca_file)


def build_terminals(
    settings: Settings, libraries: Mapping[InstitutionId, Library]
) -> dict[TerminalId, Terminal]:
    """Build every terminal, by login; raises like ``build_terminal``."""
    return {
        TerminalId(terminal.login): build_terminal(terminal, libraries)
        for terminal in settings.sip2.terminals
    }


def screen_messages(settings: Settings) -> dict[str, Mapping[str, str]]:
    """Return the screen messages of the installation: language → reason or word → template."""
    return {str(language): texts for language, texts in settings.sip2.messages.items()}


def build_terminal(
    settings: TerminalSettings, libraries: Mapping[InstitutionId, Library]
) -> Terminal:
    """Build one terminal; raises ``ConfigurationError`` naming one that nobody could talk to."""
    library = libraries[InstitutionId(settings.library)]
    wire = WireProfile(
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        terminator=_TERMINATORS[settings.terminator],  # type: ignore[arg-type]
        checksum=ChecksumPolicy(settings.checksum),
        error_detection=settings.error_detection,
        dialect=settings.dialect,
        hidden_tags=settings.hidden_tags,
        allowed_tags=settings.allowed_tags,
        max_value_length=settings.max_value_length,
        answer_unknown=settings.answer_unknown,
    )
    try:
        check_profile(wire)
    except ConfigurationError as err:
        raise ConfigurationError(f"Terminal {settings.login}: {err.message}", err.remedy) from err
    return Terminal(
        terminal_id=TerminalId(settings.login),
        institution=library.code,
        password=settings.password,
        branch=BranchId(settings.branch) if settings.branch else None,
        location=settings.location,
        register=settings.register_id,
        kind=TerminalKind(settings.kind.value),
        wire=wire,
        zone=ZoneInfo(settings.timezone) if settings.timezone else library.zone,
        language=settings.language or library.language,
        pin=settings.pin,
        permissions=frozenset(Permission(name) for name in settings.permissions),
        allow_from=settings.allow_from,
        certificate=settings.certificate,
        max_connections=settings.max_connections,
        mask_name=settings.mask_name,
        mask_id=settings.mask_id,
        charge_denied_at_limit=settings.charge_denied_at_limit,
        school=settings.school,
        messages={str(language): texts for language, texts in settings.messages.items()},
        renewal_ok="" if settings.renewal_ok == "as_it_is" else settings.renewal_ok,
        magnetic="" if settings.magnetic == "as_it_is" else settings.magnetic,
    )

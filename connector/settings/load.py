"""Reads ``onecard.toml`` and ``ONECARD_*`` variables into one checked ``Settings``.

What each table means is in ``connector.settings.models``; how mistakes are explained in
``connector.settings.explain``. Rules —

- variables win over the file: ``ONECARD_STORE__URL`` is ``url`` in ``[store]``; ``[library]`` is
  short for one ``[[libraries]]``;
- every mistake is a ``ConfigurationError`` that says what to change, and where;
- after loading, every path is absolute and every terminal has its library and its password.
"""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from connector.domain.library import Library
from connector.domain.policy import STUDENT, LoanPolicy
from connector.errors import ConfigurationError
from connector.settings.explain import Source, explain_secrets, explain_validation
from connector.settings.models import (
    EnrolmentSettings,
    IlsSettings,
    LibrarySettings,
    LogSettings,
    MetricsSettings,
    PluginSettings,
    PolicyTable,
    PrivacySettings,
    Sip2Settings,
    StoreSettings,
    TerminalSettings,
    TlsSettings,
)

__all__ = ["Settings", "load_settings", "parse_settings"]


class Settings(BaseSettings):
    """The whole configuration, checked.

    Attributes:
        data_dir: folder that other paths are relative to; absolute after loading.
        ils: the ILS of libraries that have no ``ils`` of their own.
    """

    model_config = SettingsConfigDict(
        env_prefix="ONECARD_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data_dir: Path = Path()
    libraries: tuple[LibrarySettings, ...] = Field(min_length=1)
    ils: IlsSettings = IlsSettings()
    store: StoreSettings = StoreSettings()
    sip2: Sip2Settings = Sip2Settings()
    policy: dict[str, tuple[PolicyTable, ...]] = {}
    enrolment: EnrolmentSettings = EnrolmentSettings()
    privacy: PrivacySettings = PrivacySettings()
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    plugins: PluginSettings = PluginSettings()

    @field_validator("policy", mode="before")
    @classmethod
    def _one_version_is_a_list(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {
            name: [table] if isinstance(table, dict) else table for name, table in value.items()
        }

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put variables before the file, and read nothing else."""
        del settings_cls, dotenv_settings, file_secret_settings
        return env_settings, init_settings

    def loan_policies(self) -> tuple[LoanPolicy, ...]:
        """Return every version of every category's policy; without any, the shipped student one."""
        tables = [(name, table) for name, versions in self.policy.items() for table in versions]
        return tuple(table.to_policy(name) for name, table in tables) or (STUDENT,)

    def domain_libraries(self) -> tuple[Library, ...]:
        """Return the libraries as the rules see them."""
        policies = self.loan_policies()
        return tuple(library.to_library(policies) for library in self.libraries)

    def find_library(self, code: str) -> LibrarySettings:
        """Return one library's settings; raises ``ConfigurationError`` for an unknown code."""
        for library in self.libraries:
            if library.code == code:
                return library
        known = ", ".join(library.code for library in self.libraries)
        raise ConfigurationError(
            f"There is no library {code!r} in the settings.", f"Use one of: {known}."
        )

    def ils_of(self, library: LibrarySettings) -> IlsSettings:
        """Return the library's own ILS, else the common one."""
        return library.ils or self.ils


def load_settings(path: Path, environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check the file; raises ``ConfigurationError`` for the first mistake.

    Args:
        environ: where the variables for terminal passwords are looked up; the process's own by
            default.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as err:
        raise ConfigurationError(
            f"There is no settings file at {path}.",
            "Write one with: onecard init, or name it with --config.",
        ) from err
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError(
            f"The settings file {path} cannot be read ({type(err).__name__}).",
            "Check its permissions; it must be UTF-8.",
        ) from err
    return parse_settings(text, base_dir=path.resolve().parent, name=path.name, environ=environ)


def parse_settings(
    text: str,
    *,
    base_dir: Path,
    name: str = "onecard.toml",
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Check the text of a settings file.

    Args:
        base_dir: folder that a relative ``data_dir`` starts from.
        name: what the file is called in messages.
    """
    source = Source(name, text)
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as err:
        raise ConfigurationError(f"{name} is no valid TOML: {err}.", "Mend that line.") from err
    explain_secrets(raw, source)
    if "library" in raw:
        if "libraries" in raw:
            raise ConfigurationError(
                f"{source.at(('library',))}: [library] and [[libraries]] cannot both be given.",
                "Turn [library] into another [[libraries]].",
            )
        raw["libraries"] = [raw.pop("library")]
    try:
        settings = Settings(**raw)
    except ValidationError as err:
        raise explain_validation(err, Settings, source) from err
    return _resolve(settings, base_dir, source, os.environ if environ is None else environ)


def _resolve(
    settings: Settings, base_dir: Path, source: Source, environ: Mapping[str, str]
) -> Settings:
    _check_unique(settings, source)
    data_dir = (base_dir / settings.data_dir).resolve()
    placed = settings.model_copy(update={"data_dir": data_dir})
    terminals = tuple(
        _resolve_terminal(
            terminal, ("sip2", "terminals", index), settings=placed, source=source, environ=environ
        )
        for index, terminal in enumerate(settings.sip2.terminals)
    )
    return placed.model_copy(
        update={
            "store": _resolve_store(settings.store, data_dir, source),
            "enrolment": _resolve_enrolment(placed, source),
            "sip2": settings.sip2.model_copy(
                update={"terminals": terminals, "tls": _resolve_tls(settings.sip2.tls, data_dir)}
            ),
        }
    )


def _check_unique(settings: Settings, source: Source) -> None:
    named: list[tuple[str, tuple[str | int, ...], list[Any]]] = [
        ("library", ("libraries",), [library.code for library in settings.libraries]),
        (
            "terminal",
            ("sip2", "terminals"),
            [terminal.login for terminal in settings.sip2.terminals],
        ),
        ("feed", ("enrolment", "feeds"), [feed.name for feed in settings.enrolment.feeds]),
    ]
    named += [
        (
            f"policy of {category} from",
            ("policy", category),
            [table.effective_from for table in versions],
        )
        for category, versions in settings.policy.items()
    ]
    for kind, path, keys in named:
        for key, count in Counter(keys).items():
            if count > 1:
                last = len(keys) - 1 - keys[::-1].index(key)
                raise ConfigurationError(
                    f"{source.at((*path, last))}: {kind} {key} is there {count} times.",
                    "Keep one of them.",
                )


def _unknown_library(
    source: Source, path: tuple[str | int, ...], code: str, known: set[str]
) -> ConfigurationError:
    return ConfigurationError(
        f"{source.at((*path, 'library'))}: there is no library {code!r}.",
        f"Use one of: {', '.join(sorted(known))}.",
    )


def _resolve_enrolment(settings: Settings, source: Source) -> EnrolmentSettings:
    enrolment, data_dir = settings.enrolment, settings.data_dir
    known = {library.code for library in settings.libraries}
    feeds = []
    for index, feed in enumerate(enrolment.feeds):
        library = feed.library or (next(iter(known)) if len(known) == 1 else "")
        if library not in known:
            raise _unknown_library(source, ("enrolment", "feeds", index), library, known)
        feeds.append(feed.model_copy(update={"library": library, "folder": data_dir / feed.folder}))
    files = {
        key: None if value is None else data_dir / value
        for key, value in (
            ("consent_texts", enrolment.consent_texts),
            ("font_file", enrolment.font_file),
        )
    }
    return enrolment.model_copy(update={**files, "feeds": tuple(feeds)})


def _resolve_store(store: StoreSettings, data_dir: Path, source: Source) -> StoreSettings:
    url = store.url
    if store.password_file is not None:
        parts = urlsplit(url)
        password = _read_secret(data_dir / store.password_file, ("store", "password_file"), source)
        host = parts.netloc.rpartition("@")[2]
        netloc = f"{quote(parts.username or '', safe='')}:{quote(password, safe='')}@{host}"
        url = urlunsplit(parts._replace(netloc=netloc))
    scheme, slashes, rest = url.partition(":///")
    if slashes and scheme.startswith("sqlite") and rest and rest != ":memory:":
        url = f"{scheme}:///{data_dir / rest}"
    return store.model_copy(update={"url": url, "key_file": data_dir / store.key_file})


def _resolve_tls(tls: TlsSettings | None, data_dir: Path) -> TlsSettings | None:
    if tls is None:
        return None
    files = {"cert_file": data_dir / tls.cert_file, "key_file": data_dir / tls.key_file}
    if tls.client_ca_file is not None:
        files["client_ca_file"] = data_dir / tls.client_ca_file
    return tls.model_copy(update=files)


def _resolve_terminal(
    terminal: TerminalSettings,
    path: tuple[str | int, ...],
    *,
    settings: Settings,
    source: Source,
    environ: Mapping[str, str],
) -> TerminalSettings:
    by_code = {library.code: library for library in settings.libraries}
    code = terminal.library or (settings.libraries[0].code if len(by_code) == 1 else "")
    if not code:
        raise ConfigurationError(
            f"{source.at(path)}: terminal {terminal.login} has no library.",
            f"Add library = one of: {', '.join(sorted(by_code))}.",
        )
    if code not in by_code:
        raise _unknown_library(source, path, code, set(by_code))
    branches = by_code[code].branch_ids()
    if terminal.branch and terminal.branch not in branches:
        raise ConfigurationError(
            f"{source.at((*path, 'branch'))}: library {code} has no branch {terminal.branch!r}.",
            f"Use one of: {', '.join(sorted(branches)) or 'none; add it first'}.",
        )
    password = terminal.password
    if terminal.password_file is not None:
        password = _read_secret(
            settings.data_dir / terminal.password_file, (*path, "password_file"), source
        )
    elif password is None:
        password = environ.get(terminal.password_variable) or None
    if password is None and not terminal.allow_from:
        raise ConfigurationError(
            f"{source.at(path)}: terminal {terminal.login} has neither a password nor allow_from.",
            f"Add password_file, or set {terminal.password_variable}, or use allow_from.",
        )
    return terminal.model_copy(update={"library": code, "password": password})


def _read_secret(path: Path, key: tuple[str | int, ...], source: Source) -> str:
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigurationError(
            f"{source.at(key)}: the file {path} cannot be read ({type(err).__name__}).",
            "Create it with the secret on its first line, readable by this user only.",
        ) from err
    if not secret:
        raise ConfigurationError(
            f"{source.at(key)}: the file {path} is empty.", "Write the secret into it."
        )
    return secret

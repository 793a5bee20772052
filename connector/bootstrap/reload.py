"""Taking over a changed settings file while the program runs: terminals, screen messages, networks,
certificates.

Nothing here waits or watches. Rules:

- a file with a mistake changes nothing at all; the mistake is logged in one line, without a value;
- reading may be done in a thread; ``apply`` belongs on the event loop, between two callbacks;
- what needs a restart is named in the log and otherwise left alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import BaseModel

from connector.bootstrap.application import Application
from connector.bootstrap.edges import build_context, build_terminals, screen_messages
from connector.domain.ids import TerminalId
from connector.errors import ConfigurationError
from connector.log import get_logger
from connector.settings import Settings, load_settings
from connector.sip2.server import Sip2Server
from connector.sip2.terminal import Terminal

__all__ = ["NewSettings", "Reloader", "find_restarts"]

_log = get_logger(__name__)

_AT_ONCE = frozenset(
    {
        "sip2.terminals",
        "sip2.messages",
        "sip2.allow_from",
        "sip2.tls.allow_from",
        "sip2.tls.cert_file",
        "sip2.tls.key_file",
        "sip2.tls.client_ca_file",
    }
)

Stamp = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class NewSettings:
    """A file that was read and found to be right.

    Attributes:
        tls: from the files as they are now; None without a TLS port.
    """

    settings: Settings = field(repr=False)
    terminals: Mapping[TerminalId, Terminal]
    tls: ssl.SSLContext | None = None


class Reloader:
    """Reads one settings file again for one running program.

    Args:
        path: the file that the application was built from.
    """

    def __init__(self, path: Path, app: Application) -> None:
        self._path = path
        self._app = app
        self._settings = app.settings
        self._seen = self._at_last_look = self._stamp()

    def has_changed(self) -> bool:
        """Say whether the file, or one with a terminal's password or a certificate, is another than
        the last time.

        A file is left alone until it looks the same twice: it may be half written.
        """
        stamp = self._stamp()
        is_settled = stamp == self._at_last_look
        self._at_last_look = stamp
        return is_settled and stamp != self._seen

    def read(self) -> NewSettings | None:
        """Read and check the file; None when there is a mistake in it, which is in the log."""
        self._seen = self._at_last_look = self._stamp()
        try:
            settings = load_settings(self._path)
            self._check_libraries(settings)
            terminals = build_terminals(settings, self._app.libraries)
            context = None if settings.sip2.tls is None else build_context(settings.sip2.tls)
        except ConfigurationError as err:
            _log.error("settings.reload_refused", error=err.message, remedy=err.remedy)
            return None
        return NewSettings(settings, terminals, context)

    def apply(self, new: NewSettings, server: Sip2Server) -> None:
        """Take over what may change while the program runs."""
        app, sip2 = self._app, new.settings.sip2
        changes = app.terminals.replace(new.terminals)
        app.texts.replace(screen_messages(new.settings))
        for listener in server.listeners:
            if listener.tls is None:
                listener.allow_from = sip2.allow_from
            elif sip2.tls is not None:
                listener.allow_from = sip2.tls.allow_from
                listener.tls = new.tls or listener.tls
        server.refresh(new.terminals)
        self._settings = new.settings
        self._seen = self._at_last_look = self._stamp()
        _log.info(
            "settings.reloaded",
            created=len(changes.added),
            updated=len(changes.changed),
            closed=len(changes.removed),
        )
        later = find_restarts(app.settings, new.settings)
        if later:
            _log.warning("settings.restart_needed", setting=", ".join(later))

    def _check_libraries(self, settings: Settings) -> None:
        for terminal in settings.sip2.terminals:
            if terminal.library not in self._app.libraries:
                raise ConfigurationError(
                    f"Terminal {terminal.login} is of library {terminal.library}, "
                    "which is not served yet.",
                    "Restart the program.",
                )

    def _stamp(self) -> Stamp:
        data_dir, sip2 = self._settings.data_dir, self._settings.sip2
        paths = [self._path]
        paths += [
            data_dir / terminal.password_file
            for terminal in sip2.terminals
            if terminal.password_file is not None
        ]
        if sip2.tls is not None:
            paths += [sip2.tls.cert_file, sip2.tls.key_file]
            paths += [sip2.tls.client_ca_file] if sip2.tls.client_ca_file else []
        return tuple(_look(path) for path in paths)


def find_restarts(running: Settings, wanted: Settings) -> tuple[str, ...]:
    """Return the settings that differ and need a restart, such as ``sip2.port``; never values."""
    return tuple(name for name in _differences(running, wanted, "") if name not in _AT_ONCE)


def _differences(one: BaseModel, other: BaseModel, above: str) -> Iterator[str]:
    for name in type(one).model_fields:
        before, after = getattr(one, name), getattr(other, name)
        if before == after:
            continue
        if isinstance(before, BaseModel) and type(before) is type(after):
            yield from _differences(before, after, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def _look(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_size, found.st_ino)

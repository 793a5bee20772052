"""What every command shares: settings, the built application, output, errors in one line.

Nothing here is a command. Rules —

- settings are read and the application is built only when a command asks for them;
- with ``--json`` standard output carries one JSON document and nothing else; the log goes to
  standard error;
- an error is one line: what is wrong, and how to mend it; never a traceback.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from connector import log
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    ConfigurationError,
    ConnectorError,
    NotFound,
    OutcomeUnknown,
    PluginError,
    StorageConflict,
    StorageUnavailable,
    UnsupportedOperation,
)
from connector.settings import Settings, load_settings

if TYPE_CHECKING:
    from connector.bootstrap import Application

__all__ = ["CliContext", "Refused", "explain", "json_option", "pass_cli", "write_json"]


class Refused(click.ClickException):
    """The command did not do what was asked: exit code 1 and one line."""


class CliContext:
    """The object behind ``click``'s context.

    Attributes:
        config: the settings file; it need not exist until ``settings`` is asked for.
        lang: language of what is printed: ``zh`` or ``en``.
    """

    def __init__(self, config: Path, lang: str = "en") -> None:
        self.config = config
        self.lang = lang
        self._app: Application | None = None

    @cached_property
    def settings(self) -> Settings:
        """The checked settings; raises ``ConfigurationError``."""
        settings = load_settings(self.config)
        log.configure(settings.log, stream=sys.stderr)
        return settings

    @property
    def app(self) -> Application:
        """The built application: store, adapters, plugins, services."""
        if self._app is None:
            from connector.bootstrap import build

            self._app = build(self.settings)
        return self._app

    def close(self) -> None:
        """Close the application, if it was built."""
        if self._app is not None:
            app, self._app = self._app, None
            app.close()


pass_cli = click.make_pass_decorator(CliContext)

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


def write_json(document: Any) -> None:
    """Print a document as the only thing on standard output."""
    click.echo(json.dumps(document, ensure_ascii=False, default=str))


_REMEDIES: Mapping[type[ConnectorError], str] = {
    AdapterAuthFailed: "Check the adapter's credentials, then run: onecard doctor",
    AdapterUnavailable: "Check that the library system runs, then try again.",
    OutcomeUnknown: "Do not repeat it; look at: onecard ledger unknown",
    UnsupportedOperation: "Choose another adapter; see: onecard adapters list",
    AdapterError: "Run: onecard doctor",
    NotFound: "Check what you typed.",
    StorageUnavailable: "Check [store] url, then run: onecard doctor",
    StorageConflict: "Try again.",
    PluginError: "Update the plugin, or name it in [plugins] disabled.",
}


def explain(error: Exception) -> str:
    """Return one line about an error: what is wrong, and how to mend it."""
    if isinstance(error, ConfigurationError):
        return str(error)
    if isinstance(error, ConnectorError):
        for kind, remedy in _REMEDIES.items():
            if isinstance(error, kind):
                return f"{error}. {remedy}"
        return f"{error}."
    if isinstance(error, OSError) and error.strerror:
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror}{where}."
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" at {Path(place[0].filename).name}:{place[0].lineno}" if place else ""
    return f"This should not happen ({type(error).__name__}{where}). Please report it."


class ErrorGroup(click.Group):
    """A group that turns every exception of its commands into one line and exit code 1."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except BrokenPipeError:
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise click.exceptions.Exit(1) from None
        except Exception as err:
            if os.environ.get("ONECARD_DEBUG"):
                raise
            raise Refused(explain(err)) from err

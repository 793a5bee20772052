"""``onecard sip2 terminals``: which machines are configured, how they speak, how their clocks go.

Nothing here talks to one; the clocks are what the running server has measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, json_option, pass_cli, write_json
from connector.domain.ids import TerminalId
from connector.ports.terminals import TerminalClock
from connector.sip2.terminal import Terminal

__all__ = ["BAD_CLOCK", "list_bad_clocks", "terminals"]

BAD_CLOCK = timedelta(minutes=5)
"""A kiosk that is off by more shows wrong due dates, and what it did off line is misplaced."""

_TERMINATORS = {"\r": "CR", "\r\n": "CRLF", "\n": "LF"}


@click.command("terminals")
@json_option
@pass_cli
def terminals(cli: CliContext, *, as_json: bool) -> None:
    """List the configured terminals: library, kind, how they speak, and how far their clocks are
    off.

    \b
    Example:
      onecard sip2 terminals
      onecard sip2 terminals --json
    """
    app = cli.app
    clocks = {clock.terminal: clock for clock in app.store.terminal_clocks.list_clocks()}
    found = [_describe(app.terminals[login], clocks) for login in app.terminals]
    if as_json:
        write_json({"terminals": found})
        return
    if not found:
        click.echo("No terminal is configured. Add [[sip2.terminals]] to the settings.")
        return
    rows = [
        (
            one["login"], one["library"], one["kind"], one["encoding"], one["terminator"],
            one["checksum"], one["dialect"], one["location"] or "-",
            _describe_clock(clocks.get(one["login"]), app.terminals[one["login"]].zone),
        )
        for one in found
    ]  # fmt: skip
    heads = (
        "login", "library", "kind", "encoding", "ends in", "checksum", "dialect", "location",
        "clock",
    )  # fmt: skip
    widths = [max(len(str(row[at])) for row in [heads, *rows]) for at in range(len(heads))]
    for row in [heads, *rows]:
        cells = [str(cell).ljust(width) for cell, width in zip(row, widths, strict=True)]
        click.echo("  ".join(cells).rstrip())


def list_bad_clocks(app: Application) -> list[TerminalClock]:
    """Return the clocks of configured terminals that are off by more than ``BAD_CLOCK``."""
    return [
        clock
        for clock in app.store.terminal_clocks.list_clocks()
        if clock.terminal in app.terminals and abs(clock.offset) > BAD_CLOCK
    ]


def _describe(terminal: Terminal, clocks: Mapping[TerminalId, TerminalClock]) -> dict[str, Any]:
    wire = terminal.wire
    clock = clocks.get(terminal.terminal_id)
    return {
        "login": terminal.terminal_id,
        "library": terminal.institution,
        "branch": terminal.branch or "",
        "location": terminal.location,
        "register": terminal.register,
        "kind": terminal.kind.value,
        "language": terminal.language,
        "encoding": wire.encoding,
        "delimiter": wire.delimiter,
        "terminator": _TERMINATORS[wire.terminator],
        "checksum": wire.checksum.value,
        "dialect": wire.dialect,
        "permissions": sorted(terminal.permissions),
        "allow_from": [str(network) for network in terminal.allow_from],
        "certificate": terminal.certificate,
        "clock_offset_s": None if clock is None else round(clock.offset.total_seconds()),
        "clock_measured_at": None if clock is None else clock.measured_at.isoformat(),
    }


def _describe_clock(clock: TerminalClock | None, zone: ZoneInfo) -> str:
    if clock is None:
        return "not measured"
    seconds = round(clock.offset.total_seconds())
    mark = " !" if abs(clock.offset) > BAD_CLOCK else ""
    return f"{seconds:+d} s on {clock.measured_at.astimezone(zone):%Y-%m-%d %H:%M}{mark}"

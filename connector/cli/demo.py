"""``onecard demo``: the whole main job on embedded parts, or a playground that stays up.

Nothing here builds, decides or lends: ``demo_ground`` builds, and what is shown is what the
services answer over TCP. The pupils, the books and the libraries are invented.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from connector import log
from connector.cli.background import BackgroundServer
from connector.cli.context import Refused, json_option, write_json
from connector.cli.demo_data import ADULT_CARD
from connector.cli.demo_ground import HOST, LIBRARIES, Playground, open_playground
from connector.cli.demo_story import Kiosk, Step, tell_of_two_libraries, tell_story
from connector.domain.ids import InstitutionId
from connector.settings import LogSettings
from connector.sip2.client import Sip2Client

__all__ = ["demo"]


@click.command(
    epilog="""\b
Examples:
  onecard demo                  play the story and end
  onecard demo --serve          stay up, to try a self-check client of your own
  onecard demo --serve --json   print one JSON line when ready, then stay up
"""
)
@click.option("--serve", "stay", is_flag=True, help="Stay up until Ctrl-C, with nothing on loan.")
@json_option
@click.option(
    "--dir",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep the files in this new or empty folder. Default: a temporary one.",
)
@click.option(
    "--port", default=0, type=click.IntRange(0, 65535), help="SIP2 port. Default: a free one."
)
def demo(stay: bool, as_json: bool, folder: Path | None, port: int) -> None:  # noqa: FBT001
    """Enrol sample pupils from a spreadsheet, open their cards, and drive two self-check sessions.

    Everything runs on this machine: a library with an embedded system, one whose system is reached
    only by SIP2, a database, and TCP on 127.0.0.1. All people and books are invented.
    """
    log.configure(LogSettings(level="error"), stream=sys.stderr)
    quiet = as_json
    say = (lambda _text: None) if quiet else click.echo
    with _working_folder(folder) as where, open_playground(where, say) as ground:
        with BackgroundServer(ground.app, HOST, port) as server:
            if stay:
                _stay(ground, server.port, as_json=as_json)
                return
            steps = _play(ground, server.port, quiet=quiet)
        if as_json:
            write_json(
                {"steps": [{"title": s.title, "answer": s.answer, "ok": s.holds} for s in steps]}
            )
        wrong = sum(not step.holds for step in steps)
        if wrong:
            raise Refused(f"{wrong} of {len(steps)} steps did not come out as the policy says.")
        if not quiet:
            click.echo(f"\nAll {len(steps)} answers are what the policy says.")


@contextmanager
def _working_folder(folder: Path | None) -> Iterator[Path]:
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="onecard-demo-") as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Refused(f"{folder} is not empty. Name a new folder with --dir.")
    yield folder


def _play(ground: Playground, port: int, *, quiet: bool) -> list[Step]:
    first, second = LIBRARIES
    zone = ground.app.libraries[first].zone
    with _kiosk(ground, port, first) as here, _kiosk(ground, port, second) as there:
        story = tell_story(
            here,
            ground.clock,
            zone=zone,
            patrons=ground.patrons,
            adult=ADULT_CARD,
            stock=ground.stock[first],
        )
        told = _show(story, f"A self-check machine of library {first}", port, quiet=quiet)
        story = tell_of_two_libraries(
            here,
            there,
            ground.clock,
            zone=zone,
            patron=ground.patrons[-1],
            stock=(ground.stock[first], ground.stock[second]),
        )
        return told + _show(story, f"\nA second one, of library {second}", port, quiet=quiet)


@contextmanager
def _kiosk(ground: Playground, port: int, code: InstitutionId) -> Iterator[Kiosk]:
    terminal = ground.terminals[code]
    with Sip2Client(HOST, port) as client:
        client.login(terminal.login, terminal.password)
        yield Kiosk(client, ground.clock, ground.app.libraries[code].zone)


def _show(story: Iterator[Step], who: str, port: int, *, quiet: bool) -> list[Step]:
    if not quiet:
        click.echo(f"{who} logs in at {HOST}:{port} by SIP2.\n")
    steps = []
    for step in story:
        steps.append(step)
        if not quiet:
            mark = "✓" if step.holds else "✗ NOT AS EXPECTED"
            click.echo(f"{mark} {step.title}\n    > {step.sent}\n    < {step.answer}")
    return steps


def _stay(ground: Playground, port: int, *, as_json: bool) -> None:
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    document = _describe(ground, port)
    if as_json:
        write_json(document)
        sys.stdout.flush()
    else:
        patron = ground.patrons[0]
        for code, terminal in ground.terminals.items():
            items = [s.item.barcode for s in ground.stock[code]]
            click.echo(
                f"Library {code}: SIP2 on {HOST}:{port}, login {terminal.login}, "
                f"password {terminal.password}, items {items[0]} to {items[-1]}."
            )
        click.echo(f"Try card {patron.card} with PIN {patron.pin} at both.")
        login = ground.terminals[LIBRARIES[0]].login
        click.echo(
            f"onecard sip2 shell --port {port} --login {login} talks to it. "
            "Ctrl-C ends; files are kept only with --dir."
        )
    stop.wait()


def _describe(ground: Playground, port: int) -> dict[str, object]:
    return {
        "libraries": [_describe_library(ground, code, port) for code in LIBRARIES],
        "patrons": [
            {"card": p.card, "pin": p.pin, "id_number": p.id_number, "name": p.name}
            for p in ground.patrons
        ],
        "items": [
            {
                "barcode": s.item.barcode,
                "library": code,
                "title": s.title,
                "language": s.language,
                "loanable": s.loanable,
            }
            for code in LIBRARIES
            for s in ground.stock[code]
        ],
    }


def _describe_library(ground: Playground, code: InstitutionId, port: int) -> dict[str, object]:
    library, terminal = ground.app.libraries[code], ground.terminals[code]
    return {
        "code": code,
        "name": library.name,
        "isil": library.isil,
        "sip2": {
            "host": HOST,
            "port": port,
            "login": terminal.login,
            "password": terminal.password,
            "location": terminal.location,
        },
    }

"""``onecard demo``: the whole main job on embedded parts, or a playground that stays up.

Nothing here decides or lends: what is shown is what the services answer over TCP. The pupils, the
books and the library are invented.
"""

from __future__ import annotations

import secrets
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import xlsxwriter

from connector import log
from connector.bootstrap import Application, build
from connector.cli.background import BackgroundServer
from connector.cli.context import Refused, json_option, write_json
from connector.cli.demo_data import (
    ADULT_CARD,
    ADULT_PIN,
    PUPILS,
    SampleItem,
    sample_stock,
)
from connector.cli.demo_story import DemoClock, Kiosk, Step, StoryPatron, tell_story
from connector.domain.enrolment import ConsentScope, SchoolStage
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.enrolment.columns import HEADERS, LAYOUTS, Layout
from connector.plugins.hookspecs import DemoContext
from connector.ports.ils import PatronInput
from connector.settings import LogSettings, Settings, parse_settings
from connector.sip2.client import Sip2Client
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database

__all__ = ["demo"]

LIBRARY = InstitutionId("FDX")
LOGIN = "kiosk-1"
_HOST = "127.0.0.1"

_SETTINGS = f"""\
# Written by onecard demo. Everything in it is invented.
[library]
code = "{LIBRARY}"
isil = "CN-500230-1"
name = "龙河县图书馆"
branches = [{{ code = "main", name = "总馆" }}]
ils = {{ adapter = "local", demo = true }}

[[library.items.shelving]]
attribute = "permanent_location"
pattern = "stack"
shelving = "closed-stack"

[[library.items.shelving]]
attribute = "permanent_location"
pattern = "ref"
shelving = "reference"

[store]
url = "sqlite:///onecard.db"
key_file = "onecard.key"

[sip2]
host = "{_HOST}"

[[sip2.terminals]]
login = "{LOGIN}"
branch = "main"
location = "main-hall"
password_file = "kiosk-1.password"

[policy.student]
effective_from = 2026-09-01
author = "demonstration"
max_items = 8
max_foreign_items = 3
loan_days = 30
max_renewals = 1
renewal_days = 30
no_renewal_when = ["overdue", "reserved", "violation"]
loanable_locations = "open-shelf"
collections = ["children", "adult"]
"""


@dataclass(frozen=True, slots=True)
class _Playground:
    """Everything that was built for the demonstration."""

    app: Application
    clock: DemoClock
    folder: Path
    password: str
    patrons: tuple[StoryPatron, ...]
    stock: tuple[SampleItem, ...]


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
    """Enrol sample pupils from a spreadsheet, open their cards, and drive a self-check session.

    Everything runs on this machine: an embedded library system, a database, SIP2 over TCP on
    127.0.0.1. All people and books are invented.
    """
    log.configure(LogSettings(level="error"), stream=sys.stderr)
    quiet = as_json
    with _working_folder(folder) as where, _playground(where, quiet=quiet) as ground:
        with BackgroundServer(ground.app, _HOST, port) as server:
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


@contextmanager
def _playground(folder: Path, *, quiet: bool) -> Iterator[_Playground]:
    say = (lambda _text: None) if quiet else click.echo
    settings, password = _write_settings(folder)
    Keyring.generate().save(settings.store.key_file)
    upgrade_database(settings.store.url)
    clock = DemoClock(lambda: datetime.now(UTC))
    with ExitStack() as stack:
        app = build(settings, now=clock)
        stack.callback(app.close)
        stock = sample_stock()
        _seed(app, stock)
        say(f"Library {LIBRARY}: {len(stock)} items in the embedded library system.")
        sheet = folder / "pupils.xlsx"
        _write_sheet(sheet)
        patrons = _enrol(app, sheet, say)
        yield _Playground(app, clock, folder, password, patrons, stock)


def _write_settings(folder: Path) -> tuple[Settings, str]:
    password = secrets.token_urlsafe(9)
    secret = folder / "kiosk-1.password"
    secret.touch(mode=0o600)
    secret.write_text(password + "\n", encoding="utf-8")
    (folder / "onecard.toml").write_text(_SETTINGS, encoding="utf-8")
    return parse_settings(_SETTINGS, base_dir=folder.resolve()), password


def _seed(app: Application, stock: Sequence[SampleItem]) -> None:
    adapter = app.adapters[LIBRARY]
    app.plugins.seed_demonstration(DemoContext(LIBRARY, adapter, [s.item for s in stock]))
    adapter.upsert_patron(
        PatronInput("demo-adult", IlsPatronId(ADULT_CARD), "成年读者", "adult", pin=ADULT_PIN)
    )


def _write_sheet(path: Path) -> None:
    """Write what a school clerk would upload."""
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet("学生")
    columns = LAYOUTS[Layout.A49]
    sheet.write_row(0, 0, [HEADERS[column][0] for column in columns])
    for number, pupil in enumerate(PUPILS, start=1):
        cells = (
            pupil.id_number,
            pupil.name,
            pupil.phone,
            pupil.guardian_name,
            pupil.guardian_phone,
            pupil.class_name,
            "龙河",
        )
        for column, text in enumerate(cells):
            sheet.write_string(number, column, text)
    book.close()


def _enrol(app: Application, sheet: Path, say: object) -> tuple[StoryPatron, ...]:
    assert callable(say)  # noqa: S101
    actor = "demonstration"
    service = app.enrolment
    school = service.save_school(LIBRARY, "LH01", "龙河县第一小学", stage=SchoolStage.PRIMARY)
    report = service.import_roster(sheet, school, actor=actor)
    if report.batch is None or report.problems:
        raise Refused("The sample spreadsheet was not taken as it should be.")
    created = report.batch.rows
    say(f"Spreadsheet {sheet.name}: {created} rows, batch {report.batch.number}.")

    def everybody() -> tuple[object, ...]:
        assert report.batch is not None  # noqa: S101
        return service.list_applications(report.batch)

    service.review(everybody(), actor=actor)  # type: ignore[arg-type]
    app.consents.record(everybody(), [ConsentScope.CARD], evidence="demo form", actor=actor)  # type: ignore[arg-type]
    service.approve(everybody(), actor=actor)  # type: ignore[arg-type]
    opened = app.provisioning(LIBRARY).activate(everybody(), actor=actor)  # type: ignore[arg-type]
    patrons = []
    for activation in opened:
        personal = app.store.people.fetch_personal(activation.application.patron_id)
        if not activation.card:
            raise Refused(f"A card was not opened: {activation.outcome}.")
        patrons.append(
            StoryPatron(activation.card, activation.pin, personal.id_number, personal.name)
        )
    say(f"School review, guardians' consent, library approval: {len(patrons)} cards opened.\n")
    return tuple(patrons)


def _play(ground: _Playground, port: int, *, quiet: bool) -> list[Step]:
    zone = ground.app.libraries[LIBRARY].zone
    steps = []
    with Sip2Client(_HOST, port) as client:
        client.login(LOGIN, ground.password)
        kiosk = Kiosk(client, ground.clock, zone)
        if not quiet:
            click.echo(f"A self-check machine logs in at {_HOST}:{port} by SIP2.\n")
        story = tell_story(
            kiosk,
            ground.clock,
            zone=zone,
            patrons=ground.patrons,
            adult=ADULT_CARD,
            stock=ground.stock,
        )
        for step in story:
            steps.append(step)
            if not quiet:
                mark = "✓" if step.holds else "✗ NOT AS EXPECTED"
                click.echo(f"{mark} {step.title}\n    > {step.sent}\n    < {step.answer}")
    return steps


def _stay(ground: _Playground, port: int, *, as_json: bool) -> None:
    stop = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stop.set())
    document = _describe(ground, port)
    if as_json:
        write_json(document)
        sys.stdout.flush()
    else:
        first = ground.patrons[0]
        click.echo(f"SIP2 on {_HOST}:{port}, login {LOGIN}, password {ground.password}")
        click.echo(f"Try card {first.card} with PIN {first.pin}, items 30100001 to 30100066.")
        click.echo(
            f"onecard sip2 shell --port {port} --login {LOGIN} talks to it. "
            "Ctrl-C ends; files are kept only with --dir."
        )
    stop.wait()


def _describe(ground: _Playground, port: int) -> dict[str, object]:
    library = ground.app.libraries[LIBRARY]
    return {
        "libraries": [
            {
                "code": LIBRARY,
                "name": library.name,
                "isil": library.isil,
                "sip2": {
                    "host": _HOST,
                    "port": port,
                    "login": LOGIN,
                    "password": ground.password,
                    "location": "main-hall",
                },
            }
        ],
        "patrons": [
            {"card": p.card, "pin": p.pin, "id_number": p.id_number, "name": p.name}
            for p in ground.patrons
        ],
        "items": [
            {
                "barcode": s.item.barcode,
                "library": LIBRARY,
                "title": s.title,
                "language": s.language,
                "loanable": s.loanable,
            }
            for s in ground.stock
        ],
    }

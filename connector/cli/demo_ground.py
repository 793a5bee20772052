"""What the demonstration stands on: two libraries, their stock, and pupils with cards.

Nothing here plays or serves; ``demo`` does. Rules: the first library has the embedded ILS, the
second an ILS that is reached only by SIP2 over a socket and was started by a plugin; pupils enter
by a spreadsheet as anywhere, and their accounts at the second library hold a pseudonym (decision
3).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import xlsxwriter

from connector.bootstrap import Application, build
from connector.cli.context import Refused
from connector.cli.demo_data import ADULT_CARD, ADULT_PIN, PUPILS, SampleItem, sample_stock
from connector.cli.demo_story import DemoClock, StoryPatron
from connector.domain.enrolment import ConsentScope, SchoolStage
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.enrolment.columns import HEADERS, LAYOUTS, Layout
from connector.plugins.hookspecs import DemoContext, DemoIls, DemoIlsContext
from connector.plugins.manager import build_plugins
from connector.ports.clock import Clock
from connector.ports.ils import PatronInput
from connector.settings import Settings, parse_settings
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database

__all__ = ["HOST", "KIOSKS", "LIBRARIES", "Playground", "Terminal", "open_playground"]

HOST = "127.0.0.1"
LIBRARIES = (InstitutionId("FDX"), InstitutionId("SQZ"))
"""The first has the embedded ILS, the second one that speaks only SIP2."""
_ZONE = "Asia/Shanghai"
_ENCODING = "gb18030"
_PREFIXES = {"FDX": "301", "SQZ": "302"}
_ILS_SECRET = "ils-2.password"  # noqa: S105 (a file's name)


@dataclass(frozen=True, slots=True)
class Terminal:
    """A self-check machine: what it sends at login."""

    login: str
    location: str
    password: str = field(repr=False)

    @property
    def file(self) -> str:
        """The file that holds its password."""
        return f"{self.login}.password"


KIOSKS = {"FDX": ("kiosk-1", "main-hall"), "SQZ": ("kiosk-2", "reading-room")}

_SETTINGS = """\
# Written by onecard demo. Everything in it is invented.
[[libraries]]
code = "FDX"
isil = "CN-500230-1"
name = "龙河县图书馆"
branches = [{ code = "main", name = "总馆" }]
barcodes = { prefixes = ["301"] }
ils = { adapter = "local", demo = true }

[[libraries.items.shelving]]
attribute = "permanent_location"
pattern = "stack"
shelving = "closed-stack"

[[libraries.items.shelving]]
attribute = "permanent_location"
pattern = "ref"
shelving = "reference"

# SIP2 tells no language: this library's call numbers do.
[[libraries]]
code = "SQZ"
isil = "CN-500230-2"
name = "石桥镇图书馆"
branches = [{ code = "main", name = "阅览室" }]
barcodes = { prefixes = ["302"] }

[libraries.items.foreign]
call_number = ["I561*"]

[libraries.items.chinese]
call_number = ["I287*", "G634*", "K297*", "Z256*"]

[libraries.ils]
adapter = "sip2"
host = "@host@"
port = @port@
login = "@login@"
password_file = "@ils_secret@"
encoding = "@encoding@"

[[libraries.items.shelving]]
attribute = "permanent_location"
pattern = "stack"
shelving = "closed-stack"

[[libraries.items.shelving]]
attribute = "permanent_location"
pattern = "ref"
shelving = "reference"

[store]
url = "sqlite:///onecard.db"
key_file = "onecard.key"

[sip2]
host = "127.0.0.1"

[[sip2.terminals]]
login = "kiosk-1"
library = "FDX"
branch = "main"
location = "main-hall"
password_file = "kiosk-1.password"

[[sip2.terminals]]
login = "kiosk-2"
library = "SQZ"
branch = "main"
location = "reading-room"
password_file = "kiosk-2.password"

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
class Playground:
    """Everything that was built for the demonstration."""

    app: Application
    clock: DemoClock
    terminals: dict[InstitutionId, Terminal]
    patrons: tuple[StoryPatron, ...]
    stock: dict[InstitutionId, tuple[SampleItem, ...]]


@contextmanager
def open_playground(folder: Path, say: Callable[[str], object]) -> Iterator[Playground]:
    """Build two libraries in an empty folder and enrol the sample pupils.

    Args:
        say: takes lines for people.

    Raises:
        Refused: no plugin can start the second library's ILS, or enrolling went wrong.
    """
    clock = DemoClock(lambda: datetime.now(UTC))
    stock = {code: sample_stock(_PREFIXES[code]) for code in LIBRARIES}
    first, second = LIBRARIES
    with ExitStack() as stack:
        behind = _open_ils(folder, clock, stock[second])
        stack.callback(behind.close)
        terminals = {code: Terminal(*KIOSKS[code], secrets.token_urlsafe(9)) for code in LIBRARIES}
        settings = _write_settings(folder, behind, terminals.values())
        Keyring.generate().save(settings.store.key_file)
        upgrade_database(settings.store.url)
        app = build(settings, now=clock)
        stack.callback(app.close)
        _fill_first(app, stock[first])
        say(f"Library {first}: {len(stock[first])} items in the embedded library system.")
        say(f"Library {second}: {len(stock[second])} items in a system that speaks only SIP2.")
        sheet = folder / "pupils.xlsx"
        _write_sheet(sheet)
        patrons = _enrol(app, sheet, behind, say)
        yield Playground(app, clock, terminals, patrons, stock)


def _open_ils(folder: Path, now: Clock, stock: Sequence[SampleItem]) -> DemoIls:
    context = DemoIlsContext(
        LIBRARIES[1], _ZONE, _ENCODING, folder.resolve(), now, [s.item for s in stock]
    )
    found = build_plugins().open_demonstration_ils(context)
    if found is None:
        raise Refused("No plugin can start the second library's ILS. Reinstall the program.")
    return found


def _write_settings(folder: Path, behind: DemoIls, terminals: Iterable[Terminal]) -> Settings:
    secret = {terminal.file: terminal.password for terminal in terminals}
    for name, password in {**secret, _ILS_SECRET: behind.password}.items():
        file = folder / name
        file.touch(mode=0o600)
        file.write_text(password + "\n", encoding="utf-8")
    text = _SETTINGS
    values = {
        "host": behind.host,
        "port": str(behind.port),
        "login": behind.login,
        "ils_secret": _ILS_SECRET,
        "encoding": _ENCODING,
    }
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    (folder / "onecard.toml").write_text(text, encoding="utf-8")
    return parse_settings(text, base_dir=folder.resolve())


def _fill_first(app: Application, stock: Sequence[SampleItem]) -> None:
    adapter = app.adapters[LIBRARIES[0]]
    app.plugins.seed_demonstration(DemoContext(LIBRARIES[0], adapter, [s.item for s in stock]))
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


def _enrol(
    app: Application, sheet: Path, behind: DemoIls, say: Callable[[str], object]
) -> tuple[StoryPatron, ...]:
    actor = "demonstration"
    service, library = app.enrolment, LIBRARIES[0]
    school = service.save_school(library, "LH01", "龙河县第一小学", stage=SchoolStage.PRIMARY)
    report = service.import_roster(sheet, school, actor=actor)
    if report.batch is None or report.problems:
        raise Refused("The sample spreadsheet was not taken as it should be.")
    batch = report.batch
    say(f"Spreadsheet {sheet.name}: {batch.rows} rows, batch {batch.number}.")
    service.review(service.list_applications(batch), actor=actor)
    app.consents.record(
        service.list_applications(batch), [ConsentScope.CARD], evidence="demo form", actor=actor
    )
    service.approve(service.list_applications(batch), actor=actor)
    opened = app.provisioning(library).activate(service.list_applications(batch), actor=actor)
    patrons = []
    for number, activation in enumerate(opened, start=1):
        if not activation.card:
            raise Refused(f"A card was not opened: {activation.outcome}.")
        patron_id = activation.application.patron_id
        personal = app.store.people.fetch_personal(patron_id)
        patron = StoryPatron(activation.card, activation.pin, personal.id_number, personal.name)
        account = _open_visiting_account(behind, patron, number)
        app.store.people.set_account(patron_id, LIBRARIES[1], account, kind="visiting")
        patrons.append(patron)
    say(f"School review, guardians' consent, library approval: {len(patrons)} cards opened.\n")
    return tuple(patrons)


def _open_visiting_account(behind: DemoIls, patron: StoryPatron, number: int) -> IlsPatronId:
    """Let the second library's staff open an account: under the card, without a name."""
    account = IlsPatronId(patron.card)
    name = f"来访读者{number}"
    behind.add_patron(PatronInput(f"demo-{number}", account, name, "student", pin=patron.pin))
    return account

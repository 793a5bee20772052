"""The canary: marked names, PINs, barcodes and numbers go through every flow; none comes out in a log or a table."""

from __future__ import annotations

import io
import logging
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import xlsxwriter

from adapters.local.adapter import SPEC
from connector import log
from connector.domain.enrolment import ConsentScope, SchoolStage
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId
from connector.enrolment.columns import HEADERS, LAYOUTS, Layout
from connector.errors import AdapterUnavailable, ConnectorError, OutcomeUnknown
from connector.ports.ils import AdapterContext, ItemInput, PatronInput
from connector.settings import LogSettings
from connector.sip2.client import Sip2Client
from connector.testing.records import make_record
from tests.support.world import SteppingClock, World

CODE = InstitutionId("FDX")
NAME, GUARDIAN = "金丝雀", "鸟笼主"
ID_NUMBER = "500230201503010015"
BROKEN_ID = "500230201503010016"
PHONE, GUARDIAN_PHONE = "13977700001", "13977700002"
ADULT, ADULT_NAME, ADULT_PIN = "CANARYADULT", "成年金丝雀", "86420975"
BARCODES = tuple(f"CANARYB{n}" for n in range(10))
SECRET = "canary-password"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    text = io.StringIO()
    handler = logging.StreamHandler(text)
    logging.getLogger().addHandler(handler)
    log.configure(LogSettings(level="debug", format="json"), stream=text)
    yield text
    logging.getLogger().removeHandler(handler)
    log.configure()


def write_sheet(path: Path) -> None:
    book = xlsxwriter.Workbook(str(path))
    sheet = book.add_worksheet()
    sheet.write_row(0, 0, [HEADERS[column][0] for column in LAYOUTS[Layout.A49]])
    for row, number in enumerate((ID_NUMBER, BROKEN_ID), start=1):
        cells = (number, NAME, PHONE, GUARDIAN, GUARDIAN_PHONE, "三年级1班", "丰都")
        for column, text in enumerate(cells):
            sheet.write_string(row, column, text)
    book.close()


def raising(error: Exception):
    def call(*_args, **_kwargs):
        raise error

    return call


def test_no_marker_comes_out(make_world, tmp_path: Path, stream: io.StringIO, monkeypatch) -> None:
    clock = SteppingClock()
    context = AdapterContext(CODE, "Asia/Shanghai", str(tmp_path), clock)
    world: World = make_world(
        clock=clock,
        adapters={CODE: SPEC.build(SPEC.settings.model_validate({"path": "ils.db"}), context)},
        terminal='permissions = ["block_patron", "enable_patron", "item_status"]',
        sip2="answer_deadline_s = 5\nils_deadline_s = 4",
    )
    app, ils = world.app, world.adapters[CODE]
    for barcode in BARCODES:
        ils.add_item(ils.add_bib(make_record("书"), "marc21"), ItemInput(Barcode(barcode)))
    ils.upsert_patron(PatronInput("adult", IlsPatronId(ADULT), ADULT_NAME, "adult", pin=ADULT_PIN))

    sheet = tmp_path / "roster.xlsx"
    write_sheet(sheet)
    school = app.enrolment.save_school(CODE, "S01", "一小", stage=SchoolStage.PRIMARY)
    report = app.enrolment.import_roster(sheet, school, actor="clerk")
    assert (report.batch is not None, len(report.problems)) == (True, 1)
    batch = report.batch
    assert batch is not None

    def pupils():
        return app.enrolment.list_applications(batch)

    app.enrolment.review(pupils(), actor="clerk")
    app.consents.record(pupils(), [ConsentScope.CARD], evidence="F1", actor="clerk")
    app.enrolment.approve(pupils(), actor="librarian")
    (opened,) = app.provisioning(CODE).activate(pupils(), actor="librarian")
    assert opened.pin
    markers = [NAME, GUARDIAN, ID_NUMBER, BROKEN_ID, PHONE, GUARDIAN_PHONE, opened.pin]
    markers += [ADULT, ADULT_NAME, ADULT_PIN, SECRET, *BARCODES]

    with Sip2Client("127.0.0.1", world.server.port) as stranger:
        assert not stranger.login(f"kiosk-{CODE}", SECRET)
    kiosk = world.kiosk(CODE)
    kiosk.checkout(opened.card, BARCODES[0], pin=opened.pin)
    kiosk.checkout(opened.card, BARCODES[1], pin="wrong-" + opened.pin)
    kiosk.checkout(ID_NUMBER, BARCODES[2])
    kiosk.checkout(ADULT, BARCODES[3], pin=ADULT_PIN)
    kiosk.checkout("NOBODY", BARCODES[4])
    kiosk.renew(opened.card, BARCODES[0])
    kiosk.renew(opened.card, BARCODES[0])
    kiosk.hold(opened.card, BARCODES[3])
    kiosk.information(ID_NUMBER)
    kiosk.item(BARCODES[0])
    kiosk.checkin(BARCODES[0])
    kiosk.checkin(BARCODES[9])
    for code, fixed in (("01", {"card_retained": "Y"}), ("25", {}), ("35", {}), ("37", {})):
        kiosk.ask(code, fixed, ("AA", opened.card), ("AD", opened.pin), ("BV", "1.00"))
    kiosk.ask("19", {}, ("AB", BARCODES[0]), ("CH", NAME))
    kiosk.client.exchange_raw(f"11YN AO|AA{ID_NUMBER}|AB{BARCODES[5]}|AD{opened.pin}|\r".encode())
    texts = []
    for error in (
        RuntimeError(f"{NAME} {ID_NUMBER} {BARCODES[6]} {opened.pin}"),
        OutcomeUnknown("local", CODE, "timeout"),
        AdapterUnavailable("local", CODE, "refused"),
    ):
        for operation in ("checkout", "renew", "checkin", "fetch_patron", "fetch_item"):
            with monkeypatch.context() as patch:
                patch.setattr(type(ils), operation, raising(error))
                kiosk.checkout(opened.card, BARCODES[6], pin=opened.pin)
                kiosk.renew(opened.card, BARCODES[2])
                kiosk.checkin(BARCODES[2])
                kiosk.information(opened.card)
                try:
                    app.settlement.run_once()
                except ConnectorError as failed:
                    texts.append(f"{failed} {failed!r}")
    world.clock.advance(minutes=10)
    app.settlement.run_once()
    with pytest.raises(ConnectorError) as refused:
        app.enrolment.import_roster(Path(__file__), school, actor="clerk")
    texts.append(f"{refused.value} {refused.value!r}")
    app.consents.withdraw(pupils(), ConsentScope.CARD, actor="clerk")
    kiosk.information(opened.card)

    written = stream.getvalue() + " ".join(texts)
    assert "sip2.exchange_done" in written
    assert "sip2.handler_failed" in written or "ils.failed_unexpectedly" in written
    assert [marker for marker in markers if marker in written] == []

    may_be_barcode = {"barcode", "payload"}
    in_tables = []
    for name in world.table_names():
        for row in world.rows(name):
            for column, value in row.items():
                text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                in_tables += [
                    (name, column, marker)
                    for marker in markers
                    if marker in text and not (marker in BARCODES and column in may_be_barcode)
                ]
    assert in_tables == []


def test_a_stolen_database_file_shows_nobody(make_world, tmp_path: Path, store_url: str) -> None:
    if not store_url.startswith("sqlite"):
        pytest.skip("a file of SQLite is looked at")
    world: World = make_world()
    world.add_pupil("S1", id_number=ID_NUMBER)
    path = Path(store_url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    data = b"".join(each.read_bytes() for each in path.parent.glob(f"{path.name}*"))
    assert len(data) > 10_000
    for secret in ("张小江", ID_NUMBER):
        assert secret.encode() not in data
        assert secret.encode("utf-16-le") not in data

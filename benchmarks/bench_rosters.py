"""A roster of 100,000 rows: read and checked, and matched against as many pupils, by the measure of
a plain read of the same file with python-calamine.

Run: python benchmarks/bench_rosters.py [--rows 100000] [--rounds 3] [--only read check match]
Each measurement is a process of its own; rounds alternate, medians count. The file has 94 % pupils
who are known and unchanged, 5 % new ones and 1 % bad rows; it is made in a temporary folder, and so
is the database (SQLite), filled in bulk. Times are processor time of one process.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import xlsxwriter
from python_calamine import CalamineWorkbook
from stdnum.cn import ric

from connector.domain.enrolment import RowContext, SchoolStage, parse_row
from connector.domain.ids import Identifier
from connector.enrolment.workbook import read_roster

if TYPE_CHECKING:
    from connector.bootstrap import Application

STEPS = {
    "read": "plain read (python-calamine)",
    "check": "read and checked",
    "match": "matched, dry run",
}
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
FAMILY = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨"
GIVEN = "一二三四五六七八九十百千万"
CLASSES = 12
CHUNK = 2000
TODAY = date(2026, 9, 10)


def pupil(serial: int) -> list[str]:
    """Return a row; the same serial is the same child."""
    birth = date(2017, 9, 2) + timedelta(days=serial % 365)
    first17 = f"5002{serial // 365000 % 90 + 10}{birth:%Y%m%d}{serial // 365 % 1000:03}"
    name = FAMILY[serial % 16] + GIVEN[serial // 16 % 13] + GIVEN[serial // 208 % 13]
    return [
        first17 + ric.calc_check_digit(first17 + "0"),
        name,
        f"138{serial:08}",
        f"家长{name[0]}{GIVEN[serial % 13]}",
        f"139{serial:08}",
        f"三（{serial % CLASSES + 1}）班",
        "丰都",
    ]


def write_roster(path: Path, rows: int, known: int) -> None:
    """Write rows of which 94 % are pupils under ``known``, 5 % new and 1 % bad."""
    book = xlsxwriter.Workbook(str(path), {"constant_memory": False})
    sheet = book.add_worksheet("名册")
    for position, header in enumerate(HEADERS):
        sheet.write_string(0, position, header)
    for row in range(rows):
        serial = known + row if row % 20 == 7 else row
        cells = pupil(serial)
        if row % 100 == 50:
            cells[2] = "未知"
        for position, cell in enumerate(cells):
            sheet.write_string(row + 1, position, cell)
    book.close()


def open_app(folder: Path) -> Application:
    from connector.bootstrap import build
    from connector.settings.load import load_settings

    return build(load_settings(folder / "onecard.toml"))


def prepare(folder: Path, rows: int) -> None:
    """Make an installation with a school of ``rows`` pupils, and the roster."""
    from click.testing import CliRunner

    from connector.cli.main import cli

    write_roster(folder / "roster.xlsx", rows, rows)
    done = CliRunner().invoke(cli, ["--config", str(folder / "onecard.toml"), "init", str(folder)])
    assert done.exit_code == 0, done.output
    app = open_app(folder)
    try:
        library = next(iter(app.libraries))
        school = app.enrolment.save_school(library, "s1", "学校", stage=SchoolStage.PRIMARY)
        book = xlsxwriter.Workbook(str(folder / "first.xlsx"))
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADERS)
        for serial in range(CLASSES):
            sheet.write_row(serial + 1, 0, pupil(serial))
        book.close()
        report = app.enrolment.import_roster(folder / "first.xlsx", school, actor="bench")
        assert report.rows == CLASSES
        fill(app, rows)
    finally:
        app.close()


def fill(app: Application, rows: int) -> None:
    """Copy the pupils that were imported until there are ``rows``, each sealed with its own key."""
    from sqlalchemy import select

    from connector.ports.store import PersonalData
    from connector.storage import tables
    from connector.storage.repositories.person_rows import seal_data, seal_identifier

    copied = [tables.person, tables.application, tables.class_membership]
    with app.store.work.begin() as unit:
        keyring = unit.keyring
        patterns = []
        for serial in range(CLASSES):
            digest = keyring.digests(Identifier("id_card", pupil(serial)[0]))[0][1]
            number = tables.identifier.c
            owner = unit.connection.scalar(select(number.person_id).where(number.digest == digest))
            patterns.append(
                {
                    table: dict(row)
                    for table in [*copied, tables.person_key, tables.identifier]
                    for row in unit.connection.execute(
                        select(table).where(table.c.person_id == owner)
                    ).mappings()
                }
            )
        for start in range(CLASSES, rows, CHUNK):
            batches: dict[object, list[dict[str, object]]] = {}
            for serial in range(start, min(start + CHUNK, rows)):
                pattern = patterns[serial % CLASSES]
                number_text, name, phone, parent, parent_phone = pupil(serial)[:5]
                patron_id = str(uuid.uuid4())
                key_id, wrapped = keyring.new_person_key(patron_id)
                cipher = keyring.open_person(patron_id, wrapped)
                born = date.fromisoformat(
                    f"{number_text[6:10]}-{number_text[10:12]}-{number_text[12:14]}"
                )
                identifier = Identifier("id_card", number_text)
                digest_key, digest = keyring.digests(identifier)[0]
                data = PersonalData(name, number_text, phone, parent, parent_phone, born)
                changes = {
                    tables.person: seal_data(keyring, cipher, data),
                    tables.person_key: {"key_id": key_id, "wrapped": wrapped},
                    tables.identifier: {
                        "identifier_id": None,
                        "key_id": digest_key,
                        "digest": digest,
                        "sealed": seal_identifier(cipher, patron_id, identifier),
                    },
                    tables.application: {"application_id": str(uuid.uuid4())},
                    tables.class_membership: {"membership_id": str(uuid.uuid4())},
                }
                for table, change in changes.items():
                    if table in pattern:
                        row = pattern[table] | {"person_id": patron_id} | change
                        if row.get("identifier_id", "") is None:
                            del row["identifier_id"]
                        batches.setdefault(table, []).append(row)
            for table, lines in batches.items():
                unit.connection.execute(table.insert(), lines)


def read_plainly(folder: Path) -> dict[str, int]:
    book = CalamineWorkbook.from_path(folder / "roster.xlsx")
    return {"rows": len(book.get_sheet_by_index(0).to_python()) - 1}


def check(folder: Path) -> dict[str, int]:
    context = RowContext(TODAY, SchoolStage.PRIMARY, frozenset({"丰都县"}))
    bad = 0
    roster = read_roster(folder / "roster.xlsx")
    for row in roster.rows:
        bad += isinstance(parse_row(row.cells, row.number, context), list)
    return {"rows": len(roster.rows), "invalid": bad}


def match(folder: Path, app: Application) -> dict[str, int]:
    library = next(iter(app.libraries))
    school = next(iter(app.enrolment.list_schools(library)))
    report = app.enrolment.import_roster(
        folder / "roster.xlsx", school, actor="bench", dry_run=True
    )
    return {outcome.value: number for outcome, number in report.counts.items() if number}


def run_step(step: str, folder: Path) -> None:
    if step == "match":
        function = partial(match, app=open_app(folder))
    else:
        function = {"read": read_plainly, "check": check}[step]
    idle = peak_mb()
    started = time.process_time()
    found = function(folder)
    seconds = time.process_time() - started
    print(json.dumps({"seconds": seconds, "peak": peak_mb(), "idle": idle, "of": found}))


def peak_mb() -> int:
    """Return the most memory this process has held; ``getrusage`` of Linux counts a parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def measure(step: str, folder: Path) -> dict:
    words = ["--step", step, "--folder", str(folder)]
    done = subprocess.run(
        [sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=STEPS, default=list(STEPS))
    parser.add_argument("--step", choices=STEPS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.step:
        run_step(options.step, options.folder)
        return
    steps = [step for step in STEPS if step in {"read", *options.only}]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if "match" in steps:
            prepare(folder, options.rows)
        else:
            write_roster(folder / "roster.xlsx", options.rows, options.rows)
        rounds: dict[str, list[dict]] = {step: [] for step in steps}
        for _ in range(options.rounds):
            for step in steps:
                rounds[step].append(measure(step, folder))
    plain = statistics.median(each["seconds"] for each in rounds["read"])
    print(f"\n### A roster of {options.rows:,} rows against a plain read of the file\n")
    print("| step | seconds | rows/s | ratio | peak MB | before MB | found |")
    print("|---|---|---|---|---|---|---|")
    for step, results in rounds.items():
        seconds = statistics.median(each["seconds"] for each in results)
        peak = max(each["peak"] for each in results)
        found = ", ".join(f"{key} {value:,}" for key, value in results[0]["of"].items())
        print(
            f"| {STEPS[step]} | {seconds:.2f} | {options.rows / seconds:,.0f} "
            f"| **{seconds / plain:.1f}** | {peak} | {results[0]['idle']} | {found} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""A stolen database: whoever has its bytes, or a data backup, reads no name, number or phone."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
import xlsxwriter
from click.testing import CliRunner

from connector.cli.main import cli
from connector.domain.enrolment import ConsentScope
from connector.domain.ids import Identifier
from connector.ports.store import PersonalData
from connector.ports.tasks import TaskKind
from connector.settings import load_settings
from connector.storage.backup import make_backup
from connector.storage.key_rotation import KeyRotation
from connector.storage.repositories import person_rows
from tests.support.full_store import FDX, add_people, fill_every_table, secrets_of
from tests.support.id_numbers import id_number

ENCODINGS = ("utf-8", "utf-16-le", "utf-16-be", "gb18030")
HEADERS = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = ["丁一一", "戴二二", "孙三三", "李四四"]
LIAISON, LIAISON_PHONE = "诸葛小明", "13700009876"


def shapes(secret: str) -> list[bytes]:
    """Return every shape in which a text may lie in a file."""
    found = [secret.encode(encoding) for encoding in ENCODINGS]
    found += [json.dumps(secret)[1:-1].encode(), secret.encode().hex().encode()]
    return [*found, base64.b64encode(secret.encode()).rstrip(b"=")[:-1]]


def readable(content: bytes, secrets: list[str]) -> list[str]:
    return [secret for secret in secrets if any(shape in content for shape in shapes(secret))]


def raw_bytes(file: Path) -> bytes:
    """Return the database file and what SQLite keeps beside it."""
    return b"".join(path.read_bytes() for path in sorted(file.parent.glob(file.name + "*")))


@pytest.fixture
def used(store, clock, tmp_path):
    """Use every part of a store, erase somebody, and rotate the keys."""
    people = add_people(store)
    fill_every_table(store, people[0])
    store.people.update_personal(
        people[1], PersonalData(name="王小改", phone="13611112222", guardian_name="王大改")
    )
    store.people.add_identifier(people[1], Identifier("ssc", "5002300009"))
    store.people.retire_identifier(people[1], Identifier("card", "S0000001"))
    store.enrolment.record_consent(
        people[1],
        FDX,
        ConsentScope.CARD,
        given=True,
        text_version="2026-09",
        evidence="folder 7, sheet 3",
        actor="staff1",
        now=clock(),
    )
    store.tasks.open_task(
        FDX, TaskKind.EXISTING_CARD, about=people[1], patron_id=people[1], actor="worker"
    )
    with store.work.begin() as unit:
        person_rows.add_person(
            unit, PersonalData(name=LIAISON, phone=LIAISON_PHONE), (), home=FDX, category="liaison"
        )
    KeyRotation(store, tmp_path / "onecard.key", settle_s=0).rotate(
        actor="cli", progress=lambda done, total: None
    )
    store.people.erase_person(people[2], actor="cli")
    return [
        *secrets_of(), "王小改", "13611112222", "王大改", "5002300009", LIAISON, LIAISON_PHONE,
    ]  # fmt: skip


def test_data_backup_shows_nobody(store, used, tmp_path):
    report = make_backup(
        store,
        tmp_path / "onecard.key",
        data_dir=tmp_path / "data",
        keys_dir=tmp_path / "keys",
        verify=True,
        progress=lambda done, total: None,
    )
    assert report.is_sound
    content = gzip.decompress(report.data.read_bytes())
    assert b"folder 7, sheet 3" in content, "what is in clear is found"
    assert readable(content, used) == []
    assert readable(gzip.decompress(report.keys.read_bytes()), used) == []


def test_stolen_sqlite_file_shows_nobody(store, used):
    if store.database.file is None:
        pytest.skip("SQLite only; the other test reads PostgreSQL's rows")
    content = raw_bytes(store.database.file)
    assert b"folder 7, sheet 3" in content, "what is in clear is found"
    assert readable(content, used) == []


def test_installation_that_was_used_by_commands_shows_nobody(tmp_path):
    def onecard(*words: str, **more: str):
        result = CliRunner().invoke(
            cli, ["--config", str(tmp_path / "onecard.toml"), *words], **more
        )
        assert result.exit_code == 0, result.output
        return result

    onecard("init", str(tmp_path))
    book = xlsxwriter.Workbook(str(tmp_path / "roster.xlsx"))
    sheet = book.add_worksheet("名册")
    secrets = [LIAISON, LIAISON_PHONE]
    sheet.write_row(0, 0, HEADERS)
    for serial, name in enumerate(NAMES):
        personal = [
            id_number(serial), name, f"138000{serial:05}", f"{name[0]}家长甲", f"139000{serial:05}",
        ]  # fmt: skip
        sheet.write_row(serial + 1, 0, [*personal, "三年级2班", "丰都"])
        secrets += personal
    book.close()
    onecard("enrol", "school", "add", "s1", "丰都一小", "--stage", "primary")
    onecard("enrol", "school", "liaison", "s1", input=f"{LIAISON}\n{LIAISON_PHONE}\n")
    report = onecard("enrol", "import", str(tmp_path / "roster.xlsx"), "--school", "s1", "--json")
    batch = json.loads(report.stdout)["batch"]
    onecard("enrol", "review", batch)
    onecard("enrol", "consent", batch, "--all", "--evidence", "folder 7")
    onecard("enrol", "approve", batch)
    pins = tmp_path / "pins.csv"
    onecard("enrol", "activate", batch, "--pins", str(pins))
    onecard("keys", "rotate")
    onecard("backup", "--to", str(tmp_path / "data"), "--keys-to", str(tmp_path / "keys"))
    file = tmp_path / "onecard.db"
    assert load_settings(tmp_path / "onecard.toml").store.url.endswith(str(file))
    content = raw_bytes(file)
    assert "丰都一小".encode() in content, "what is in clear is found"
    assert readable(content, secrets) == []
    (archive,) = (tmp_path / "data").glob("*.tar.gz")
    assert readable(gzip.decompress(archive.read_bytes()), secrets) == []
    assert readable(raw_bytes(tmp_path / "local-LIB.db"), secrets), "the library system's is clear"

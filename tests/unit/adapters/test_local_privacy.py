"""Nothing personal in reprs, exceptions or their chains."""

from __future__ import annotations

import sqlite3
import stat
import traceback

import pytest
from pydantic import ValidationError

from adapters.local.settings import LocalSettings
from connector.errors import AdapterUnavailable, UnexpectedResponse

NAME, NUMBER, PHONE, PIN = "欧阳标记", "110101199003071099", "13912345678", "862915"


def everything(error):
    return "".join(traceback.format_exception(error))


def test_only_the_owner_reads_the_database(world):
    world.patron(name=NAME)
    files = list(world.folder.iterdir())
    assert any(file.suffix == ".db" for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_a_closed_account_leaves_nothing_in_any_file_while_others_read(world):
    world.patron("P1", name=NAME, phone=PHONE, identifiers={"id_card": NUMBER})
    other = sqlite3.connect(next(world.folder.glob("*.db")))
    other.execute("SELECT COUNT(*) FROM patron").fetchall()

    def held():
        content = b"".join(path.read_bytes() for path in world.folder.iterdir())
        return [mark for mark in (NAME, NUMBER, PHONE) if mark.encode() in content]

    assert held() == [NAME, NUMBER, PHONE]
    world.adapter.close_patron("P1")
    assert held() == []
    other.close()


def test_a_taken_number_is_not_told(world):
    world.patron("P1", identifiers={"id_card": NUMBER})
    with pytest.raises(UnexpectedResponse) as refused:
        world.patron("P2", name=NAME, phone=PHONE, pin=PIN, identifiers={"id_card": NUMBER})
    for marker in (NAME, NUMBER, PHONE, PIN):
        assert marker not in everything(refused.value)


def test_a_failing_statement_does_not_show_its_values(world):
    world.patron()
    with world.adapter.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE patron_identifier")
    with pytest.raises(AdapterUnavailable) as refused:
        world.patron("P2", name=NAME, phone=PHONE, pin=PIN, identifiers={"id_card": NUMBER})
    assert isinstance(refused.value.__cause__, Exception)
    for marker in (NAME, NUMBER, PHONE, PIN):
        assert marker not in everything(refused.value)


def test_values_show_no_names(world):
    world.patron(name=NAME, phone=PHONE, pin=PIN)
    with world.adapter.database.read() as connection:
        row = world.adapter.find_patron_row(connection, "P1")
    for marker in (NAME, PHONE, "argon2"):
        assert marker not in repr(row)
        assert marker not in repr(world.adapter.fetch_patron("P1"))


@pytest.mark.parametrize(
    "wrong", [{"language": "fr"}, {"paht": "x"}, {"currency": "yuan"}, {"rules": [{"max_item": 1}]}]
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        LocalSettings(**wrong)

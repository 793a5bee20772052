"""Archives: every cut and every flipped byte is noticed, and only what belongs there is read."""

from __future__ import annotations

import gzip
import stat
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.errors import ConfigurationError
from connector.storage import archive
from connector.storage.archive import (
    ArchiveWriter,
    Manifest,
    decode_row,
    encode_row,
    publish,
    read_lines,
    read_manifest,
    walk,
)
from connector.storage.crypto import Keyring

FORMAT = "onecard-data-1"
COLUMNS = {
    "a": "text", "b": "int", "c": "bool", "d": "bytes", "e": "moment", "f": "date",
}  # fmt: skip
MOMENT = datetime(2026, 11, 21, 2, 0, 0, 5, tzinfo=UTC)
ROWS = [
    ("张\n\"'\\", 7, True, b"\x00\xff", MOMENT, date(2026, 11, 21)),
    ("", -1, False, b"", MOMENT, date(1, 1, 1)),
    (None, None, None, None, None, None),
]


@pytest.fixture(scope="module")
def keyring():
    return Keyring.generate()


def write(path, keyring, rows=ROWS):
    head = Manifest(FORMAT, "0002", MOMENT, keyring.lasting, ())
    with ArchiveWriter(path) as writer:
        assert writer.add_rows("person", COLUMNS, rows) == len(rows)
        writer.add_file("onecard.key", b"key")
        return writer.finish(head, keyring.backup_mac)


def contents(path):
    return {name: content.read() for name, content in walk(path)}


def test_what_was_written_comes_back(tmp_path, keyring):
    path = tmp_path / "a.tar.gz"
    written = write(path, keyring)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    manifest, key_file = read_manifest(path, FORMAT)
    assert (manifest, key_file) == (written, b"key")
    manifest.require(keyring.backup_mac)
    (person, key) = manifest.members
    assert (person.table, person.rows, dict(person.columns), key.rows) == ("person", 3, COLUMNS, 0)
    for name, content in walk(path):
        if name == "person.jsonl":
            rows = [tuple(decode_row(line, COLUMNS).values()) for line in read_lines(content)]
    assert rows == ROWS
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]


def test_every_cut_and_every_flipped_byte_is_noticed(tmp_path, keyring):
    path = tmp_path / "a.tar.gz"
    write(path, keyring)
    whole, content = path.read_bytes(), contents(path)
    unpacked = gzip.decompress(whole)
    for position in range(len(whole)):
        changed = bytearray(whole)
        changed[position] ^= 1 << (position % 8)
        for broken in (bytes(changed), whole[:position]):
            path.write_bytes(broken)
            try:
                read_manifest(path, FORMAT)
            except ConfigurationError:
                continue
            # Time and origin in gzip's own header, padding and unused codes of its stream.
            assert gzip.decompress(broken) == unpacked
            assert contents(path) == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.integers(-(2**63), 2**63 - 1),
    st.binary(),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8))])),
)
def test_any_row_comes_back(text, number, content, moment):
    row = (text, number, True, content, moment, moment.date())
    line = encode_row(row)
    assert line.count(b"\n") == 1
    assert tuple(decode_row(line, COLUMNS).values()) == row


@pytest.mark.parametrize(
    "line",
    [b"", b"nonsense", b"{}", b"[]", b"[1,2,3,4,5,6]", b'["a",1,true,"AA==","x","2026-01-01"]',
     b'["a",true,true,"AA==","2026-01-01T00:00:00+00:00","2026-01-01"]',
     b'["a",1,1,"AA==","2026-01-01T00:00:00+00:00","2026-01-01"]',
     b'["a",1,true,"*","2026-01-01T00:00:00+00:00","2026-01-01"]',
     b'["a",1,true,"AA==","2026-01-01T00:00:00+00:00","2026-01-01",1]'],
)  # fmt: skip
def test_row_that_does_not_fit_is_refused(line):
    with pytest.raises((ValueError, TypeError)):
        decode_row(line, COLUMNS)


def test_other_format_other_keys_and_absent_file_are_refused(tmp_path, keyring):
    path = tmp_path / "a.tar.gz"
    manifest = write(path, keyring)
    with pytest.raises(ConfigurationError, match="not an archive of this kind"):
        read_manifest(path, "onecard-keys-1")
    with pytest.raises(ConfigurationError, match="other keys"):
        manifest.require(Keyring.generate().backup_mac)
    with pytest.raises(ConfigurationError, match="There is no"):
        read_manifest(tmp_path / "absent", FORMAT)


def test_line_and_file_that_are_far_too_long_are_refused(tmp_path, keyring, monkeypatch):
    path = tmp_path / "a.tar.gz"
    write(path, keyring, [("x" * 500, 1, True, b"", MOMENT, date(1, 1, 1))])
    monkeypatch.setattr(archive, "_LONGEST_LINE", 100)
    with pytest.raises(ConfigurationError, match="damaged"):
        read_manifest(path, FORMAT)
    monkeypatch.undo()
    monkeypatch.setattr(archive, "_LONGEST_FILE", 2)
    with pytest.raises(ConfigurationError, match="damaged"):
        read_manifest(path, FORMAT)


def test_archive_that_was_not_finished_is_gone_and_the_former_one_stays(tmp_path, keyring):
    path, part = tmp_path / "a.tar.gz", tmp_path / "a.tar.gz.part"
    write(path, keyring)
    before = path.read_bytes()

    def failing():
        yield ROWS[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), ArchiveWriter(part) as writer:
        writer.add_rows("person", COLUMNS, failing())
    assert [file.name for file in tmp_path.iterdir()] == ["a.tar.gz"]
    write(part, keyring, ROWS[:1])
    assert path.read_bytes() == before
    publish(part, path)
    assert read_manifest(path, FORMAT)[0].members[0].rows == 1

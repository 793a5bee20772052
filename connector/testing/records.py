"""Brief ISO 2709 records for tests, made and read without a MARC library.

Nothing here is meant for real records; ``connector.marc`` is. Rules: UTF-8; title in 245 or 200.
"""

from __future__ import annotations

from connector.ports.ils import MarcDialect

__all__ = ["make_record", "peek_title"]

_FIELD, _RECORD, _SUBFIELD = "\x1e", "\x1d", "\x1f"
_ENTRY = 12
_LEADER = 24


def make_record(title: str, dialect: MarcDialect = "marc21", *, language: str = "chi") -> bytes:
    """Return a record with a title and a language of the text."""
    tags = ("245", "041") if dialect == "marc21" else ("200", "101")
    values = (f"10{_SUBFIELD}a{title}", f"0 {_SUBFIELD}a{language}")
    directory, body = "", b""
    for tag, value in sorted(zip(tags, values, strict=True)):
        data = (value + _FIELD).encode()
        directory += f"{tag}{len(data):04}{len(body):05}"
        body += data
    base = _LEADER + len(directory) + 1
    marker = "nam a22" if dialect == "marc21" else "nam0 22"
    tail = " i 4500" if dialect == "marc21" else "   450 "
    leader = f"{base + len(body) + 1:05}{marker}{base:05}{tail}"
    return (leader + directory + _FIELD).encode() + body + _RECORD.encode()


def peek_title(record: bytes) -> str:
    """Return the title of such a record, or an empty string."""
    base = int(record[12:17])
    for start in range(_LEADER, base - 1, _ENTRY):
        entry = record[start : start + _ENTRY].decode("ascii")
        if entry[:3] in {"245", "200"}:
            begin = base + int(entry[7:12])
            text = record[begin : begin + int(entry[3:7])].decode()
            subfields = [
                part[1:] for part in text.rstrip(_FIELD).split(_SUBFIELD)[1:] if part[:1] == "a"
            ]
            return subfields[0] if subfields else ""
    return ""

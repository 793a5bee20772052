"""ISO 2709 bytes in UTF-8 become pymarc records; a file becomes single records.

Nothing here interprets a field; ``map`` does. Rules: a file is cut at the record terminator (0x1D),
never by the length in the leader, since one wrong length would lose the rest of the file; a record
that cannot be read is a ``RecordError``.
"""

from __future__ import annotations

from collections.abc import Iterator

from pymarc import Record
from pymarc.exceptions import PymarcException

from connector.errors import RecordError
from connector.ports.ils import MarcDialect

__all__ = ["detect_dialect", "read_record", "split_records"]

_TERMINATOR = b"\x1d"
_LEADER_LENGTH = 24


def split_records(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file, terminator included; a BOM and line ends between are dropped."""
    for part in data.removeprefix(b"\xef\xbb\xbf").split(_TERMINATOR):
        record = part.lstrip(b" \r\n\t\x00\x1a")
        if record:
            yield record + _TERMINATOR


def read_record(data: bytes, *, position: int = 1) -> Record:
    """Read one record.

    Args:
        data: one ISO 2709 record in UTF-8.
        position: its number in the file, for the error.

    Raises:
        RecordError: ``too_short``, ``not_utf8`` or ``unreadable``.
    """
    if len(data) <= _LEADER_LENGTH:
        raise RecordError(position, "too_short")
    try:
        return Record(data=data, to_unicode=True, force_utf8=True, utf8_handling="strict")
    except UnicodeDecodeError as err:
        raise RecordError(position, "not_utf8") from err
    except (PymarcException, ValueError, IndexError, AssertionError) as err:
        raise RecordError(position, "unreadable") from err


def detect_dialect(record: Record) -> MarcDialect:
    """Say which format a record is in: the title stands in 245 (MARC 21) or in 200 (CNMARC)."""
    if record.get("245") is not None:
        return "marc21"
    return "cnmarc" if record.get("200") is not None else "marc21"

"""Plain values to MARC records, for brief bibs that we make ourselves.

Nothing here changes a record that somebody else made. Rules: UTF-8 always; MARC 21 says so in
leader/09, CNMARC in 100$a/26-29 (code 50) and leaves leader/09 blank.
"""

from __future__ import annotations

from datetime import date

from pymarc import Field, Indicators, Leader, Record, Subfield

from connector.domain.bib import BibSummary
from connector.errors import RecordError
from connector.ports.ils import MarcDialect

__all__ = ["build_record"]

_MAX_RECORD = 99_999
"""Source: ISO 2709, the record length has five digits."""


def build_record(
    bib: BibSummary,
    dialect: MarcDialect = "marc21",
    *,
    record_id: str = "",
    entered: date = date(2026, 9, 1),
    original_language: str = "",
    price: str = "",
) -> bytes:
    """Return an ISO 2709 record in UTF-8 with these values.

    Args:
        entered: the day it was catalogued (008/00-05, 100$a/00-07).
        original_language: MARC code of the language that it was translated from (041$h, 101$c).
        price: as printed, such as ``CNY28.00``.

    Raises:
        RecordError: ``too_long`` for ISO 2709.
    """
    cnmarc = dialect == "cnmarc"
    record = Record(force_utf8=True)
    record.leader = Leader("00000nam0 2200000   450 " if cnmarc else "00000nam a2200000 i 4500")
    control = [Field("001", data=record_id)] if record_id else []
    make_fields = _cnmarc_fields if cnmarc else _marc21_fields
    record.fields = [*control, *make_fields(bib, entered, original_language, price)]
    data = bytearray(record.as_marc())
    if len(data) > _MAX_RECORD:
        raise RecordError(1, "too_long")
    # pymarc writes "a" into leader/09 of every UTF-8 record; that position is undefined in CNMARC.
    data[9:10] = b" " if cnmarc else b"a"
    return bytes(data)


def _marc21_fields(bib: BibSummary, entered: date, original: str, price: str) -> list[Field]:
    language = bib.languages[0] if bib.languages else "|||"
    country = "cc " if language == "chi" else "xx "
    fixed = f"{entered:%y%m%d}s{bib.year or 'uuuu':4}    {country}           000 0 {language} d"
    title, _, rest = bib.title.partition(" : ")
    fields = [
        Field("008", data=fixed),
        _field("020", "  ", a=bib.isbn, c=price),
        Field("041", Indicators("1" if original else "0", " "), _languages(bib, "h", original)),
        _field("084", "  ", a=bib.clc_class, two="clc"),
        _field("100", "1 ", a=bib.author),
        _field("245", "10", a=f"{title} :" if rest else title, b=rest, c=bib.author),
        _field("264", " 1", b=bib.publisher, c=bib.year),
    ]
    return [field for field in fields if _is_filled(field)]


def _cnmarc_fields(bib: BibSummary, entered: date, original: str, price: str) -> list[Field]:
    general = f"{entered:%Y%m%d}d{bib.year or '    ':4}    cemy0chiy50      ea"
    title, _, rest = bib.title.partition(" : ")
    fields = [
        _field("010", "  ", a=bib.isbn, d=price),
        _field("100", "  ", a=general),
        Field("101", Indicators("1" if original else "0", " "), _languages(bib, "c", original)),
        _field("102", "  ", a="CN"),
        _field("200", "1 ", a=title, e=rest, f=bib.author),
        _field("210", "  ", c=bib.publisher, d=bib.year),
        _field("690", "  ", a=bib.clc_class, v="5" if bib.clc_class else ""),
        _field("701", " 0", a=bib.author),
        _field("801", " 0", a="CN", c=f"{entered:%Y%m%d}"),
    ]
    return [field for field in fields if _is_filled(field)]


def _field(tag: str, indicators: str, *, two: str = "", **values: str) -> Field:
    subfields = [Subfield(code, value) for code, value in values.items() if value]
    if two and subfields:
        subfields.append(Subfield("2", two))
    return Field(tag, Indicators(indicators[0], indicators[1]), subfields)


def _languages(bib: BibSummary, original_code: str, original: str) -> list[Subfield]:
    text = [Subfield("a", code) for code in bib.languages]
    return [*text, Subfield(original_code, original)] if original and text else text


def _is_filled(field: Field) -> bool:
    return field.is_control_field() or bool(field.subfields)

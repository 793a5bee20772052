"""MARC fields to plain values: one function per dialect, one table of tags in each.

Nothing here reads bytes or converts between dialects. Rules: the language of the *text* is 041$a or
101$a, else 008/35-37; 100$a/22-24 of CNMARC is the language of cataloguing and never used.
"""

from __future__ import annotations

from collections.abc import Iterable

from pymarc import Field, Record

from connector.domain.bib import BibSummary, find_year, normalise_isbn, split_language_codes
from connector.marc.read import detect_dialect, read_record
from connector.ports.ils import MarcDialect

__all__ = ["summarise_bib", "summarise_record"]

_ISBD_END = " /:;,=."
_CLC_SOURCES = frozenset({"clc", "ztf", "zhtf"})
_MARC21_AUTHORS = ("100", "110", "111", "700", "710")
_CNMARC_AUTHORS = ("700", "701", "710", "711", "702", "712")
_TRANSLATION = "1"


def summarise_bib(
    data: bytes, dialect: MarcDialect | None = None, *, position: int = 1
) -> BibSummary:
    """Read one record and return its summary.

    Args:
        dialect: None = look at the record.

    Raises:
        RecordError: the record cannot be read.
    """
    return summarise_record(read_record(data, position=position), dialect)


def summarise_record(record: Record, dialect: MarcDialect | None = None) -> BibSummary:
    """Return the summary of a record that is already read."""
    kind = dialect or detect_dialect(record)
    return _summarise_cnmarc(record) if kind == "cnmarc" else _summarise_marc21(record)


def _summarise_marc21(record: Record) -> BibSummary:
    fixed = _control(record, "008")
    # An 041 with second indicator 7 holds codes of another scheme ($2), not MARC language codes.
    language_fields = [field for field in record.get_fields("041") if field.indicator2 != "7"]
    languages = split_language_codes(_values(language_fields, "a")) or split_language_codes(
        [fixed[35:38]]
    )
    imprint = [
        field for field in record.get_fields("264") if field.indicator2 == "1"
    ] or record.get_fields("260", "264")
    author = _first_of(record, _MARC21_AUTHORS, "a") or _first(record.get_fields("245"), "c")
    return BibSummary(
        title=_title(record, "245", first="a", parts=("n", "p"), rest="b"),
        author=author,
        isbn=_isbn(record.get_fields("020")),
        languages=languages,
        is_translation=any(field.indicator1 == _TRANSLATION for field in language_fields),
        clc_class=_clc_marc21(record),
        publisher=_first(imprint, "b"),
        year=find_year(" ".join(_values(imprint, "c"))) or find_year(fixed[7:11]),
    )


def _summarise_cnmarc(record: Record) -> BibSummary:
    general = _first(record.get_fields("100"), "a", strip=False)
    language_fields = record.get_fields("101")
    imprint = record.get_fields("210")
    author = _first_of(record, _CNMARC_AUTHORS, "a") or _first(record.get_fields("200"), "f")
    return BibSummary(
        title=_title(record, "200", first="a", parts=("h", "i"), rest="e"),
        author=author,
        isbn=_isbn(record.get_fields("010")),
        languages=split_language_codes(_values(language_fields, "a")),
        is_translation=any(field.indicator1 == _TRANSLATION for field in language_fields),
        clc_class=_first(record.get_fields("690"), "a"),
        publisher=_first(imprint, "c"),
        year=find_year(" ".join(_values(imprint, "d"))) or find_year(general[9:13]),
    )


def _clc_marc21(record: Record) -> str:
    """Return 084$a where ``$2`` names the CLC, else 093$a, which Chinese libraries use for it."""
    for field in record.get_fields("084"):
        if any(source.strip().lower() in _CLC_SOURCES for source in field.get_subfields("2")):
            return _first([field], "a")
    return _first(record.get_fields("093"), "a")


def _title(record: Record, tag: str, *, first: str, parts: tuple[str, ...], rest: str) -> str:
    fields = record.get_fields(tag)
    title = _first(fields, first)
    for code in parts:
        part = _first(fields, code)
        title = f"{title}. {part}" if part and title else title or part
    subtitle = _first(fields, rest)
    return f"{title} : {subtitle}" if subtitle else title


def _isbn(fields: Iterable[Field]) -> str:
    return next((isbn for value in _values(fields, "a") if (isbn := normalise_isbn(value))), "")


def _first_of(record: Record, tags: Iterable[str], code: str) -> str:
    return next((value for tag in tags if (value := _first(record.get_fields(tag), code))), "")


def _first(fields: Iterable[Field], code: str, *, strip: bool = True) -> str:
    for value in _values(fields, code):
        text = _trim(value) if strip else value
        if text:
            return text
    return ""


def _values(fields: Iterable[Field], code: str) -> list[str]:
    return [value for field in fields for value in field.get_subfields(code)]


def _trim(value: str) -> str:
    """Cut off ISBD punctuation at the end, but not the point of an initial (``Dahl, R.``)."""
    text = value.strip().rstrip(" /:;,=").strip()
    if text.endswith(".") and not text[-2:-1].isupper():
        text = text.rstrip(_ISBD_END)
    return text


def _control(record: Record, tag: str) -> str:
    field = record.get(tag)
    return (field.data or "") if field is not None else ""

"""The copy of all that is held about one person, as a document and as Markdown (PIPL art. 45).

Nothing here reads a database or asks a library system. Rules —

- the document is the one source; Markdown says the same in words;
- a table is shown even when it holds nothing about the person: that, too, is an answer;
- values of people stand in a document as they are, and are never read as Markdown or HTML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, tzinfo
from typing import Any

from connector.domain.patron import PatronFacts
from connector.ports.privacy import HeldRecords
from connector.services.privacy_words import PrivacyWords

__all__ = ["FORMAT", "Elsewhere", "PersonalFile", "escape_markdown"]

FORMAT = "onecard-personal-file/1"
_CODED = frozenset(
    {"state", "scope", "kind", "stage", "verb", "closing", "reason", "route", "ended_as", "willing"}
)
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#~&])")


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What one library system holds.

    Attributes:
        facts: None = it could not be asked; ``error`` says why.
    """

    library: str
    name: str
    facts: PatronFacts | None = field(default=None, repr=False)
    error: str = ""


@dataclass(frozen=True, slots=True)
class PersonalFile:
    """What the copy is made from.

    Attributes:
        days: how long what is kept, by the blanks of the words.
        texts: kind (``consent`` or ``undertaking``) and version → the text, None = it is not here.
        zone: in which moments are shown.
    """

    records: HeldRecords = field(repr=False)
    elsewhere: Sequence[Elsewhere] = field(repr=False)
    texts: Mapping[tuple[str, str], str | None] = field(repr=False)
    days: Mapping[str, int]
    words: PrivacyWords
    zone: tzinfo
    made_at: datetime
    made_by: str

    def document(self) -> dict[str, Any]:
        """Return what JSON is written from."""
        return {
            "format": FORMAT,
            "language": self.words.lang,
            "title": self.words("file", "title"),
            "note": self.words("file", "intro"),
            "made_at": self._plain(self.made_at),
            "made_by": self.made_by,
            "person": self.records.patron_id,
            "sections": [self._section(table) for table in self._tables()],
            "texts": [
                {"kind": kind, "version": version, "text": text}
                for (kind, version), text in sorted(self.texts.items())
            ],
            "elsewhere": [self._elsewhere(held) for held in self.elsewhere],
            "remarks": [
                {"title": self.words("file", key), "text": self.words("file", f"{key}_text")}
                for key in ("rights", "backups", "log")
            ],
        }

    def markdown(self) -> str:
        """Return the document in words."""
        document, words = self.document(), self.words
        lines = [
            f"# {document['title']}",
            "",
            document["note"],
            "",
            f"- {words('file', 'made')}: {document['made_at']}",
            f"- {words('file', 'by')}: {escape_markdown(document['made_by'])}",
        ]
        for section in document["sections"]:
            lines += ["", f"## {section['title']}", ""]
            lines.append(f"{words('file', 'purpose')}: {section['purpose']}  ")
            lines.append(f"{words('file', 'kept')}: {section['kept']}")
            lines += ["", *self._rows_in_words(section)]
        for text in document["texts"]:
            lines += ["", f"## {words('file', 'text')}: {escape_markdown(text['version'])}", ""]
            lines += [
                f"> {line}" for line in (text["text"] or words("file", "no_text")).split("\n")
            ]
        lines += ["", f"## {words('file', 'elsewhere')}"]
        for held in document["elsewhere"]:
            lines += ["", f"### {escape_markdown(held['name'])}", ""]
            lines += self._elsewhere_in_words(held)
        for remark in document["remarks"]:
            lines += ["", f"## {remark['title']}", "", remark["text"]]
        return "\n".join(lines) + "\n"

    # --- sections

    def _tables(self) -> list[str]:
        known = [name for name in self.words.tables if name in self.records.tables]
        return known + [name for name in self.records.tables if name not in known]

    def _section(self, table: str) -> dict[str, Any]:
        rows = [
            {column: self._plain(value) for column, value in row.items()}
            for row in self.records.tables[table]
        ]
        return {
            "table": table,
            "title": self.words.about_table(table, "title"),
            "purpose": self.words.about_table(table, "purpose"),
            "kept": self.words.about_table(table, "kept", **self.days),
            "columns": {
                column: self.words("columns", column) for row in rows[:1] for column in row
            },
            "rows": rows,
        }

    def _rows_in_words(self, section: Mapping[str, Any]) -> list[str]:
        rows, columns = section["rows"], section["columns"]
        if not rows:
            return [self.words("file", "nothing")]
        told = [
            [
                f"{columns.get(column, column)}: {self._in_words(section['table'], column, value)}"
                for column, value in row.items()
                if value not in {None, "", self.records.patron_id}
            ]
            + ([self.words("file", "hidden")] if _is_hidden(row) else [])
            for row in rows
        ]
        if len(told) == 1:
            return [f"- {line}" for line in told[0]]
        return [f"{number}. {'; '.join(line)}" for number, line in enumerate(told, start=1)]

    def _in_words(self, table: str, column: str, value: object) -> str:
        if isinstance(value, bool):
            return self.words("file", "yes" if value else "no")
        text = str(value)
        if column in _CODED:
            text = self.words.value(table, text)
        name = self.records.names.get(text)
        return escape_markdown(f"{name} ({text})" if name else text)

    def _elsewhere(self, held: Elsewhere) -> dict[str, Any]:
        found: dict[str, Any] = {
            "library": held.library,
            "name": held.name,
            "error": held.error,
            "held": None,
        }
        if held.facts is not None:
            found["held"] = {
                key: self._plain(value) for key, value in _facts(held.facts).items() if value
            }
        return found

    def _elsewhere_in_words(self, held: Mapping[str, Any]) -> list[str]:
        if held["held"] is None:
            return [f"{self.words('file', 'not_asked')} ({escape_markdown(held['error'])})"]
        lines = []
        for key, value in held["held"].items():
            label = self.words("elsewhere", key)
            if isinstance(value, list):
                lines.append(f"- {label}: {len(value)}")
                lines += [f"  - {escape_markdown(', '.join(map(str, line)))}" for line in value]
            else:
                lines.append(f"- {label}: {escape_markdown(str(value))}")
        return lines or [self.words("file", "nothing")]

    def _plain(self, value: object) -> Any:
        if isinstance(value, datetime):
            return value.astimezone(self.zone).isoformat(timespec="seconds")
        if isinstance(value, date):
            return value.isoformat()
        if isinstance(value, list | tuple):
            return [self._plain(part) for part in value]
        return value if isinstance(value, bool | int | str | None) else str(value)


def _is_hidden(row: Mapping[str, Any]) -> bool:
    """Say whether it is a number of which only the digest is kept."""
    return "value" in row and row["value"] is None


def _facts(facts: PatronFacts) -> dict[str, object]:
    return {
        "name": facts.name,
        "category": facts.category,
        "expires": facts.expires,
        "birth_date": facts.birth_date,
        "email": facts.email,
        "phone": facts.phone,
        "address": facts.address,
        "home_branch": facts.home_branch,
        "blocks": sorted(flag.value for flag in facts.flags),
        "loans": [[loan.barcode, loan.title, loan.due] for loan in facts.loans],
        "holds": [[hold.barcode, hold.title, hold.placed_at] for hold in facts.holds],
        "fees": [[fee.amount, fee.currency, fee.description] for fee in facts.fees],
    }


def escape_markdown(text: str) -> str:
    """Return a value so that Markdown shows it as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))

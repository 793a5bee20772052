"""The yearly report in words: its document as Markdown, in Chinese or English.

Nothing here counts; ``compliance`` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from connector.services.personal_file import escape_markdown
from connector.services.privacy_words import PrivacyWords

__all__ = ["render_report"]


def render_report(document: Mapping[str, Any], words: PrivacyWords) -> str:
    """Return what ``ComplianceReport.document`` gives, as Markdown."""
    return _Report(document, words).text()


class _Report:
    """The document of a report in words."""

    def __init__(self, document: Mapping[str, Any], words: PrivacyWords) -> None:
        self._document = document
        self._words = words

    def text(self) -> str:
        document, word = self._document, self._word
        lines = [f"# {word('title')} {document['year']}", "", word("basis"), ""]
        lines += [f"{word('made')}: {document['made_at']}"]
        children = document["children"]
        lines += ["", f"## {word('children')}", "", f"{word('total')}: {children['total']}", ""]
        for group in ("age", "stage", "state"):
            counts = {
                self._words.value("person", key): n for key, n in children[f"by_{group}"].items()
            }
            lines += [*self._pairs(word(group), counts), ""]
        lines += [f"## {word('consents')}", "", *self._consents()]
        rights = {self._words("actions", key): n for key, n in document["rights"].items()}
        lines += ["", f"## {word('rights')}", "", *self._pairs(word("action"), rights)]
        for part in ("looked", "failed"):
            lines += ["", f"## {word(part)}", "", *self._actors(document[part])]
        audit = document["audit"]
        lines += ["", f"## {word('audit')}", ""]
        lines += [word("intact" if audit["intact"] else "broken") + "  "]
        lines += [f"{word('entries')}: {audit['entries']}", "", f"## {word('settings')}", ""]
        lines += [self._setting(key, value) for key, value in document["settings"].items()]
        lines += ["", f"## {word('retention')}", "", *self._due()]
        lines += ["", f"## {word('problems')}", "", *self._problems()]
        lines += ["", f"## {word('asked')}", ""]
        lines += [f"- {self._words('asked', key)}:" for key in document["for_the_library"]]
        lines += ["", f"## {word('actions')}", ""]
        lines += self._pairs(word("action"), document["actions"])
        return "\n".join(lines) + "\n"

    def _word(self, key: str) -> str:
        return self._words("report", key)

    def _pairs(self, title: str, counts: Mapping[str, int]) -> list[str]:
        if not counts:
            return [self._word("none")]
        return _table([title, self._word("count")], [[key, n] for key, n in counts.items()])

    def _consents(self) -> list[str]:
        answers = ("given", "refused", "withdrawn")
        found = {(row["scope"], row["answer"]): row["count"] for row in self._document["consents"]}
        if not found:
            return [self._word("none")]
        return _table(
            [self._word("scope"), *(self._word(answer) for answer in answers)],
            [
                [self._words.value("consent", scope), *(found.get((scope, a), 0) for a in answers)]
                for scope in sorted({scope for scope, _ in found})
            ],
        )

    def _actors(self, rows: Sequence[Mapping[str, Any]]) -> list[str]:
        if not rows:
            return [self._word("none")]
        return _table(
            [self._word("actor"), self._word("action"), self._word("count")],
            [[row["actor"], row["action"], row["count"]] for row in rows],
        )

    def _setting(self, key: str, value: object) -> str:
        told = self._words("settings", key)
        if key in {"encryption", "lookup", "masking"}:
            return f"- {told}"
        if isinstance(value, bool):
            value = self._words("file", "yes" if value else "no")
        return f"- {told}: {escape_markdown(str(value))}"

    def _due(self) -> list[str]:
        return _table(
            [self._word("rule"), self._word("count"), self._word("oldest")],
            [
                [self._words("rules", row["rule"]), row["count"], row["oldest"] or ""]
                for row in self._document["due"]
            ],
        )

    def _problems(self) -> list[str]:
        problems = self._document["problems"]
        if not problems:
            return [self._word("no_problems")]
        return [
            "- "
            + self._words(
                "problems",
                problem["code"],
                count=problem["count"],
                name=escape_markdown(problem["name"]),
            )
            for problem in problems
        ]


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = ["| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
    return lines + [
        "| " + " | ".join(escape_markdown(str(cell)) for cell in row) + " |" for row in rows
    ]

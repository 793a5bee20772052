"""The embedded ILS's answers to registration machines: 81/82, 91/92, 85/86 of Chinese kiosks.

Nothing here judges a person; an ILS that speaks this dialect opens an account for whoever asks it
with a login. Rules: a card or an identity number is never given twice; a change touches only what
it names; no answer holds an identity number that was not asked with.

Source: the drivers and the server side that ``connector.sip2.dialects`` names.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from adapters.local.adapter import LocalAdapter
from adapters.local.sip2_base import Caller, Sip2Base
from connector.domain.ids import IlsPatronId
from connector.errors import UnexpectedResponse
from connector.ports.ils import PatronInput
from connector.sip2.codec import Message

__all__ = ["RegistrationAnswers"]

_CREATE: Final = frozenset({"01", "11", ""})
_CHANGE: Final = "02"
_CHANGE_PASSWORD: Final = "14"  # noqa: S105 (a code)
_ID_CARD: Final = "id_card"
_SEPARATOR: Final = "]]"

_WORDS: Final = {
    "done": ("操作成功", "Done"),
    "no_card": ("没有证号", "There is no card number"),
    "taken": ("该证号或证件号已存在", "This card or identity number is taken"),
    "not_understood": ("不支持该操作", "This operation is not supported"),
}
_OWN_WORDS: Final = frozenset(_WORDS)

_KNOWN: Final = """
SELECT external_id, name, category, home_branch, birth_date, expires, phone, school, class_name
FROM patron WHERE card = ? AND closed_at IS NULL
"""
_NUMBERS: Final = """
SELECT n.kind, n.value FROM patron_identifier n JOIN patron p ON p.id = n.patron_id
WHERE p.card = ? AND p.closed_at IS NULL
"""
_CARDS: Final = """
SELECT p.card FROM patron p JOIN patron_identifier n ON n.patron_id = p.id
WHERE n.kind = ? AND n.value = ? AND p.closed_at IS NULL ORDER BY p.id
"""


class RegistrationAnswers(Sip2Base):
    """The three pairs, one method each."""

    def __init__(self, adapter: LocalAdapter) -> None:
        super().__init__(adapter)
        self.answers = {"81": self._register, "85": self._find_cards, "91": self._check_duplicate}

    def _register(self, request: Message, _caller: Caller) -> Message:
        code = self._carry_out(request)
        ended = code == "done"
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("AA", request.get("AA")),
            ("XD", request.get("XD")),
            ("OK", "1" if ended else "0"),
            ("XK", request.get("XK")),
            ("AF", self._say(code)),
        ]
        return Message("82", self.date(), fields)

    def _carry_out(self, request: Message) -> str:
        operation, card = request.get("XK").strip(), request.get("AA").strip()
        if not card:
            return "no_card"
        try:
            if operation in _CREATE:
                return self._create(request, card)
            if operation == _CHANGE:
                return self._change(request, card)
            if operation == _CHANGE_PASSWORD:
                return self._change_password(request, card)
        except UnexpectedResponse:
            return "taken"
        return "not_understood"

    def _create(self, request: Message, card: str) -> str:
        number = request.get("XO").strip()
        if self._is_taken(card) or (number and self._cards_of(number)):
            return "taken"
        self.adapter.upsert_patron(
            PatronInput(
                external_id=f"sip2-{card}",
                card=IlsPatronId(card),
                name=request.get("AE"),
                category=request.get("XT") or "reader",
                home_branch=request.get("AM"),
                birth_date=_parse_day(request.get("XH")),
                expires=_parse_day(request.get("XE")),
                phone=request.get("MP") or request.get("BP"),
                pin=request.get("AD") or None,
                identifiers={_ID_CARD: number} if number else {},
            )
        )
        return "done"

    def _change(self, request: Message, card: str) -> str:
        now = self._known(card)
        if now is None:
            return "unknown_patron"
        number = request.get("XO").strip()
        numbers = {**now.identifiers, **({_ID_CARD: number} if number else {})}
        self.adapter.upsert_patron(
            PatronInput(
                external_id=now.external_id,
                card=now.card,
                name=request.get("AE") or now.name,
                category=request.get("XT") or now.category,
                home_branch=request.get("AM") or now.home_branch,
                birth_date=_parse_day(request.get("XH")) or now.birth_date,
                expires=_parse_day(request.get("XE")) or now.expires,
                phone=request.get("MP") or request.get("BP") or now.phone,
                school=now.school,
                class_name=now.class_name,
                identifiers=numbers,
            )
        )
        return "done"

    def _change_password(self, request: Message, card: str) -> str:
        patron = IlsPatronId(card)
        if not self.adapter.fetch_patron(patron).valid:
            return "unknown_patron"
        new = request.get("KD")
        if not new or not self.adapter.verify_pin(patron, request.get("AD")):
            return "pin_wrong"
        with self.adapter.database.write() as connection:
            connection.exec_driver_sql(
                "UPDATE patron SET pin_hash = ? WHERE card = ?", (self.adapter.hash_pin(new), card)
            )
        return "done"

    def _check_duplicate(self, request: Message, _caller: Caller) -> Message:
        card, number = request.get("AA").strip(), request.get("XO").strip()
        by_card = request.get("XK").strip().lstrip("0") == "" and bool(card)
        exists = self._is_taken(card) if by_card else bool(self._cards_of(number))
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("AC", "1" if exists else "0"),
            ("XK", request.get("XK")),
        ]
        fields += [(tag, request.get(tag)) for tag in ("AA", "XO") if request.get(tag)]
        return Message("92", self.date(), fields)

    def _find_cards(self, request: Message, _caller: Caller) -> Message:
        cards = self._cards_of(request.get("XO").strip())
        fields = [
            ("AO", str(self.adapter.institution_id)),
            ("OX", _SEPARATOR.join(cards)),
            ("XK", request.get("XK")),
        ]
        if not cards:
            fields.append(("AF", self._say("unknown_patron")))
        return Message("86", self.date(), fields)

    def _known(self, card: str) -> PatronInput | None:
        """Return an account as it stands; one of the desk gets an external id by a change."""
        found = self.adapter.database.fetch(_KNOWN, (card,))
        if not found:
            return None
        external_id, name, category, branch, born, expires, phone, school, group = found[0]
        if external_id is None:
            external_id = f"sip2-{card}"
            with self.adapter.database.write() as connection:
                connection.exec_driver_sql(
                    "UPDATE patron SET external_id = ? WHERE card = ?", (external_id, card)
                )
        return PatronInput(
            external_id=external_id,
            card=IlsPatronId(card),
            name=name,
            category=category,
            home_branch=branch,
            birth_date=date.fromisoformat(born) if born else None,
            expires=date.fromisoformat(expires) if expires else None,
            phone=phone,
            school=school,
            class_name=group,
            identifiers=dict(map(tuple, self.adapter.database.fetch(_NUMBERS, (card,)))),
        )

    def _is_taken(self, card: str) -> bool:
        """Say whether the number is somebody's, or was: a closed account keeps its number."""
        return bool(
            self.adapter.database.fetch(
                "SELECT 1 FROM patron WHERE card = ?1 UNION"
                " SELECT 1 FROM patron_identifier WHERE value = ?1",
                (card,),
            )
        )

    def _cards_of(self, number: str) -> list[str]:
        if not number:
            return []
        return [row[0] for row in self.adapter.database.fetch(_CARDS, (_ID_CARD, number))]

    def _say(self, code: str) -> str:
        if code not in _OWN_WORDS:
            return self.adapter.say(code)
        chinese, english = _WORDS[code]
        return english if self.adapter.settings.language == "en" else chinese


def _parse_day(text: str) -> date | None:
    """Return the day of eight digits, whatever follows them."""
    try:
        return datetime.strptime(text.strip()[:8], "%Y%m%d").date()  # noqa: DTZ007 (a day)
    except ValueError:
        return None

"""Wrong PINs: who has tried too often must wait, and the library system is not asked meanwhile.

Four to six digits are guessed in minutes by a machine that may ask. Nothing here knows a PIN or
asks an ILS; moments are monotonic seconds handed in. Rules:

- counted per library and card, and per terminal, so that neither one card with many PINs nor many
  cards with one PIN can be tried through; a right PIN clears the card, never the terminal;
- a card is remembered as a digest under a key that lives and dies with the process;
- the while doubles with each wrong PIN after it; one try is let through at its end, not many;
- every table is bounded, and every method may be called from any thread.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
import unicodedata
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final, TypeVar

from connector.domain.ids import InstitutionId, TerminalId

__all__ = ["PinGuard"]

_K = TypeVar("_K")

_LONGEST_S: Final = 900.0
_FORGET_CARD_S: Final = 3600.0
_CARDS_PER_TERMINAL: Final = 10
_DIGEST: Final = 16


@dataclass(slots=True)
class _Wrong:
    count: float = 0.0
    last_at: float = 0.0
    free_at: float = 0.0


class PinGuard:
    """Counts wrong PINs.

    Args:
        attempts: wrong ones of one card that are free; of a terminal ten times as many, of which
            one is forgiven every ``delay_s``. 0 switches the guard off.
        delay_s: the first while; then twice, four times … as long, a quarter of an hour at most.
        max_entries: the card that failed longest ago is forgotten first.
    """

    def __init__(
        self, *, attempts: int = 3, delay_s: float = 30.0, max_entries: int = 10_000
    ) -> None:
        self._attempts = attempts
        self._delay_s = delay_s
        self._max_entries = max_entries
        self._key = secrets.token_bytes(32)
        self._cards: OrderedDict[bytes, _Wrong] = OrderedDict()
        self._terminals: OrderedDict[TerminalId, _Wrong] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._cards) + len(self._terminals)

    def is_locked(
        self, institution: InstitutionId, card: str, terminal: TerminalId, now: float
    ) -> bool:
        """Say whether this PIN is refused unseen; if not, it counts as tried from now on."""
        if not (self._cards or self._terminals):
            return False  # nobody has been wrong
        with self._lock:
            at_terminal = self._find_terminal(terminal, now)
            if at_terminal is not None and at_terminal.free_at > now:
                return True
            entry = self._find_card(self._digest(institution, card), now)
            if entry is None or entry.count < self._attempts:
                return False
            if entry.free_at > now:
                return True
            entry.free_at = now + self._pause_s(entry.count + 1 - self._attempts)
            return False

    def note_wrong(
        self, institution: InstitutionId, card: str, terminal: TerminalId, now: float
    ) -> None:
        """Count a wrong PIN."""
        if not self._attempts:
            return
        limit = self._attempts * _CARDS_PER_TERMINAL
        digest = self._digest(institution, card)
        with self._lock:
            entry = self._find_card(digest, now) or _Wrong()
            self._add(entry, self._attempts, now)
            _put(self._cards, digest, entry, self._max_entries)
            at_terminal = self._find_terminal(terminal, now) or _Wrong()
            self._add(at_terminal, limit, now)
            _put(self._terminals, terminal, at_terminal, self._max_entries)

    def note_right(self, institution: InstitutionId, card: str) -> None:
        """Forget the wrong PINs of a card."""
        if self._cards:
            with self._lock:
                self._cards.pop(self._digest(institution, card), None)

    def _find_card(self, digest: bytes, now: float) -> _Wrong | None:
        entry = self._cards.get(digest)
        if entry is not None and now - max(entry.last_at, entry.free_at) > _FORGET_CARD_S:
            del self._cards[digest]
            return None
        return entry

    def _find_terminal(self, terminal: TerminalId, now: float) -> _Wrong | None:
        entry = self._terminals.get(terminal)
        if entry is None:
            return None
        entry.count = max(0.0, entry.count - (now - entry.last_at) / self._delay_s)
        entry.last_at = now
        if entry.count <= 0 and entry.free_at <= now:
            del self._terminals[terminal]
            return None
        return entry

    def _add(self, entry: _Wrong, limit: int, now: float) -> None:
        entry.count += 1
        entry.last_at = now
        if entry.count >= limit:
            entry.free_at = now + self._pause_s(entry.count - limit)

    def _pause_s(self, beyond: float) -> float:
        return float(min(self._delay_s * 2.0 ** min(beyond, 16), _LONGEST_S))

    def _digest(self, institution: InstitutionId, card: str) -> bytes:
        text = f"{institution}\0{_bare(card)}".encode("utf-8", "surrogatepass")
        return hashlib.blake2b(text, key=self._key, digest_size=_DIGEST).digest()


def _bare(card: str) -> str:
    """Return letters and digits only, in one case and width: a blank makes no other card."""
    folded = unicodedata.normalize("NFKC", card).casefold()
    return folded if folded.isalnum() else "".join(filter(str.isalnum, folded))


def _put(table: OrderedDict[_K, _Wrong], key: _K, entry: _Wrong, most: int) -> None:
    table[key] = entry
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)

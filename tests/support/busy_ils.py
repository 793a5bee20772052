"""An ILS with an API of its own kind for a test of many cards: tokens that expire, limits, faults.

Nothing here is a test. The store is the fake's, behind one lock; accounts are found by index, so
that thousands of them take no time. Every request bears a token; the token ends at a given request
and is fetched anew by one worker, whatever number of workers meets the refusal.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.domain.ids import IlsPatronId
from connector.errors import AdapterUnavailable, UnexpectedResponse
from connector.ports.ils import PatronInput, PatronUpsert
from connector.testing.fake_ils import FakeIls, Fault, FaultKind
from connector.testing.fake_stock import FakePatron


@dataclass
class Tokens:
    """The login of the API.

    Attributes:
        expires_at: the create at which the first token ends.
        refreshed: how often a new one was fetched.
    """

    expires_at: int
    current: int = 1
    valid: int = 1
    refreshed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def refresh(self, used: int) -> None:
        """Fetch a new token, unless somebody has since."""
        with self.lock:
            if self.current == used:
                self.current = self.valid
                self.refreshed += 1


class BusyIls(FakeIls):
    """A fake ILS that fails by the number of the create.

    Args:
        faults: number of the create, from 1 → fault.
        limited: numbers of the creates that are refused with 429; each is counted.
    """

    def __init__(
        self,
        institution_id: str,
        *,
        faults: Mapping[int, Fault],
        limited: frozenset[int],
        token_ends_at: int,
        **settings: object,
    ) -> None:
        super().__init__(institution_id, **settings)  # type: ignore[arg-type]
        self.tokens = Tokens(token_ends_at)
        self.creates = 0
        self.accounts_made = 0
        self.refused_too_many = 0
        self._faults = dict(faults)
        self._limited = limited
        self._by_external_id: dict[str, FakePatron] = {}
        self._by_number: dict[tuple[str, str], FakePatron] = {}
        self._counter = threading.Lock()

    def upsert_patron(self, patron: PatronInput) -> PatronUpsert:
        """Create or change, with a token; a create is counted before anything else."""
        with self._counter:
            self.creates += 1
            number = self.creates
            if number == self.tokens.expires_at:
                self.tokens.valid = 2
        if number in self._limited:
            with self._counter:
                self.refused_too_many += 1
            raise AdapterUnavailable(self.name, self.institution_id, "429", retry_after_s=7.0)
        fault = self._faults.get(number)
        if fault is not None and fault.kind is FaultKind.UNEXPECTED:
            raise UnexpectedResponse(self.name, self.institution_id, "POST /patrons 500")
        while True:
            used = self.tokens.current
            if used == self.tokens.valid:
                break
            self.tokens.refresh(used)
        if fault is not None:
            self.fail("upsert_patron", fault)
        return super().upsert_patron(patron)

    def find_patron(
        self, *, external_id: str | None = None, identifiers: Mapping[str, str] | None = None
    ) -> IlsPatronId | None:
        """Find by index."""
        with self._lock:
            found = self._by_external_id.get(external_id or "")
            for pair in (identifiers or {}).items():
                found = found or self._by_number.get(pair)
            return None if found is None or found.closed else found.card

    def verify_pin(self, identifier: IlsPatronId, pin: str) -> bool:
        with self._lock:
            return self.stock.patrons[identifier].pin == pin

    def _save(self, given: PatronInput) -> PatronUpsert:
        ours = self._by_external_id.get(given.external_id)
        holder = self.stock.patrons.get(given.card)
        if holder is not None and holder is not ours:
            raise UnexpectedResponse(self.name, self.institution_id, "duplicate_card")
        if ours is None:
            self.accounts_made += 1
        account = ours or FakePatron(given.card, given.external_id)
        account.card, account.name, account.pin = given.card, given.name, given.pin
        account.category, account.expires = given.category, given.expires
        self.stock.patrons[given.card] = account
        self._by_external_id[given.external_id] = account
        for pair in given.identifiers.items():
            self._by_number[pair] = account
        return PatronUpsert(given.card, created=ours is None)

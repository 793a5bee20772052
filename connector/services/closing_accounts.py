"""What closing a card asks of one ILS: block, cancel holds, look for books, close.

Nothing here writes to our register, except loans that only the ILS knows. Rules —

- an account that is gone is closed; a step may be repeated;
- what the ILS cannot do is told to the caller, who makes it a task;
- an ILS that failed several times is left alone for the rest of a sweep.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from connector.domain.closing import ClosingReason
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.library import Library
from connector.domain.patron import IlsHold
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    NotFound,
    OutcomeUnknown,
    UnsupportedOperation,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import (
    BlockReason,
    Capability,
    ExchangeContext,
    HoldRequest,
    IlsAdapter,
)
from connector.ports.ledger import Place
from connector.ports.store import PatronRegister
from connector.services.facts import FactReader

__all__ = ["PASSING", "AccountCloser", "Patience"]

_log = get_logger(__name__)

PASSING = (AdapterUnavailable, OutcomeUnknown)
"""Failures that may be over in a minute."""
_GIVE_UP_AFTER = 3


class Patience:
    """How often each ILS has failed in one sweep."""

    def __init__(self) -> None:
        self._failures: Counter[str] = Counter()

    def note(self, errors: Sequence[AdapterError]) -> None:
        """Note what went wrong with one person: each ILS once."""
        for error in {error.institution_id: error for error in errors}.values():
            if isinstance(error, AdapterAuthFailed):
                self._failures[error.institution_id] += _GIVE_UP_AFTER
            elif isinstance(error, PASSING):
                self._failures[error.institution_id] += 1

    def is_over(self, institution: InstitutionId) -> bool:
        """Say whether this ILS is left alone until the next sweep."""
        return self._failures[institution] >= _GIVE_UP_AFTER


@dataclass(frozen=True, slots=True)
class AccountCloser:
    """Asks the ILSs; every method may raise ``AdapterError``, except where it says otherwise."""

    register: PatronRegister
    facts: FactReader
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    now: Clock

    def ask_each(
        self,
        accounts: Mapping[InstitutionId, IlsPatronId],
        act: Callable[[InstitutionId, IlsPatronId], object],
        *,
        patience: Patience,
    ) -> list[AdapterError]:
        """Do something at every ILS where the person has an account; return what went wrong."""
        errors: list[AdapterError] = []
        for code, card in accounts.items():
            if patience.is_over(code):
                errors.append(AdapterUnavailable(self.adapters[code].name, code, "left_alone"))
                continue
            try:
                act(code, card)
            except AdapterError as err:
                _log.warning("closing.ils_failed", institution=code, error=type(err).__name__)
                errors.append(err)
        return errors

    def find_account(self, code: InstitutionId, patron_id: PatronId) -> IlsPatronId | None:
        """Return the account that an activation made and could not note any more."""
        adapter = self.adapters.get(code)
        if adapter is None or Capability.FIND_PATRON not in adapter.capabilities:
            return None
        return adapter.find_patron(external_id=patron_id)

    def stop_borrowing(self, code: InstitutionId, card: IlsPatronId, reason: ClosingReason) -> None:
        """Block the account and cancel its holds."""
        adapter = self.adapters[code]
        why = (
            BlockReason.CONSENT_WITHDRAWN
            if reason is ClosingReason.CONSENT_WITHDRAWN
            else BlockReason.CARD_CLOSING
        )
        try:
            if Capability.BLOCK_PATRON in adapter.capabilities:
                adapter.block_patron(card, why)
            if {Capability.LIST_HOLDS, Capability.CANCEL_HOLD} <= adapter.capabilities:
                for hold in adapter.list_holds(card):
                    self._cancel(adapter, card, hold)
        except NotFound:
            return

    def _cancel(self, adapter: IlsAdapter, card: IlsPatronId, hold: IlsHold) -> None:
        request = HoldRequest(barcode=hold.barcode, title=hold.title, pickup=hold.pickup)
        result = adapter.cancel_hold(card, request, ExchangeContext(at=self.now()))
        if not result.ok:
            _log.warning("closing.hold_kept", institution=adapter.institution_id, code=result.code)

    def has_uncounted(self, code: InstitutionId, card: IlsPatronId, patron_id: PatronId) -> bool:
        """Compare ledger and ILS; say whether the ILS counts books that it cannot list.

        Loans that only the ILS knows are in the ledger afterwards, and those that ended at its desk
        are closed there.
        """
        if Capability.FETCH_PATRON not in self.adapters[code].capabilities:
            return False
        standing = self.register.find_standing(patron_id, code)
        if standing is None:
            return False
        now, library = self.now(), self.libraries[code]
        place = Place(code, now, library.today(now))
        view = self.facts.read_patron(replace(standing, ils_patron=card), card, library, place)
        return view.facts.valid and view.uncounted > 0

    def close(self, code: InstitutionId, card: IlsPatronId) -> bool:
        """Close the account; say whether the ILS can do that."""
        adapter = self.adapters[code]
        if Capability.CLOSE_PATRON not in adapter.capabilities:
            return False
        asks = Capability.FETCH_PATRON in adapter.capabilities
        if asks and not adapter.fetch_patron(card).valid:
            return True
        try:
            adapter.close_patron(card)
        except NotFound:
            _log.info("closing.account_gone", institution=code)
        except UnsupportedOperation:
            return False
        return True

"""Older cards of other libraries on their way out: blocked, counted, closed (decision 21).

Nothing here begins an exchange; ``exchange`` does. Rules —

- its loans count for the child at once, and it is closed when the last is back;
- books come back at the issuer's own desk too, so that its ILS is read again now and then;
- what an ILS cannot do is a task of the issuer's staff; every step may be repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connector.domain.ids import InstitutionId, PatronId
from connector.domain.library import Library
from connector.domain.loan import LoanOrigin
from connector.domain.patron import EXCHANGED_ACCOUNT
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    NotFound,
    OutcomeUnknown,
    UnexpectedResponse,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.exchange import Exchange, ExchangeState, ExchangeStore
from connector.ports.ils import BlockReason, Capability, IlsAdapter
from connector.ports.ledger import Place
from connector.ports.store import PatronRegister
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.facts import FactReader, PatronView

__all__ = ["ExchangeReport", "OlderCards"]

_log = get_logger(__name__)

_READ_AGAIN = timedelta(hours=1)
"""How often the issuer's ILS is read for books that came back at its own desk."""
_GIVE_UP_AFTER = 3
_WORKER = "worker"


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """What one sweep did to the exchanges that are open."""

    due: int = 0
    closed: int = 0
    waiting: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class OlderCards:
    """Older cards that every library of the process has issued.

    Attributes:
        read_at: exchange id → when the issuer's ILS was last read, and whether books were out then
            as far as the ledger knew.
    """

    store: ExchangeStore
    register: PatronRegister
    tasks: TaskStore
    facts: FactReader
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    now: Clock
    read_at: dict[str, tuple[datetime, bool]] = field(default_factory=dict)

    def sweep(self, institution: InstitutionId) -> ExchangeReport:
        """Go on with the older cards that a library has issued: block, compare, close.

        An ILS that is away is asked about three of them, and the rest waits for the next time.
        """
        exchanges = self.store.list_exchanges(
            institution, (ExchangeState.BEGUN, ExchangeState.READ_ONLY)
        )
        closed = waiting = failed = 0
        for exchange in exchanges:
            try:
                is_closed = self._carry_on(exchange)
            except AdapterError as err:
                failed += 1
                _log.warning(
                    "exchange.not_closed", institution=institution, error=type(err).__name__
                )
                is_away = isinstance(err, AdapterUnavailable | AdapterAuthFailed | OutcomeUnknown)
                if is_away and failed >= _GIVE_UP_AFTER:
                    break
            else:
                closed, waiting = closed + is_closed, waiting + (not is_closed)
        if closed or failed:
            _log.info("exchanges.swept", institution=institution, closed=closed, failed=failed)
        return ExchangeReport(len(exchanges), closed, waiting, failed)

    def make_read_only(self, exchange: Exchange) -> int:
        """Block the older account and take over its loans; return how many are out there."""
        adapter = self.adapters[exchange.issuer]
        if Capability.BLOCK_PATRON in adapter.capabilities:
            try:
                adapter.block_patron(exchange.old_account, BlockReason.CARD_EXCHANGED)
            except NotFound:
                _log.info("exchange.account_gone", institution=exchange.issuer)
        view = self.read_account(exchange.patron_id, exchange.issuer)
        self.store.note_read_only(exchange.exchange_id)
        if view is None:
            return 0
        return sum(loan.lender == exchange.issuer for loan in view.loans) + view.uncounted

    def read_account(self, patron_id: PatronId, institution: InstitutionId) -> PatronView | None:
        """Compare ledger and ILS, so that loans made before count; None for who has no account."""
        standing = self.register.find_standing(patron_id, institution)
        if standing is None or standing.ils_patron is None:
            return None
        if institution != standing.home and standing.account_kind != EXCHANGED_ACCOUNT:
            return None
        library, now = self.libraries[institution], self.now()
        place = Place(institution=institution, at=now, local_date=library.today(now))
        return self.facts.read_patron(
            standing, standing.ils_patron, library, place, origin=LoanOrigin.MIGRATED
        )

    def _carry_on(self, exchange: Exchange) -> bool:
        """Do the next step of one exchange; say whether it is closed."""
        if exchange.state is ExchangeState.BEGUN:
            self.make_read_only(exchange)
        is_out = self._is_known_out(exchange)
        if not self._is_due(exchange, is_out=is_out):
            return False
        view = self.read_account(exchange.patron_id, exchange.issuer)
        self.read_at[exchange.exchange_id] = self.now(), is_out
        if view is not None and view.facts.valid:
            if view.uncounted or any(loan.lender == exchange.issuer for loan in view.loans):
                return False
            if not self._close_account(exchange):
                return False
        self.read_at.pop(exchange.exchange_id, None)
        return self.store.close_exchange(exchange.exchange_id, actor=_WORKER)

    def _is_known_out(self, exchange: Exchange) -> bool:
        loans = self.facts.ledger.list_unclosed(exchange.patron_id)
        return any(loan.lender == exchange.issuer for loan in loans)

    def _is_due(self, exchange: Exchange, *, is_out: bool) -> bool:
        """Say whether the issuer's ILS is to be read: the last book that we know of came back, or
        it has not been read for a while.
        """
        last = self.read_at.get(exchange.exchange_id)
        if last is None:
            return True
        read_at, was_out = last
        return (was_out and not is_out) or self.now() - read_at >= _READ_AGAIN

    def _close_account(self, exchange: Exchange) -> bool:
        """Close the older account; where its ILS cannot be told to, the issuer's staff do it."""
        adapter = self.adapters[exchange.issuer]
        if Capability.CLOSE_PATRON not in adapter.capabilities:
            self.tasks.open_task(
                exchange.issuer,
                TaskKind.CLOSING_STUCK,
                about=exchange.exchange_id,
                patron_id=exchange.patron_id,
                detail={"exchange": exchange.exchange_id, "reason": "ils_cannot"},
                actor=_WORKER,
            )
            return True
        try:
            adapter.close_patron(exchange.old_account)
        except NotFound:
            return True
        except UnexpectedResponse as err:
            if err.code != "has_loans":
                raise
            return False
        return True

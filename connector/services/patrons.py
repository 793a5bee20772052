"""What a terminal may see and do about a patron besides loans: information, holds, fees, blocks.

Nothing here speaks SIP2 or SQL. Rules: decisions 4, 9, 14–16 —

- flags, counts and limits show the stricter of ILS and policy; people whom we did not enrol are the
  ILS's alone;
- an ILS that speaks SIP2 gets what changes no loan (23, 63, 15, 01, 25) as the terminal sent it,
  and its answer goes back whole; of an enrolled patron, the number that it knows him by is put in
  for the scanned one, and no PIN goes on that nobody asked for;
- one patron read per exchange, and one more for a list that only the ILS has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from connector.domain.circulation import Reason, find_card_bar, is_overdue
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.library import Library, Mode
from connector.domain.loan import LoanState
from connector.domain.patron import PatronStanding, PinRule
from connector.domain.policy import select_policy
from connector.domain.wire import WireMessage
from connector.errors import AdapterError, OutcomeUnknown
from connector.log import get_logger
from connector.ports.ils import (
    BlockReason,
    Capability,
    FeePayment,
    FeeResult,
    HoldRequest,
    HoldResult,
    IlsAdapter,
)
from connector.services.away_lending import may_stand_in, view_without_ils
from connector.services.desk import (
    STORE_DOWN,
    CirculationDesk,
    Exchange,
    context_for_ils,
    patron_bar,
    pin_to_check,
)
from connector.services.facts import PatronView, count_quota
from connector.services.forwarding import Passed, can_forward, forward
from connector.services.holds import find_out_cancelled, find_out_placed
from connector.services.patron_answers import (
    LoanLine,
    PatronAnswer,
    find_policy_flags,
    find_stricter,
)
from connector.services.payments import PaymentService

__all__ = ["PatronService"]

_log = get_logger(__name__)
_T = TypeVar("_T")

_Act = Callable[[IlsAdapter, IlsPatronId, Exchange], _T]
"""Gets the ILS, the number that it knows the patron by, and the exchange as it may be told."""

_FindOut = Callable[[IlsAdapter, IlsPatronId], _T | None]


@dataclass(frozen=True, slots=True)
class _Ready:
    """Whom something is to be done for, after the checks."""

    adapter: IlsAdapter
    patron: IlsPatronId
    told: Exchange
    enrolled: bool = False


class PatronService:
    """One instance serves all libraries of the process and is called from many threads."""

    def __init__(self, desk: CirculationDesk, payments: PaymentService) -> None:
        self._desk = desk
        self._payments = payments

    def fetch_information(self, exchange: Exchange) -> PatronAnswer | Passed:
        """Return what a terminal may see of the patron; unknown → ``facts.valid`` False.

        An old card or a login name that the ILS takes for a pupil's card shows the pupil.

        Raises:
            AdapterError: the ILS cannot be asked.
        """
        library = self._desk.libraries[exchange.institution]
        try:
            standing = self._desk.find_standing(exchange, library)
            if standing is None or library.mode is Mode.OBSERVE:
                passed = self._passed(exchange, library)
                standing = self._find_behind(passed, exchange, library)
                if standing is None:
                    return passed
            return self._enrolled(exchange, library, self._read(exchange, library, standing))
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return self._passed(exchange, library)

    def _read(self, exchange: Exchange, library: Library, standing: PatronStanding) -> PatronView:
        """Read the patron; while the ILS is away and the library lends all the same, from the
        ledger alone, so that a machine does not turn him away.
        """
        try:
            return self._desk.read_patron(exchange, library, standing)
        except AdapterError as err:
            serves = may_stand_in(library, standing, err) and self._desk.away.lends(library)
            if not serves:
                raise
            return view_without_ils(self._desk, standing)

    def fetch_list(self, exchange: Exchange, answer: PatronAnswer) -> WireMessage | None:
        """Return the ILS's own answer to the 63 of an enrolled patron, for a list that only it has.

        None where the ILS does not speak SIP2 or is away, or the PIN was wrong.

        Raises:
            AdapterError: the ILS cannot be asked.
        """
        if not can_forward(self._desk, exchange) or answer.pin_valid is False:
            return None
        if self._desk.away.is_away(exchange.institution):
            return None
        return forward(self._desk, exchange, patron=answer.facts.ils_patron)

    def _find_behind(
        self, passed: PatronAnswer | Passed, exchange: Exchange, library: Library
    ) -> PatronStanding | None:
        """Return the enrolled patron whom the ILS found by a number that only it knows."""
        if library.mode is not Mode.ENFORCE:
            return None
        known = passed.native.get("AA") if isinstance(passed, Passed) else passed.facts.ils_patron
        if not known or known == exchange.scanned_patron:
            return None
        return self._desk.facts.find_by_account(IlsPatronId(known), library)

    def _passed(self, exchange: Exchange, library: Library) -> PatronAnswer | Passed:
        adapter = self._desk.adapters[library.code]
        native = forward(self._desk, exchange) if can_forward(self._desk, exchange) else None
        if native is not None:
            return Passed(native)
        facts = adapter.fetch_patron(IlsPatronId(exchange.scanned_patron), exchange.context.pin)
        lines = tuple(
            LoanLine(
                loan.barcode,
                loan.title,
                loan.due,
                is_overdue(loan.due, exchange.place.at, library.zone),
            )
            for loan in facts.loans
        )
        charged = facts.counts.charged if facts.counts.charged is not None else len(lines)
        return PatronAnswer(
            facts=facts,
            enrolled=False,
            flags=facts.flags,
            loans=lines,
            charged=charged,
            limit=facts.loan_limit,
            pin_valid=facts.pin_valid,
        )

    def _enrolled(self, exchange: Exchange, library: Library, view: PatronView) -> PatronAnswer:
        policy = select_policy(library.policies, view.standing.category, exchange.place.local_date)
        quota = count_quota(view, now=exchange.place.at, library=library)
        bar = patron_bar(view, exchange) or find_card_bar(view.standing, exchange.place.local_date)
        at_limit = policy is not None and quota.total >= policy.max_items
        flags = find_policy_flags(
            view.standing, policy, bar, at_limit=at_limit, overdue=quota.overdue
        )
        return PatronAnswer(
            facts=view.facts,
            enrolled=True,
            flags=view.facts.flags | flags,
            loans=self._lines(view, exchange, library),
            charged=quota.total,
            limit=find_stricter(policy.max_items if policy else None, view.facts.loan_limit),
            at_limit=at_limit,
            reason=bar,
            pin_valid=view.facts.pin_valid,
            native=view.facts.native,
        )

    def _lines(
        self, view: PatronView, exchange: Exchange, library: Library
    ) -> tuple[LoanLine, ...]:
        titles = {loan.barcode: loan.title for loan in view.facts.loans}
        return tuple(
            LoanLine(
                loan.item.barcode,
                titles.get(loan.item.barcode, "") if loan.lender == library.code else "",
                loan.due,
                is_overdue(loan.due, exchange.place.at, library.zone),
                elsewhere=loan.lender != library.code,
            )
            for loan in view.loans
            if loan.state is not LoanState.ASKED
        )

    def place_hold(self, exchange: Exchange, request: HoldRequest) -> HoldResult | Passed | Reason:
        """Place or change a hold; a ``Reason`` is a refusal of ours."""
        return self._forward_or(
            exchange,
            lambda adapter, patron, told: adapter.place_hold(patron, request, told.context),
            find_out=lambda adapter, patron: find_out_placed(adapter, patron, request),
        )

    def cancel_hold(self, exchange: Exchange, request: HoldRequest) -> HoldResult | Passed | Reason:
        """Cancel a hold; allowed even to a barred card."""
        return self._forward_or(
            exchange,
            lambda adapter, patron, told: adapter.cancel_hold(patron, request, told.context),
            even_barred=True,
            find_out=lambda adapter, patron: find_out_cancelled(adapter, patron, request),
        )

    def pay_fee(self, exchange: Exchange, payment: FeePayment) -> FeeResult | Reason:
        """Record a payment; allowed even to a barred card. An unknown outcome is not repeated."""
        return self._for_patron(
            exchange,
            lambda adapter, patron, told: self._payments.pay(adapter, patron, payment, told),
            even_barred=True,
        )

    def block_card(self, exchange: Exchange) -> PatronAnswer | Passed | Reason:
        """Block the card because the terminal keeps it (01); return the patron as he is then."""
        return self._change_card(
            exchange,
            lambda adapter, patron, _: adapter.block_patron(patron, BlockReason.CARD_RETAINED),
        )

    def enable_card(self, exchange: Exchange) -> PatronAnswer | Passed | Reason:
        """Undo the block of ``block_card`` (25), and only that one."""
        return self._change_card(
            exchange,
            lambda adapter, patron, _: adapter.unblock_patron(patron, BlockReason.CARD_RETAINED),
        )

    def _change_card(self, exchange: Exchange, act: _Act[None]) -> PatronAnswer | Passed | Reason:
        done = self._forward_or(exchange, act, even_barred=True)
        if not isinstance(done, Passed):
            return self._fetch_changed(exchange)
        if not done.enrolled:
            return done
        answer = self._fetch_changed(exchange)
        return replace(answer, native=done.native) if isinstance(answer, PatronAnswer) else answer

    def _fetch_changed(self, exchange: Exchange) -> PatronAnswer | Passed:
        """Read the patron, never by sending the same message again."""
        context = replace(exchange.context, request=None)
        return self.fetch_information(replace(exchange, context=context))

    def forward(self, exchange: Exchange) -> WireMessage | None:
        """Hand on a message about an item alone (17, 19); None where the ILS has no such message.

        Raises:
            AdapterError: the ILS cannot be asked.
        """
        return forward(self._desk, exchange) if can_forward(self._desk, exchange) else None

    def is_enrolled(self, number: str, library: Library) -> bool:
        """Say whether the ILS's number is an enrolled patron's; yes, while nobody can know."""
        try:
            return self._desk.facts.find_by_account(IlsPatronId(number), library) is not None
        except STORE_DOWN:
            return True

    def adapter_of(self, institution: InstitutionId) -> IlsAdapter:
        """Return a library's ILS, for what has nothing to do with a patron."""
        return self._desk.adapters[institution]

    def _for_patron(
        self,
        exchange: Exchange,
        act: _Act[_T],
        *,
        even_barred: bool = False,
        find_out: _FindOut[_T] | None = None,
    ) -> _T | Reason:
        """Do something in the ILS for whoever was scanned.

        Args:
            find_out: asks the ILS once, after an unknown outcome; None = it cannot be told.
        """
        ready = self._make_ready(exchange, even_barred=even_barred)
        if isinstance(ready, Reason):
            return ready
        try:
            return act(ready.adapter, ready.patron, ready.told)
        except OutcomeUnknown:
            return _not_confirmed(ready, find_out)

    def _forward_or(
        self,
        exchange: Exchange,
        act: _Act[_T],
        *,
        even_barred: bool = False,
        find_out: _FindOut[_T] | None = None,
    ) -> _T | Passed | Reason:
        """Hand the terminal's message on where the ILS takes it; else do it as ``_for_patron``."""
        if not can_forward(self._desk, exchange):
            return self._for_patron(exchange, act, even_barred=even_barred, find_out=find_out)
        ready = self._make_ready(exchange, even_barred=even_barred)
        if isinstance(ready, Reason):
            return ready
        try:
            native = forward(self._desk, exchange, patron=ready.patron if ready.enrolled else None)
            if native is None:
                return act(ready.adapter, ready.patron, ready.told)
        except OutcomeUnknown:
            return _not_confirmed(ready, find_out)
        return Passed(native, ready.enrolled)

    def _make_ready(self, exchange: Exchange, *, even_barred: bool) -> _Ready | Reason:
        """Find who it is for, and check card and PIN of an enrolled patron.

        Raises:
            AdapterError: the ILS does not say whose number it is.
        """
        library = self._desk.libraries[exchange.institution]
        adapter = self._desk.adapters[library.code]
        try:
            standing = self._desk.find_borrower(exchange, library)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            standing = None
        ready = _Ready(adapter, IlsPatronId(exchange.scanned_patron), exchange)
        if standing is not None and library.mode is Mode.ENFORCE:
            if not standing.is_known_to_ils:
                closed = find_card_bar(standing, exchange.place.local_date)
                return closed or Reason.UNKNOWN_PATRON
            patron = standing.ils_patron or ready.patron
            bar = None if even_barred else find_card_bar(standing, exchange.place.local_date)
            bar = bar or _pin_bar(adapter, patron, exchange)
            if bar is not None:
                return bar
            told = replace(exchange, context=context_for_ils(exchange))
            ready = _Ready(adapter, patron, told, enrolled=True)
        return Reason.ILS_UNAVAILABLE if exchange.slot.is_expired else ready


def _not_confirmed(ready: _Ready, find_out: _FindOut[_T] | None) -> _T | Reason:
    """Ask the ILS once what it has done, where it can tell; nothing is sent again."""
    found = find_out(ready.adapter, ready.patron) if find_out is not None else None
    return Reason.OUTCOME_UNKNOWN if found is None else found


def _pin_bar(adapter: IlsAdapter, patron: IlsPatronId, exchange: Exchange) -> Reason | None:
    pin = pin_to_check(exchange)
    if pin is None:
        return Reason.PIN_MISSING if exchange.pin_rule is PinRule.ALWAYS else None
    if Capability.VERIFY_PIN not in adapter.capabilities:
        return None
    return None if adapter.verify_pin(patron, pin) else Reason.PIN_WRONG

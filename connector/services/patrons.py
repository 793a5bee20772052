"""What a terminal may see and do about a patron besides loans: information, holds, fees, blocks.

Nothing here speaks SIP2 or SQL. Rules: decisions 4, 9, 14–16. Flags, counts and limits show the
stricter of ILS and policy; people whom we did not enrol are the ILS's alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from connector.domain.circulation import Reason, find_card_bar, is_overdue
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId
from connector.domain.library import Library, Mode
from connector.domain.loan import LoanState
from connector.domain.patron import PatronFacts, PatronFlag, PatronStanding, PinRule
from connector.domain.policy import LoanPolicy, RenewalBar, select_policy
from connector.errors import OutcomeUnknown
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
from connector.services.desk import (
    STORE_DOWN,
    CirculationDesk,
    Exchange,
    patron_bar,
    pin_to_check,
)
from connector.services.facts import PatronView, count_quota
from connector.services.payments import PaymentService

__all__ = ["LoanLine", "PatronAnswer", "PatronService"]

_log = get_logger(__name__)
_T = TypeVar("_T")

_DENIED = frozenset(
    {
        PatronFlag.CHARGE_DENIED,
        PatronFlag.RENEWAL_DENIED,
        PatronFlag.RECALL_DENIED,
        PatronFlag.HOLD_DENIED,
    }
)


@dataclass(frozen=True, slots=True)
class LoanLine:
    """One item that the patron has, wherever it was lent."""

    barcode: Barcode
    title: str
    due: datetime | None
    overdue: bool


@dataclass(frozen=True, slots=True)
class PatronAnswer:
    """One patron as a terminal may see him.

    Attributes:
        facts: the ILS's own view.
        flags: the stricter of ILS and policy.
        at_limit: the item limit of the policy is reached (decision 16).
        reason: why the card as a whole is barred; None when it is not.
        pin_valid: None when nothing was checked.
        loans: union of ledger and ILS.
    """

    facts: PatronFacts
    enrolled: bool
    flags: frozenset[PatronFlag]
    loans: tuple[LoanLine, ...]
    charged: int
    limit: int | None
    at_limit: bool = False
    reason: Reason | None = None
    pin_valid: bool | None = None


class PatronService:
    """One instance serves all libraries of the process and is called from many threads."""

    def __init__(self, desk: CirculationDesk, payments: PaymentService) -> None:
        self._desk = desk
        self._payments = payments

    def fetch_information(self, exchange: Exchange) -> PatronAnswer:
        """Return what a terminal may see of the patron; unknown → ``facts.valid`` False.

        Raises:
            AdapterError: the ILS cannot be asked.
        """
        library = self._desk.libraries[exchange.institution]
        try:
            standing = self._desk.find_standing(exchange, library)
            if standing is None or library.mode is Mode.OBSERVE:
                return self._passed(exchange, library)
            view = self._desk.read_patron(exchange, library, standing)
            return self._enrolled(exchange, library, view)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            return self._passed(exchange, library)

    def _passed(self, exchange: Exchange, library: Library) -> PatronAnswer:
        adapter = self._desk.adapters[library.code]
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
        flags = _policy_flags(view.standing, policy, bar, at_limit=at_limit, overdue=quota.overdue)
        return PatronAnswer(
            facts=view.facts,
            enrolled=True,
            flags=view.facts.flags | flags,
            loans=self._lines(view, exchange, library),
            charged=quota.total,
            limit=_stricter(policy.max_items if policy else None, view.facts.loan_limit),
            at_limit=at_limit,
            reason=bar,
            pin_valid=view.facts.pin_valid,
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
            )
            for loan in view.loans
            if loan.state is not LoanState.ASKED
        )

    def place_hold(self, exchange: Exchange, request: HoldRequest) -> HoldResult | Reason:
        """Place or change a hold; a ``Reason`` is a refusal of ours."""
        return self._for_patron(
            exchange, lambda adapter, patron: adapter.place_hold(patron, request, exchange.context)
        )

    def cancel_hold(self, exchange: Exchange, request: HoldRequest) -> HoldResult | Reason:
        """Cancel a hold; allowed even to a barred card."""
        return self._for_patron(
            exchange,
            lambda adapter, patron: adapter.cancel_hold(patron, request, exchange.context),
            even_barred=True,
        )

    def pay_fee(self, exchange: Exchange, payment: FeePayment) -> FeeResult | Reason:
        """Record a payment; allowed even to a barred card. An unknown outcome is not repeated."""
        return self._for_patron(
            exchange,
            lambda adapter, patron: self._payments.pay(adapter, patron, payment, exchange),
            even_barred=True,
        )

    def block_card(self, exchange: Exchange) -> PatronAnswer | Reason:
        """Block the card because the terminal keeps it (01); return the patron as he is then."""
        self._for_patron(
            exchange,
            lambda adapter, patron: adapter.block_patron(patron, BlockReason.CARD_RETAINED),
            even_barred=True,
        )
        return self.fetch_information(exchange)

    def enable_card(self, exchange: Exchange) -> PatronAnswer | Reason:
        """Undo the block of ``block_card`` (25), and only that one."""
        self._for_patron(
            exchange,
            lambda adapter, patron: adapter.unblock_patron(patron, BlockReason.CARD_RETAINED),
            even_barred=True,
        )
        return self.fetch_information(exchange)

    def adapter_of(self, institution: InstitutionId) -> IlsAdapter:
        """Return a library's ILS, for what has nothing to do with a patron."""
        return self._desk.adapters[institution]

    def _for_patron(
        self,
        exchange: Exchange,
        act: Callable[[IlsAdapter, IlsPatronId], _T],
        *,
        even_barred: bool = False,
    ) -> _T | Reason:
        library = self._desk.libraries[exchange.institution]
        adapter = self._desk.adapters[library.code]
        try:
            standing = self._desk.find_standing(exchange, library)
        except STORE_DOWN:
            _log.exception("store.unavailable", institution=library.code)
            standing = None
        patron = IlsPatronId(exchange.scanned_patron)
        if standing is not None and library.mode is Mode.ENFORCE:
            if standing.is_retired:
                return Reason.UNKNOWN_PATRON
            patron = standing.ils_patron or patron
            bar = None if even_barred else find_card_bar(standing, exchange.place.local_date)
            bar = bar or _pin_bar(adapter, patron, exchange)
            if bar is not None:
                return bar
        try:
            return act(adapter, patron)
        except OutcomeUnknown:
            return Reason.OUTCOME_UNKNOWN


def _pin_bar(adapter: IlsAdapter, patron: IlsPatronId, exchange: Exchange) -> Reason | None:
    pin = pin_to_check(exchange)
    if pin is None:
        return Reason.PIN_MISSING if exchange.pin_rule is PinRule.ALWAYS else None
    if Capability.VERIFY_PIN not in adapter.capabilities:
        return None
    return None if adapter.verify_pin(patron, pin) else Reason.PIN_WRONG


def _policy_flags(
    standing: PatronStanding,
    policy: LoanPolicy | None,
    bar: Reason | None,
    *,
    at_limit: bool,
    overdue: int,
) -> set[PatronFlag]:
    if bar is not None and bar not in {Reason.PIN_MISSING, Reason.PIN_WRONG}:
        return set(_DENIED)
    flags: set[PatronFlag] = set()
    if at_limit:
        flags.add(PatronFlag.TOO_MANY_CHARGED)
    if policy is None:
        return flags
    if standing.violations and RenewalBar.VIOLATION in policy.no_renewal_when:
        flags.add(PatronFlag.RENEWAL_DENIED)
    if policy.overdue_bars == "card" and overdue:
        flags |= {PatronFlag.TOO_MANY_OVERDUE, PatronFlag.CHARGE_DENIED, PatronFlag.RENEWAL_DENIED}
    return flags


def _stricter(ours: int | None, theirs: int | None) -> int | None:
    given = [limit for limit in (ours, theirs) if limit is not None]
    return min(given) if given else None

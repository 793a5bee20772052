"""May this checkout, renewal or return happen? Pure rules over facts that others have read.

Nothing here reads a database, a clock or an ILS; a refusal is a ``Decision`` with a reason, never
an exception. Rules: A24–A34, D04, decisions 11–14; the order of the checks is the order in which a
reader can mend them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from connector.domain.item import Classification, LanguageClass, Shelving
from connector.domain.patron import EXCHANGED_ACCOUNT, PatronStanding, StandingState
from connector.domain.policy import LoanPolicy, RenewalBar

__all__ = [
    "Decision",
    "Quota",
    "Reason",
    "decide_checkin",
    "decide_checkout",
    "decide_renewal",
    "due_at",
    "find_card_bar",
    "is_overdue",
    "local_day",
]


_MORE_THAN_A_DAY = timedelta(days=2)
"""What is due so much later is due on a later day in every zone."""


class Reason(StrEnum):
    """Why something was refused: the key of the screen message and of the statistics."""

    ITEM_LIMIT = "item_limit"
    FOREIGN_LIMIT = "foreign_limit"
    CARD_BLOCKED = "card_blocked"
    CARD_EXCHANGED = "card_exchanged"
    CARD_EXPIRED = "card_expired"
    CARD_INACTIVE = "card_inactive"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CLOSED_STACK = "closed_stack"
    REFERENCE_ONLY = "reference_only"
    COLLECTION_BARRED = "collection_barred"
    UNSUITABLE = "unsuitable"
    OVERDUE_ITEMS = "overdue_items"
    ITEM_ON_LOAN = "item_on_loan"
    ITEM_OVERDUE = "item_overdue"
    ITEM_RESERVED = "item_reserved"
    VIOLATION = "violation"
    RENEWED_ALREADY = "renewed_already"
    RENEWAL_TOO_EARLY = "renewal_too_early"
    NOT_ON_LOAN = "not_on_loan"
    UNKNOWN_PATRON = "unknown_patron"
    UNKNOWN_ITEM = "unknown_item"
    AMBIGUOUS_ITEM = "ambiguous_item"
    MISREAD_BARCODE = "misread_barcode"
    PIN_WRONG = "pin_wrong"
    PIN_MISSING = "pin_missing"
    PIN_LOCKED = "pin_locked"
    NO_POLICY = "no_policy"
    NOT_PERMITTED_HERE = "not_permitted_here"
    NOT_SUPPORTED = "not_supported"
    PLUGIN_REFUSED = "plugin_refused"
    ILS_REFUSED = "ils_refused"
    ILS_UNAVAILABLE = "ils_unavailable"
    OUTCOME_UNKNOWN = "outcome_unknown"
    OFFLINE_LIMIT = "offline_limit"
    OFFLINE_PIN = "offline_pin"
    OUTDATED = "outdated"
    STORE_UNAVAILABLE = "store_unavailable"
    IN_PROGRESS = "in_progress"
    BAD_REQUEST = "bad_request"


@dataclass(frozen=True, slots=True)
class Quota:
    """What a patron has now, in the whole network; ``overdue`` counts overdue items."""

    total: int
    foreign: int
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict of the policy.

    Attributes:
        reason: None when permitted.
        due: the policy's due date, aware, UTC; None when refused or when the policy has no say.
        limit: the number that was reached, for the screen message.
        detail: code of a plugin or a rule, for staff.
    """

    permitted: bool
    reason: Reason | None = None
    due: datetime | None = None
    policy_version: str = ""
    limit: int | None = None
    detail: str = ""

    def refuse(self, reason: Reason, *, limit: int | None = None, detail: str = "") -> Decision:
        """Return this decision turned into a refusal."""
        return replace(self, permitted=False, reason=reason, due=None, limit=limit, detail=detail)


def local_day(moment: datetime, zone: ZoneInfo) -> date:
    """Return the calendar day of an aware moment in the library's zone."""
    return moment.astimezone(zone).date()


def due_at(
    now: datetime, days: int, zone: ZoneInfo, *, is_closed: Callable[[date], bool] | None = None
) -> datetime:
    """Return 23:59:59 library time of the day ``days`` after ``now``, as UTC.

    Args:
        is_closed: moves the date forward past closed days (at most a year); never back (decision
            11).
    """
    day = local_day(now, zone) + timedelta(days=days)
    if is_closed is not None:
        last = day + timedelta(days=366)
        while is_closed(day) and day < last:
            day += timedelta(days=1)
    return datetime.combine(day, time(23, 59, 59), tzinfo=zone).astimezone(UTC)


def is_overdue(due: datetime | None, now: datetime, zone: ZoneInfo) -> bool:
    """Say whether an item is overdue: days are counted in the library's zone (scenario 19)."""
    if due is None or due - now > _MORE_THAN_A_DAY:
        return False
    return local_day(now, zone) > local_day(due, zone)


def decide_checkout(
    policy: LoanPolicy,
    *,
    standing: PatronStanding,
    quota: Quota,
    item: Classification,
    collection: str,
    unsuitable: bool,
    now: datetime,
    zone: ZoneInfo,
    is_closed: Callable[[date], bool] | None = None,
) -> Decision:
    """Decide whether this patron may borrow this item now.

    Args:
        quota: unclosed loans of the patron before this one, network-wide.
        item: unknown language counts as Chinese (decision 13).
    """
    verdict = Decision(permitted=True, policy_version=policy.version)
    bar = find_card_bar(standing, local_day(now, zone))
    if bar is not None:
        return verdict.refuse(bar)
    if item.shelving not in policy.loanable_shelving:
        return verdict.refuse(
            Reason.REFERENCE_ONLY if item.shelving is Shelving.REFERENCE else Reason.CLOSED_STACK,
            detail=item.shelving.value,
        )
    if policy.collections and collection and collection not in policy.collections:
        return verdict.refuse(Reason.COLLECTION_BARRED)
    if unsuitable and not policy.lend_unsuitable:
        return verdict.refuse(Reason.UNSUITABLE)
    if policy.overdue_bars == "card" and quota.overdue > 0:
        return verdict.refuse(Reason.OVERDUE_ITEMS, limit=quota.overdue)
    if quota.total >= policy.max_items:
        return verdict.refuse(Reason.ITEM_LIMIT, limit=policy.max_items)
    if item.language is LanguageClass.FOREIGN and quota.foreign >= policy.max_foreign_items:
        return verdict.refuse(Reason.FOREIGN_LIMIT, limit=policy.max_foreign_items)
    return replace(
        verdict, due=due_at(now, policy.loan_days, zone, is_closed=_closed_rule(policy, is_closed))
    )


def decide_renewal(
    policy: LoanPolicy,
    *,
    standing: PatronStanding,
    due: datetime | None,
    renewals: int,
    lent_at: datetime | None,
    reserved: bool,
    overdue_items: int,
    now: datetime,
    zone: ZoneInfo,
    is_closed: Callable[[date], bool] | None = None,
) -> Decision:
    """Decide whether this patron may renew this item now; the period counts from today (A33).

    Args:
        renewals: renewals made so far at any library and in the ILS itself (scenario 20).
        lent_at: when the loan began, for ``min_days_before_renewal``.
        overdue_items: overdue items of the card, for ``overdue_bars = card``.
    """
    verdict = Decision(permitted=True, policy_version=policy.version)
    today = local_day(now, zone)
    bars = policy.no_renewal_when
    bar = find_card_bar(standing, today)
    if bar is not None:
        return verdict.refuse(bar)
    if RenewalBar.VIOLATION in bars and standing.violations > 0:
        return verdict.refuse(Reason.VIOLATION)
    if renewals >= policy.max_renewals:
        return verdict.refuse(Reason.RENEWED_ALREADY, limit=policy.max_renewals)
    if RenewalBar.OVERDUE in bars and is_overdue(due, now, zone):
        return verdict.refuse(Reason.ITEM_OVERDUE)
    if policy.overdue_bars == "card" and overdue_items > 0:
        return verdict.refuse(Reason.OVERDUE_ITEMS, limit=overdue_items)
    if RenewalBar.RESERVED in bars and reserved:
        return verdict.refuse(Reason.ITEM_RESERVED)
    if (
        lent_at is not None
        and (today - local_day(lent_at, zone)).days < policy.min_days_before_renewal
    ):
        return verdict.refuse(Reason.RENEWAL_TOO_EARLY, limit=policy.min_days_before_renewal)
    return replace(
        verdict,
        due=due_at(now, policy.renewal_days, zone, is_closed=_closed_rule(policy, is_closed)),
    )


def decide_checkin(owners: frozenset[str], *, local: str, loan_owner: str | None) -> str | None:
    """Return the owner of a returned item, or None when it must be handed to staff (scenario 18).

    Args:
        owners: libraries that have an item with this barcode, as far as known.
        local: the library where it is returned.
        loan_owner: owner of the one open loan with this barcode, if there is just one.
    """
    if loan_owner is not None:
        return loan_owner
    if not owners or owners == {local}:
        return local
    return next(iter(owners)) if len(owners) == 1 else None


def find_card_bar(standing: PatronStanding, today: date) -> Reason | None:
    """Return why the card as a whole may not be used, or None."""
    if standing.state is StandingState.WITHDRAWN:
        return Reason.CONSENT_WITHDRAWN
    if standing.state is StandingState.BLOCKED:
        return Reason.CARD_BLOCKED
    if standing.state is StandingState.INACTIVE:
        return Reason.CARD_INACTIVE
    if standing.account_kind == EXCHANGED_ACCOUNT:
        return Reason.CARD_EXCHANGED
    if standing.state is StandingState.EXPIRED or (
        standing.expires is not None and standing.expires < today
    ):
        return Reason.CARD_EXPIRED
    return None


def _closed_rule(
    policy: LoanPolicy, is_closed: Callable[[date], bool] | None
) -> Callable[[date], bool] | None:
    return is_closed if policy.closed_days == "extend" else None

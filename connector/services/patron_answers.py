"""What a terminal may see of one patron: the values, and what the policy adds to the ILS's flags.

Nothing here asks anybody; ``patrons`` fills the values. Rules: decision 16 — flags and limits are
the stricter of ILS and policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from connector.domain.circulation import Reason
from connector.domain.ids import Barcode
from connector.domain.patron import PatronFacts, PatronFlag, PatronStanding
from connector.domain.policy import LoanPolicy, RenewalBar
from connector.domain.wire import WireMessage

__all__ = ["LoanLine", "PatronAnswer", "find_policy_flags", "find_stricter"]

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
    """One item that the patron has; ``elsewhere``: another library lent it."""

    barcode: Barcode
    title: str
    due: datetime | None
    overdue: bool
    elsewhere: bool = False


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
        native: what an ILS that speaks SIP2 said itself.
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
    native: WireMessage | None = field(default=None, repr=False)


def find_policy_flags(
    standing: PatronStanding,
    policy: LoanPolicy | None,
    bar: Reason | None,
    *,
    at_limit: bool,
    overdue: int,
) -> set[PatronFlag]:
    """Return what the policy denies; ``bar`` is why the card as a whole is barred."""
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


def find_stricter(ours: int | None, theirs: int | None) -> int | None:
    """Return the smaller limit; None = neither has one."""
    given = [limit for limit in (ours, theirs) if limit is not None]
    return min(given) if given else None

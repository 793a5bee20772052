"""What the ILS says about an event that it has not heard of: tell it, leave it, or ask a person.

Nothing here tells an ILS anything or writes; it only asks. Rules: decisions 7 and 9; scenarios 15
and 16 —

- the ILS is always asked first who has the item;
- an event older than the item's last change is not told: by the ILS's list of changes where it has
  one, else by who has the item, since when, how often renewed and until when;
- what we told it ourselves is no such change;
- an ILS that cannot be asked is told once, and never again when it did not answer.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from connector.domain.ids import Barcode
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.library import Library
from connector.domain.loan import UNCLOSED, IlsLoan, Loan, LoanOrigin
from connector.ports.deferred import (
    LENT_TO_OTHER,
    DeferredState,
    DeferredStore,
    DeferredVerb,
    DeferredWork,
)
from connector.ports.ils import Capability, Change, IlsAdapter
from connector.ports.ledger import Ledger

__all__ = ["Changes", "Judge", "Step", "Verdict"]

_CLOCK_SLACK = timedelta(minutes=1)
"""The ILS's clock and ours may differ by so much."""
_FRESH_S = 60.0
_ON_LOAN = frozenset(
    {
        CirculationStatus.CHARGED,
        CirculationStatus.CHARGED_NO_RECALL,
        CirculationStatus.CLAIMED_RETURNED,
    }
)
_MARKED = frozenset(
    {CirculationStatus.LOST, CirculationStatus.MISSING, CirculationStatus.CLAIMED_RETURNED}
)
_CHANGED = {"renew": "renewed", "checkout": "lent_again", "checkin": "returned_since"}


class Step(StrEnum):
    """What is to be done."""

    TELL = "tell"
    DONE = "done"
    ABSENT = "absent"
    """It is as if it were done; believed when it stays so (decision 7)."""
    STILL_THERE = "still_there"
    """A return that was sent shows no effect; given up when it stays so."""
    SKIP = "skip"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The next step, why, and what the ILS says (codes and times, for the task)."""

    step: Step
    reason: str = ""
    due: datetime | None = None
    facts: Mapping[str, str | int] = field(default_factory=dict)


class Changes:
    """The changes of one ILS during one round; read again when they are a minute old."""

    def __init__(self, adapter: IlsAdapter, library: Library) -> None:
        self._adapter = adapter
        self._library = library
        self._since: datetime | None = None
        self._read_at = 0.0
        self._found: dict[Barcode, list[Change]] = {}

    @property
    def are_told(self) -> bool:
        """Whether the ILS lists its changes at all."""
        return Capability.FETCH_CHANGES in self._adapter.capabilities

    def list_after(self, barcode: Barcode, moment: datetime) -> list[Change]:
        """Return what changed about an item after a moment; raises ``AdapterError``."""
        stale = time.monotonic() - self._read_at > _FRESH_S
        if self._since is None or moment < self._since or stale:
            self._since = moment if self._since is None else min(moment, self._since)
            self._found = {}
            for change in self._adapter.fetch_changes(self._since):
                key = self._library.barcodes.normalise(change.barcode)
                self._found.setdefault(key, []).append(change)
            self._read_at = time.monotonic()
        return [each for each in self._found.get(barcode, ()) if each.at > moment]


@dataclass(frozen=True, slots=True)
class _ItemNow:
    """An item in the ILS now; ``is_known`` False = it cannot be asked who has it."""

    loan: IlsLoan | None = None
    record: IlsItem | None = None
    is_known: bool = True


class Judge:
    """Asks one library's ILS; used by one thread for one round.

    Raises, in every method, ``AdapterError`` when the ILS cannot be asked.
    """

    def __init__(
        self, *, library: Library, adapter: IlsAdapter, ledger: Ledger, deferred: DeferredStore
    ) -> None:
        self._library = library
        self._adapter = adapter
        self._ledger = ledger
        self._deferred = deferred
        self._changes = Changes(adapter, library)

    def judge(self, work: DeferredWork) -> Verdict:
        """Say what is to be done about an event."""
        loan = self._ledger.fetch_loan(work.loan_id) if work.loan_id is not None else None
        match work.verb:
            case DeferredVerb.CHECKIN:
                return self._judge_return(work, loan)
            case DeferredVerb.CHECKOUT:
                return self._judge_checkout(work, loan)
            case DeferredVerb.CONFIRM_RETURN:
                return self._judge_question(work, loan)

    def _judge_return(self, work: DeferredWork, loan: Loan | None) -> Verdict:
        now = self._read(work)
        if not now.is_known:
            return _blind(work)
        told = self._told(work)
        if now.record is not None and now.record.status in _MARKED:
            return Verdict(Step.SKIP, f"item_{now.record.status.name.lower()}", facts=_facts(now))
        if now.loan is None:
            never_sure = loan is not None and loan.opened_at is None and _is_ours(loan)
            return Verdict(Step.ABSENT if never_sure else Step.DONE, "not_on_loan")
        reason = self._why_not_theirs(work, now.loan, told)
        reason = reason or self._why_newer(work, loan, now.loan, told)
        return Verdict(Step.SKIP, reason, facts=_facts(now)) if reason else Verdict(Step.TELL)

    def _judge_checkout(self, work: DeferredWork, loan: Loan | None) -> Verdict:
        if loan is None or work.ils_patron is None:
            return Verdict(Step.CONFLICT, "no_person")
        now = self._read(work)
        if not now.is_known:
            return _blind(work)
        if now.loan is not None:
            if now.loan.patron == work.ils_patron:
                return Verdict(Step.DONE, due=now.loan.due)
            return Verdict(Step.CONFLICT, LENT_TO_OTHER, facts=_facts(now))
        if now.record is not None and now.record.status in _MARKED:
            name = f"item_{now.record.status.name.lower()}"
            return Verdict(Step.CONFLICT, name, facts=_facts(now))
        if loan.state not in UNCLOSED and not self._returns_later(work):
            return Verdict(Step.SKIP, "closed_since", facts=_facts(now))
        newer = self._newer_changes(work, self._told(work))
        if newer:
            return Verdict(Step.SKIP, _CHANGED[newer[-1].kind], facts=_facts(now, newer[-1]))
        return Verdict(Step.TELL)

    def _judge_question(self, work: DeferredWork, loan: Loan | None) -> Verdict:
        if loan is not None and loan.state not in UNCLOSED:
            return Verdict(Step.DONE, "closed_since")
        now = self._read(work)
        if not now.is_known:
            return Verdict(Step.CONFLICT, "cannot_ask")
        return Verdict(Step.DONE, "returned") if now.loan is None else Verdict(Step.STILL_THERE)

    # --- is it another loan, or has it changed?

    def _why_not_theirs(
        self, work: DeferredWork, now_with: IlsLoan, told: list[DeferredWork]
    ) -> str:
        """Return why the ILS's loan is not the one that ended."""
        if work.ils_patron is not None and now_with.patron not in {None, work.ils_patron}:
            return LENT_TO_OTHER
        began = now_with.checked_out_at
        by_us = any(
            each.verb is DeferredVerb.CHECKOUT and each.loan_id == work.loan_id for each in told
        )
        if began is not None and began - work.occurred_at > _CLOCK_SLACK and not by_us:
            return "lent_again"
        current = self._ledger.find_unclosed(work.item)
        if (
            current is not None
            and current.loan_id != work.loan_id
            and current.lender == work.institution
            and current.ils_patron == now_with.patron
            and (current.opened_at or current.asked_at) >= work.occurred_at
            and not self._is_untold(work, current)
        ):
            return "lent_again"
        return ""

    def _why_newer(
        self, work: DeferredWork, loan: Loan | None, now_with: IlsLoan, told: list[DeferredWork]
    ) -> str:
        """Return what happened to the loan in the ILS after the event."""
        if self._changes.are_told:
            newer = self._newer_changes(work, told)
            return _CHANGED[newer[-1].kind] if newer else ""
        if loan is None:
            return ""
        if now_with.renewals is not None and now_with.renewals > loan.renewals:
            return "renewed"
        if now_with.due is None or loan.due is None:
            return ""
        later = self._library.today(now_with.due) > self._library.today(loan.due)
        return "renewed" if later and now_with.due - loan.due > _CLOCK_SLACK else ""

    def _newer_changes(self, work: DeferredWork, told: list[DeferredWork]) -> list[Change]:
        if not self._changes.are_told:
            return []
        newer = self._changes.list_after(work.item.barcode, work.occurred_at + _CLOCK_SLACK)
        for each in told:
            own = next((change for change in newer if change.kind == each.verb.value), None)
            if own is not None:
                newer.remove(own)
        return newer

    def _told(self, work: DeferredWork) -> list[DeferredWork]:
        """Return what this ILS was told of the item, by us, since the event was recorded."""
        return [
            each
            for each in self._deferred.list_told(work.item, since=work.recorded_at)
            if each.institution == work.institution
            and each.sent_at is not None
            and each.seq < work.seq
        ]

    def _returns_later(self, work: DeferredWork) -> bool:
        """Say whether the return of the same loan waits behind."""
        return any(
            each.verb is DeferredVerb.CHECKIN
            and each.loan_id == work.loan_id
            and each.state is DeferredState.WAITING
            for each in self._deferred.find_unresolved(work.institution, [work.item])
        )

    def _is_untold(self, work: DeferredWork, loan: Loan) -> bool:
        """Say whether the ILS has not heard of a loan yet."""
        return any(
            each.verb is DeferredVerb.CHECKOUT and each.loan_id == loan.loan_id
            for each in self._deferred.find_unresolved(work.institution, [work.item])
        )

    def _read(self, work: DeferredWork) -> _ItemNow:
        capabilities, barcode = self._adapter.capabilities, work.item.barcode
        record = (
            self._adapter.fetch_item(barcode) if Capability.FETCH_ITEM in capabilities else None
        )
        if Capability.FETCH_ITEM_LOAN in capabilities:
            return _ItemNow(self._adapter.fetch_item_loan(barcode, work.ils_patron), record)
        if record is None:
            return _ItemNow(is_known=False)
        is_out = record.status in _ON_LOAN
        return _ItemNow(IlsLoan(barcode, record.borrower, record.due) if is_out else None, record)


def _blind(work: DeferredWork) -> Verdict:
    """The ILS cannot say who has it: it is told once."""
    if work.sent_at is None:
        return Verdict(Step.TELL)
    return Verdict(Step.CONFLICT, "cannot_ask")


def _is_ours(loan: Loan) -> bool:
    return loan.origin in {LoanOrigin.GATEWAY, LoanOrigin.OFFLINE}


def _facts(now: _ItemNow, change: Change | None = None) -> dict[str, str | int]:
    """Return what the ILS says, without a person."""
    facts: dict[str, str | int] = {"on_loan": int(now.loan is not None)}
    if now.record is not None:
        facts["status"] = now.record.status.name.lower()
    loan = now.loan
    if loan is not None:
        moments = {"due": loan.due, "since": loan.checked_out_at}
        facts |= {
            name: moment.isoformat(timespec="seconds")
            for name, moment in moments.items()
            if moment is not None
        }
        if loan.renewals is not None:
            facts["renewals"] = loan.renewals
    if change is not None:
        facts |= {"change": change.kind, "changed_at": change.at.isoformat(timespec="seconds")}
    return facts

"""Closing loans: returns, stale rows, and events of items that no loan of ours is about.

Nothing here asks an ILS. Rules (decisions 4, 6) —

- a return closes the item's loan whoever brings it, and frees the place at once;
- a return dated before the loan began closes nothing, and a repeat of a return does nothing;
- a return enters the statistics if its loan did (a disputed checkout counts neither way).
"""

from __future__ import annotations

from datetime import datetime

from connector.domain.ids import BranchId, InstitutionId, ItemId, LoanId, PatronId
from connector.domain.item import LanguageClass
from connector.domain.loan import ItemPosition, LoanOrigin, LoanState, can_move
from connector.ports.deferred import Deferral
from connector.ports.ledger import Place, Returned, Verb
from connector.storage.engine import parse_moment
from connector.storage.repositories.deferred_rows import (
    add_work,
    drop_question,
    ends_with_return,
    release_question,
)
from connector.storage.repositories.loan_journal import change_loan, note_fact, note_move, put_item
from connector.storage.repositories.loan_losses import note_found
from connector.storage.repositories.loan_outcomes import require_loan
from connector.storage.repositories.loan_rows import LoanRow, lock_item
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import EventRow, FactRow, UnitOfWork, UnitOfWorkFactory

__all__ = ["LoanReturns", "close_row", "supersede_row"]

_POSITION = "SELECT position, holder, since FROM item_position WHERE owner = ? AND barcode = ?"
_MOVES_ITEM = frozenset({Verb.CHECKOUT, Verb.RENEW})


def close_row(unit: UnitOfWork, row: LoanRow, state: LoanState, *, closed_at: datetime) -> bool:
    """Move a loan to a state that holds no place; say whether it may move there."""
    if not can_move(row.loan.state, state):
        return False
    note_found(unit, row, state.value, actor="worker")
    change_loan(
        unit,
        row.loan.loan_id,
        state=state.value,
        closed_at=closed_at,
        first_absent_at=None,
        lease_until=None,
        renewal_until=None,
    )
    return True


def supersede_row(unit: UnitOfWork, row: LoanRow, place: Place) -> bool:
    """Close a stale loan: the ILS shows the item elsewhere; say whether it may be closed."""
    if not close_row(unit, row, LoanState.SUPERSEDED, closed_at=place.at):
        return False
    note_move(unit, Verb.SUPERSEDE, place, row, LoanState.SUPERSEDED, message="loan.superseded")
    return True


class LoanReturns:
    """The part of the ledger that closes loans."""

    _work: UnitOfWorkFactory

    @retry_once
    def record_return(
        self,
        item: ItemId,
        place: Place,
        *,
        returned_at: datetime,
        owner_branch: str = "",
        language: LanguageClass = LanguageClass.UNKNOWN,
        defer: Deferral | None = None,
        asked: InstitutionId | None = None,
    ) -> Returned:
        """Close the item's unclosed loan and write where the item is."""
        with self._work.begin() as unit:
            known = unit.fetch(_POSITION, (item.owner, item.barcode))
            since = parse_moment(known[0][2]) if known else None
            at_rest = bool(known) and known[0][0] != ItemPosition.ON_LOAN.value
            row = lock_item(unit, item)
            if row is None and defer and ends_with_return(unit, defer.institution, item):
                return Returned(())
            closes = (
                row is not None
                and returned_at >= row.began_at
                and close_row(unit, row, LoanState.RETURNED, closed_at=returned_at)
            )
            if asked is not None:
                drop_question(unit, asked, item)
            if defer is not None and (row is None or closes):
                loan_id = row.loan.loan_id if row is not None else None
                add_work(unit, defer, item, place, occurred_at=returned_at, loan_id=loan_id)
            if not closes and at_rest and since == returned_at and known[0][1] == place.institution:
                return Returned(())
            elsewhere = place.institution != item.owner or (
                bool(owner_branch) and place.branch != BranchId(owner_branch)
            )
            if row is None or closes:
                put_item(
                    unit,
                    item,
                    ItemPosition.AT_HOLDER if elsewhere else ItemPosition.AT_OWNER,
                    holder=place.institution,
                    branch=place.branch,
                    since=max(returned_at, since or returned_at) if closes else returned_at,
                )
            if row is None or not closes:
                passed = row is None and bool(known) and not at_rest
                reason = "passed_through" if passed else "before_loan" if row is not None else ""
                verb = Verb.CHECKIN if passed else Verb.RETURN_WITHOUT_LOAN
                _note_item(unit, verb, place, item, reason=reason)
                if row is None:
                    _note_item_fact(unit, verb, place, item, language)
                return Returned(())
            if row.counted_at is not None:
                note_fact(unit, Verb.CHECKIN, place, row, returner=place.institution)
            note_move(unit, Verb.CHECKIN, place, row, LoanState.RETURNED, message="loan.returned")
            return Returned((require_loan(unit, row.loan.loan_id).loan,))

    @retry_once
    def defer_question(
        self, item: ItemId, place: Place, deferral: Deferral, *, occurred_at: datetime
    ) -> None:
        """Commit that the ILS is to be asked what became of a return."""
        with self._work.begin() as unit:
            if release_question(unit, deferral.institution, item, not_before=deferral.not_before):
                return
            row = lock_item(unit, item)
            loan_id = row.loan.loan_id if row is not None else None
            add_work(unit, deferral, item, place, occurred_at=occurred_at, loan_id=loan_id)

    @retry_once
    def drop_question(self, institution: InstitutionId, item: ItemId) -> None:
        """Take the question back."""
        with self._work.begin() as unit:
            drop_question(unit, institution, item)

    def find_last_change(self, item: ItemId) -> datetime | None:
        """Return when the item last moved, as far as the ledger knows."""
        rows = self._work.database.fetch(_POSITION, (item.owner, item.barcode))
        return parse_moment(rows[0][2]) if rows else None

    @retry_once
    def record_supersede(self, loan_id: LoanId, place: Place) -> None:
        """Close a stale row: the ILS shows the item with another patron."""
        with self._work.begin() as unit:
            supersede_row(unit, require_loan(unit, loan_id), place)

    @retry_once
    def record_event(
        self,
        verb: Verb,
        place: Place,
        *,
        patron_id: PatronId | None,
        item: ItemId | None,
        reason: str,
        policy_version: str = "",
        ils_verdict: str = "",
    ) -> None:
        """Write an event that moves no loan of ours.

        An item that somebody borrowed whom we did not enrol has a position, and counts in the
        statistics without a person (decisions 4, 24).
        """
        with self._work.begin() as unit:
            _note_item(
                unit,
                verb,
                place,
                item,
                patron_id=patron_id,
                reason=reason,
                policy_version=policy_version,
                ils_verdict=ils_verdict,
            )
            if item is None or patron_id is not None or verb not in _MOVES_ITEM:
                return
            _note_item_fact(unit, verb, place, item, LanguageClass.UNKNOWN)
            if verb is Verb.CHECKOUT:
                put_item(
                    unit,
                    item,
                    ItemPosition.ON_LOAN,
                    holder=place.institution,
                    branch=place.branch,
                    since=place.at,
                )


def _note_item(
    unit: UnitOfWork,
    verb: Verb,
    place: Place,
    item: ItemId | None,
    *,
    patron_id: PatronId | None = None,
    reason: str = "",
    policy_version: str = "",
    ils_verdict: str = "",
) -> None:
    unit.record_event(
        EventRow(
            institution=place.institution,
            at=place.at,
            local_date=place.local_date,
            verb=verb,
            person_id=patron_id,
            owner=item.owner if item is not None else None,
            barcode=item.barcode if item is not None else None,
            branch=place.branch,
            terminal=place.terminal,
            terminal_kind=place.kind,
            reason=reason,
            policy_version=policy_version,
            ils_verdict=ils_verdict,
            test=place.test,
        )
    )


def _note_item_fact(
    unit: UnitOfWork, verb: Verb, place: Place, item: ItemId, language: LanguageClass
) -> None:
    back = verb in {Verb.CHECKIN, Verb.RETURN_WITHOUT_LOAN}
    unit.record_fact(
        FactRow(
            institution=place.institution,
            local_date=place.local_date,
            verb=verb,
            owner=item.owner,
            language=language,
            origin=LoanOrigin.GATEWAY,
            lender=None if back else place.institution,
            returner=place.institution if back else None,
            branch=place.branch,
            terminal_kind=place.kind,
            test=place.test,
        )
    )

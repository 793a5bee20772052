"""What every move of a loan leaves behind: the changed row, event, fact, position, outbox, audit.

Nothing here decides whether a loan may move; that is in the modules that call it. A position is
never overwritten by something that happened before it.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import bindparam, update
from sqlalchemy.dialects import postgresql, sqlite

from connector.domain.ids import InstitutionId, ItemId
from connector.domain.loan import ItemPosition, LoanState
from connector.ports.ledger import Place, Verb
from connector.storage import tables
from connector.storage.repositories.loan_rows import LoanRow
from connector.storage.unit_of_work import EventRow, FactRow, UnitOfWork

__all__ = ["change_loan", "note_event", "note_fact", "note_move", "put_item"]

_WORKER = "worker"


def change_loan(unit: UnitOfWork, loan_id: str, **values: object) -> None:
    """Change columns of a loan that is under lock; a new ``state`` stamps ``changed_at``."""
    if "state" in values:
        values["changed_at"] = unit.now
    statement = update(tables.loan).where(tables.loan.c.loan_id == bindparam("the_loan"))
    unit.connection.execute(statement.values(values), {"the_loan": loan_id})


def note_event(
    unit: UnitOfWork,
    verb: Verb,
    place: Place,
    row: LoanRow,
    *,
    reason: str = "",
    ils_verdict: str = "",
) -> None:
    """Write the event of a loan."""
    loan = row.loan
    unit.record_event(
        EventRow(
            institution=place.institution,
            at=place.at,
            local_date=place.local_date,
            verb=verb,
            person_id=loan.patron_id,
            owner=loan.item.owner,
            barcode=loan.item.barcode,
            loan_id=loan.loan_id,
            branch=place.branch,
            terminal=place.terminal,
            terminal_kind=place.kind,
            reason=reason,
            policy_version=loan.policy_version,
            ils_verdict=ils_verdict,
            test=place.test,
        )
    )


def note_fact(
    unit: UnitOfWork,
    verb: Verb,
    place: Place,
    row: LoanRow,
    *,
    returner: InstitutionId | None = None,
) -> None:
    """Write a loan's line of the statistics."""
    loan = row.loan
    unit.record_fact(
        FactRow(
            institution=place.institution,
            local_date=place.local_date,
            verb=verb,
            owner=loan.item.owner,
            language=loan.language,
            origin=loan.origin,
            person_id=loan.patron_id,
            lender=loan.lender,
            returner=returner,
            branch=place.branch,
            stage=row.stage,
            clc_class=row.clc_class,
            terminal_kind=place.kind,
            test=place.test,
        )
    )


def note_move(
    unit: UnitOfWork,
    verb: Verb,
    place: Place,
    row: LoanRow,
    state: LoanState,
    *,
    message: str = "",
    key: str = "",
    reason: str = "",
    ils_verdict: str = "",
) -> None:
    """Write event and audit of a move, and its message to other libraries.

    Args:
        message: topic for the outbox; empty = nobody else needs to know.
        key: tells a repeat of the message from a new one; the topic when empty.
    """
    loan = row.loan
    note_event(unit, verb, place, row, reason=reason, ils_verdict=ils_verdict)
    unit.audit(
        f"loan.{verb}",
        actor=place.terminal or _WORKER,
        subject=loan.loan_id,
        detail={"state": state.value, "reason": reason},
        institution=place.institution,
    )
    if message:
        unit.send(
            message,
            institution=loan.lender,
            destination=loan.lender if place.institution != loan.lender else loan.item.owner,
            dedupe=f"{loan.loan_id}:{key or message}",
            payload={
                "loan_id": loan.loan_id,
                "owner": loan.item.owner,
                "barcode": loan.item.barcode,
                "lender": loan.lender,
                "state": state.value,
                "at": place.at.isoformat(),
                "institution": place.institution,
            },
        )


def put_item(
    unit: UnitOfWork,
    item: ItemId,
    position: ItemPosition,
    *,
    holder: InstitutionId,
    branch: str | None,
    since: datetime,
    loan_id: str | None = None,
) -> None:
    """Write where an item is, unless something newer is known."""
    values = {
        "owner": item.owner,
        "barcode": item.barcode,
        "position": position.value,
        "holder": holder,
        "branch": branch,
        "loan_id": loan_id,
        "since": since,
    }
    table = tables.item_position
    change = {name: values[name] for name in ("position", "holder", "branch", "loan_id", "since")}
    keys = [table.c.owner, table.c.barcode]
    newer = table.c.since <= since
    if unit.is_sqlite:
        unit.connection.execute(
            sqlite.insert(table)
            .values(values)
            .on_conflict_do_update(index_elements=keys, set_=change, where=newer)
        )
    else:
        unit.connection.execute(
            postgresql.insert(table)
            .values(values)
            .on_conflict_do_update(index_elements=keys, set_=change, where=newer)
        )

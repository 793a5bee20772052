"""What erasing a person means, table by table (decision 22).

Nothing here begins a transaction or asks whether he may be erased; ``people`` and ``retention`` do.
Rules —

- every table with a ``person_id`` is in ``DELETED`` or in ``CLEARED``; a test compares them with
  the tables, so that a new one cannot be forgotten;
- the person's key goes first of all: what a backup still holds does not open any more;
- closed loans go, and events lose the person: nothing shows any more what one child has read; the
  statistics keep their lines under a new random pseudonym, so that nobody can tie them to him;
- a bare row stays with the guardian's answers and their times, until retention removes it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import ColumnElement, Table, and_, delete, or_, true, update

from connector.domain.ids import PatronId
from connector.domain.patron import StandingState
from connector.ports.tasks import TaskKind
from connector.storage import tables
from connector.storage.repositories.person_rows import DATA_COLUMNS, change_person
from connector.storage.unit_of_work import UnitOfWork

__all__ = ["CLEARED", "DELETED", "clearable", "erase_rows"]

DELETED: tuple[Table, ...] = (
    tables.person_key,
    tables.identifier,
    tables.ils_account,
    tables.patron_quota,
    tables.class_membership,
    tables.leaver,
    tables.liaison,
    tables.card_issue,
    tables.violation,
    tables.loan,
)
"""Tables that keep nothing of an erased person."""

CLEARED: Mapping[Table, Mapping[str, object]] = MappingProxyType(
    {
        tables.person: dict.fromkeys((*DATA_COLUMNS, "expires")),
        tables.application: {
            "card": None,
            "card_proposal": "",
            "class_text": "",
            "grade": "",
            "district": "",
            "batch_row": None,
            "provenance": "{}",
        },
        tables.consent: {"evidence": ""},
        tables.undertaking: {"evidence": ""},
        tables.exchange: {"old_account": ""},
        tables.task: {"person_id": None},
        tables.event: {"person_id": None},
        tables.payment: {"person_id": None, "dedupe": ""},
    }
)
"""Table → what its columns are set to; the row stays."""

_STAYS_OPEN = frozenset({TaskKind.DEPOSIT_REFUND.value})


def clearable(table: Table) -> ColumnElement[bool]:
    """Return which rows of a table are cleared: of an exchange that still owes a family its deposit
    the old account stays until it is closed.
    """
    return table.c.closed_at.is_not(None) if table is tables.exchange else true()


def erase_rows(unit: UnitOfWork, patron_id: PatronId) -> None:
    """Erase a person who has no unclosed loan, within a unit of work."""
    for table in DELETED:
        unit.connection.execute(delete(table).where(table.c.person_id == patron_id))
    task = tables.task
    done = or_(task.c.done_at.is_not(None), task.c.kind.not_in(_STAYS_OPEN))
    unit.connection.execute(delete(task).where(task.c.person_id == patron_id, done))
    for table, values in CLEARED.items():
        if table is not tables.person:
            unit.connection.execute(
                update(table)
                .where(and_(table.c.person_id == patron_id, clearable(table)))
                .values(**values)
            )
    fact = tables.circulation_fact
    unit.connection.execute(
        update(fact)
        .where(fact.c.pseudonym == unit.keyring.pseudonym(patron_id))
        .values(pseudonym=secrets.token_hex(16))
    )
    change_person(
        unit,
        patron_id,
        **CLEARED[tables.person],
        state=StandingState.WITHDRAWN.value,
        closing_step="",
        closing_next_at=None,
        erased_at=unit.now,
    )

"""The queue for ILSs that are away, in the database (``connector.ports.deferred``).

Nothing here talks to an ILS; ``connector.services.replay`` does. Rules —

- every change is conditional on the row still waiting, so that a late worker changes nothing;
- a row that a person must look at opens its task in the transaction that ends it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, Update, func, or_, select, update

from connector.domain.ids import InstitutionId, ItemId, PatronId
from connector.ports.deferred import (
    OUTDATED,
    UNRESOLVED,
    Backlog,
    Deferral,
    DeferredState,
    DeferredVerb,
    DeferredWork,
)
from connector.ports.ledger import Place
from connector.ports.tasks import TaskKind
from connector.storage import tables
from connector.storage.repositories.deferred_rows import add_work, of_item, read_work, select_work
from connector.storage.repositories.loan_journal import change_loan
from connector.storage.repositories.tasks import finish_about, open_task
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredDeferred"]

_WORK = tables.deferred
_WORKER = "worker"
_WAITS = _WORK.c.state == DeferredState.WAITING.value
_UNRESOLVED = _WORK.c.state.in_([state.value for state in sorted(UNRESOLVED)])
_FOR_A_PERSON = frozenset({DeferredState.SKIPPED, DeferredState.CONFLICT})
_IS_WAITING = (
    "SELECT 1 FROM deferred WHERE owner = ? AND barcode = ? AND institution = ? "
    "AND state = 'waiting' AND verb <> 'confirm_return' LIMIT 1"
)


class StoredDeferred:
    """The queues in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    @retry_once
    def lease_next(self, institution: InstitutionId, *, lease: timedelta) -> DeferredWork | None:
        """Lease the first row that may be told now."""
        earlier = _WORK.alias()
        is_first = ~(
            select(earlier.c.seq)
            .where(earlier.c.institution == _WORK.c.institution)
            .where(earlier.c.owner == _WORK.c.owner, earlier.c.barcode == _WORK.c.barcode)
            .where(earlier.c.state == DeferredState.WAITING.value, earlier.c.seq < _WORK.c.seq)
            .where(earlier.c.verb != DeferredVerb.CONFIRM_RETURN.value)
            .exists()
        )
        ready = (
            select(_WORK.c.seq)
            .where(_WORK.c.institution == institution, _WAITS, is_first)
            .order_by(_WORK.c.seq)
            .limit(1)
        )
        free = or_(_WORK.c.lease_until.is_(None), _WORK.c.lease_until <= self._work.now())
        with self._work.database.read() as connection:
            if connection.execute(ready.where(free)).first() is None:
                return None
        with self._work.begin() as unit:
            free = or_(_WORK.c.lease_until.is_(None), _WORK.c.lease_until <= unit.now)
            seq = unit.connection.scalar(
                ready.where(free).with_for_update(skip_locked=True, of=_WORK)
            )
            if seq is None:
                return None
            unit.connection.execute(
                _waiting(seq).values(lease_until=unit.now + lease, tried_at=unit.now)
            )
            return _require(unit, seq)

    @retry_once
    def mark_sent(self, work: DeferredWork, *, lease: timedelta) -> bool:
        """Commit that the ILS is being told, if the row is still leased as ``work`` was read."""
        with self._work.begin() as unit:
            changed = unit.connection.execute(
                _waiting(work.seq)
                .where(_WORK.c.lease_until.is_not(None), _WORK.c.tried_at == work.tried_at)
                .values(sent_at=unit.now, first_absent_at=None, lease_until=unit.now + lease)
            )
            return changed.rowcount == 1

    @retry_once
    def release(self, seq: int, *, was_sent: bool) -> None:
        """Give a row back."""
        values: dict[str, object] = {"lease_until": None}
        if not was_sent:
            values["sent_at"] = None
        with self._work.begin() as unit:
            unit.connection.execute(_waiting(seq).values(values))

    @retry_once
    def put_off(self, seq: int, *, until: datetime, failed: bool, reason: str = "") -> None:
        """Leave a row alone until then."""
        values: dict[str, object] = {"lease_until": until}
        if failed:
            values |= {"attempts": _WORK.c.attempts + 1, "reason": reason}
        with self._work.begin() as unit:
            unit.connection.execute(_waiting(seq).values(values))

    @retry_once
    def note_absent(self, seq: int) -> datetime:
        """Remember when the ILS first answered that it has not taken effect."""
        with self._work.begin() as unit:
            first = func.coalesce(_WORK.c.first_absent_at, unit.now)
            unit.connection.execute(_waiting(seq).values(first_absent_at=first))
            return _require(unit, seq).first_absent_at or unit.now

    @retry_once
    def forget_absent(self, institution: InstitutionId) -> None:
        """The ILS was away: such answers do not count any more."""
        noted = (_WORK.c.institution == institution) & _WORK.c.first_absent_at.is_not(None) & _WAITS
        with self._work.database.read() as connection:
            if connection.execute(select(_WORK.c.seq).where(noted).limit(1)).first() is None:
                return
        with self._work.begin() as unit:
            unit.connection.execute(update(_WORK).where(noted).values(first_absent_at=None))

    @retry_once
    def finish(
        self,
        seq: int,
        state: DeferredState,
        *,
        reason: str = "",
        due: datetime | None = None,
        due_mismatch: bool = False,
        facts: Mapping[str, str | int] | None = None,
        refused: bool = False,
    ) -> None:
        """End a row that waits, with a task where a person must look."""
        with self._work.begin() as unit:
            ends = state not in UNRESOLVED
            changed = unit.connection.execute(
                _waiting(seq).values(
                    state=state.value,
                    reason=reason,
                    lease_until=None,
                    first_absent_at=None,
                    done_at=unit.now if ends else None,
                    done_by=_WORKER if ends else "",
                )
            )
            if changed.rowcount != 1:
                return
            if refused:
                unit.connection.execute(
                    update(_WORK).where(_WORK.c.seq == seq).values(sent_at=None)
                )
            work = _require(unit, seq)
            if due is not None and work.loan_id is not None:
                change_loan(unit, work.loan_id, due=due, due_mismatch=due_mismatch)
            if state in _FOR_A_PERSON:
                _open_task(unit, work, facts or {})
            _audit(unit, work, _WORKER)

    @retry_once
    def list_outdated(
        self,
        item: ItemId,
        place: Place,
        deferral: Deferral,
        *,
        occurred_at: datetime,
        patron_id: PatronId | None = None,
    ) -> None:
        """Add a row that is skipped from the beginning, with its task; a repeat adds nothing."""
        same = (
            select(_WORK.c.seq)
            .where(_WORK.c.institution == deferral.institution, of_item(item))
            .where(_WORK.c.verb == deferral.verb.value, _WORK.c.reason == OUTDATED)
            .where(_WORK.c.occurred_at == occurred_at)
        )
        with self._work.begin() as unit:
            if unit.connection.execute(same).first() is not None:
                return
            seq = add_work(unit, deferral, item, place, occurred_at=occurred_at, loan_id=None)
            unit.connection.execute(
                _waiting(seq).values(state=DeferredState.SKIPPED.value, reason=OUTDATED)
            )
            work = _require(unit, seq)
            _open_task(unit, work, {}, patron_id=patron_id)
            _audit(unit, work, place.terminal or _WORKER)

    @retry_once
    def resolve(self, seq: int, state: DeferredState, *, actor: str, reason: str) -> bool:
        """A person ends a row, or has it tried again; say whether it waited for one."""
        allowed = {each.value for each in _FOR_A_PERSON}
        if state is DeferredState.DROPPED:
            allowed.add(DeferredState.WAITING.value)
        with self._work.begin() as unit:
            again = state is DeferredState.WAITING
            changed = unit.connection.execute(
                update(_WORK)
                .where(_WORK.c.seq == seq, _WORK.c.state.in_(allowed))
                .values(
                    state=state.value,
                    lease_until=None,
                    first_absent_at=None,
                    attempts=0,
                    done_at=None if again else unit.now,
                    done_by="" if again else actor,
                )
            )
            if changed.rowcount != 1:
                return False
            work = _require(unit, seq)
            finish_about(
                unit,
                work.institution,
                TaskKind.AWAY_CONFLICT,
                about=_about(seq),
                outcome="again" if again else state.value,
                actor=actor,
            )
            _audit(unit, work, actor, reason=reason)
            return True

    def find_work(self, seq: int) -> DeferredWork | None:
        """Return one row."""
        with self._work.database.read() as connection:
            row = connection.execute(select_work().where(_WORK.c.seq == seq)).one_or_none()
        return None if row is None else read_work(row)

    def list_unresolved(
        self, institution: InstitutionId | None = None, *, limit: int = 1000
    ) -> tuple[DeferredWork, ...]:
        """Return what waits for the ILS or for a person, in order."""
        query = select_work().where(_UNRESOLVED).order_by(_WORK.c.seq).limit(limit)
        if institution is not None:
            query = query.where(_WORK.c.institution == institution)
        with self._work.database.read() as connection:
            return tuple(read_work(row) for row in connection.execute(query))

    def find_unresolved(
        self, institution: InstitutionId, items: Sequence[ItemId]
    ) -> tuple[DeferredWork, ...]:
        """Return what one library's ILS does not know of these items, in order."""
        return self._find(institution, items, _UNRESOLVED)

    def find_unheard(
        self, institution: InstitutionId, items: Sequence[ItemId], *, at: datetime
    ) -> tuple[DeferredWork, ...]:
        """Return what one library's ILS did not know of these items at a moment, in order."""
        return self._find(institution, items, or_(_UNRESOLVED, _WORK.c.done_at >= at))

    def _find(
        self, institution: InstitutionId, items: Sequence[ItemId], condition: ColumnElement[bool]
    ) -> tuple[DeferredWork, ...]:
        if not items:
            return ()
        query = (
            select_work()
            .where(_WORK.c.institution == institution, condition)
            .where(or_(*(of_item(item) for item in items)))
            .order_by(_WORK.c.seq)
        )
        with self._work.database.read() as connection:
            return tuple(read_work(row) for row in connection.execute(query))

    def list_of_patron(
        self, institution: InstitutionId, patron_id: PatronId
    ) -> tuple[DeferredWork, ...]:
        """Return what one library's ILS does not know of this patron's loans."""
        query = (
            select_work()
            .where(_WORK.c.institution == institution, _UNRESOLVED)
            .where(tables.loan.c.person_id == patron_id)
            .order_by(_WORK.c.seq)
        )
        with self._work.database.read() as connection:
            return tuple(read_work(row) for row in connection.execute(query))

    def list_told(self, item: ItemId, *, since: datetime) -> tuple[DeferredWork, ...]:
        """Return what the ILSs were told of an item since then."""
        query = (
            select_work()
            .where(of_item(item), _WORK.c.state == DeferredState.DONE.value)
            .where(_WORK.c.done_at >= since)
            .order_by(_WORK.c.seq)
        )
        with self._work.database.read() as connection:
            return tuple(read_work(row) for row in connection.execute(query))

    def is_waiting(self, institution: InstitutionId, item: ItemId) -> bool:
        """Say whether anything about the item waits for this ILS."""
        return bool(self._work.database.fetch(_IS_WAITING, (item.owner, item.barcode, institution)))

    def list_backlogs(self) -> tuple[Backlog, ...]:
        """Return the queue of every library that has one."""
        column = _WORK.c
        query = (
            select(
                column.institution,
                column.state,
                column.owner,
                func.count().label("number"),
                func.min(column.recorded_at).label("oldest"),
                func.min(column.recorded_at).filter(column.attempts == 0).label("untried"),
            )
            .where(_UNRESOLVED)
            .group_by(column.institution, column.state, column.owner)
            .order_by(column.institution)
        )
        with self._work.database.read() as connection:
            rows = connection.execute(query).all()
        return tuple(
            _sum_up(InstitutionId(code), [row for row in rows if row.institution == code])
            for code in dict.fromkeys(row.institution for row in rows)
        )


def _sum_up(institution: InstitutionId, rows: Sequence[Row[Any]]) -> Backlog:
    owners: Counter[InstitutionId] = Counter()
    conflicts = 0
    oldest: list[datetime] = []
    untried: list[datetime] = []
    for row in rows:
        if row.state != DeferredState.WAITING.value:
            conflicts += row.number
            continue
        owners[InstitutionId(row.owner)] += row.number
        oldest.append(row.oldest)
        if row.untried is not None:
            untried.append(row.untried)
    return Backlog(
        institution,
        waiting=owners.total(),
        conflicts=conflicts,
        oldest=min(oldest, default=None),
        untried_since=min(untried, default=None),
        owners=dict(sorted(owners.items())),
    )


def _waiting(seq: int) -> Update:
    return update(_WORK).where(_WORK.c.seq == seq, _WAITS)


def _require(unit: UnitOfWork, seq: int) -> DeferredWork:
    return read_work(unit.connection.execute(select_work().where(_WORK.c.seq == seq)).one())


def _about(seq: int) -> str:
    return f"deferred:{seq}"


def _open_task(
    unit: UnitOfWork,
    work: DeferredWork,
    facts: Mapping[str, str | int],
    *,
    patron_id: PatronId | None = None,
) -> None:
    ours: dict[str, str | int] = {
        "seq": work.seq,
        "verb": work.verb.value,
        "item": str(work.item),
        "occurred_at": work.occurred_at.isoformat(timespec="seconds"),
        "reason": work.reason,
    }
    if work.loan_id is not None:
        ours["loan"] = work.loan_id
    open_task(
        unit,
        work.institution,
        TaskKind.AWAY_CONFLICT,
        about=_about(work.seq),
        patron_id=patron_id,
        detail=ours | {f"ils_{name}": value for name, value in facts.items()},
        actor=_WORKER,
    )


def _audit(unit: UnitOfWork, work: DeferredWork, actor: str, *, reason: str = "") -> None:
    unit.audit(
        f"deferred.{work.state.value}",
        actor=actor,
        subject=work.loan_id or "",
        detail={"seq": work.seq, "verb": work.verb.value, "reason": reason or work.reason},
        institution=work.institution,
    )

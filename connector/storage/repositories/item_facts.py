"""Language class and shelving per item (``connector.ports.store.ItemFactsStore``, decision 13).

Nothing here classifies anything.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, insert, select, update

from connector.domain.ids import Barcode, InstitutionId, ItemId
from connector.domain.item import LanguageClass, Shelving
from connector.ports.store import ItemFacts
from connector.storage import tables
from connector.storage.engine import parse_moment
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredItemFacts"]

_FETCH = (
    "SELECT language, shelving, source, as_of, clc_class FROM item_facts "
    "WHERE owner = ? AND barcode = ?"
)
_CHUNK = 500
_VALUES = ("language", "shelving", "source", "as_of", "clc_class")


class StoredItemFacts:
    """Item facts in our own database."""

    def __init__(self, work: UnitOfWorkFactory) -> None:
        self._work = work

    def fetch_item_facts(self, item: ItemId) -> ItemFacts | None:
        """Return what is known, or None."""
        rows = self._work.database.fetch(_FETCH, (item.owner, item.barcode))
        if not rows:
            return None
        language, shelving, source, as_of, clc_class = rows[0]
        moment = parse_moment(as_of)
        assert moment is not None  # noqa: S101 - the column is NOT NULL
        return ItemFacts(
            item, LanguageClass(language), Shelving(shelving), source, moment, clc_class
        )

    @retry_once
    def save_item_facts(self, facts: Sequence[ItemFacts]) -> int:
        """Insert or replace; return how many rows changed. Of one item's facts the last counts."""
        latest = list({fact.item: fact for fact in facts}.values())
        with self._work.begin() as unit:
            changed = sum(
                _save_chunk(unit, latest[start : start + _CHUNK])
                for start in range(0, len(latest), _CHUNK)
            )
            if changed:
                unit.audit("item_facts.saved", actor="register", detail={"count": changed})
            return changed


def _save_chunk(unit: UnitOfWork, facts: Sequence[ItemFacts]) -> int:
    table = tables.item_facts
    present = {
        ItemId(InstitutionId(row.owner), Barcode(row.barcode)): row
        for row in unit.connection.execute(
            select(table).where(table.c.barcode.in_([fact.item.barcode for fact in facts]))
        )
    }
    new = [_row(fact) for fact in facts if fact.item not in present]
    old = [
        _row(fact)
        for fact in facts
        if fact.item in present
        and any(getattr(present[fact.item], name) != _row(fact)[name] for name in _VALUES)
    ]
    if new:
        unit.connection.execute(insert(table), new)
    if old:
        statement = (
            update(table)
            .where(table.c.owner == bindparam("the_owner"))
            .where(table.c.barcode == bindparam("the_barcode"))
            .values({name: bindparam(f"new_{name}") for name in _VALUES})
        )
        unit.connection.execute(
            statement,
            [
                {"the_owner": row["owner"], "the_barcode": row["barcode"]}
                | {f"new_{name}": row[name] for name in _VALUES}
                for row in old
            ],
        )
    return len(new) + len(old)


def _row(fact: ItemFacts) -> dict[str, object]:
    return {
        "owner": fact.item.owner,
        "barcode": fact.item.barcode,
        "language": fact.language.value,
        "shelving": fact.shelving.value,
        "source": fact.source,
        "as_of": fact.as_of,
        "clc_class": fact.clc_class,
    }

"""Bibs and items of the embedded ILS.

Nothing here lends. Rules: the record is kept as it came; what searching and lending need is read
from it once, when it is stored.
"""

from __future__ import annotations

from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from adapters.local.base import LocalBase
from adapters.local.mapping import parse_moment, text_of
from connector.domain.bib import BibSummary
from connector.domain.ids import Barcode
from connector.errors import NotFound
from connector.marc.map import summarise_bib
from connector.ports.ils import BibHit, Holding, ItemInput, MarcDialect

__all__ = ["LocalCatalogue"]

_MAX_WORDS = 20


class LocalCatalogue(LocalBase):
    """The ``Catalogue`` part of the port."""

    def search_bibs(self, query: str, *, limit: int = 50) -> tuple[BibHit, ...]:
        """Return bibs that have every word of the query in title, author, ISBN or publisher."""
        words = query.lower().split()[:_MAX_WORDS]
        if not words:
            return ()
        where = " AND ".join("search LIKE ? ESCAPE '\\'" for _ in words)
        with self.database.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT id, title, author, isbn, record, dialect FROM bib"  # noqa: S608 -- placeholders
                f" WHERE {where} ORDER BY id LIMIT ?",
                (*(f"%{_escape(word)}%" for word in words), limit),
            ).fetchall()
        return tuple(BibHit(str(row[0]), row[1], row[2], row[3], row[4], row[5]) for row in rows)

    def fetch_holdings(self, bib_id: str) -> tuple[Holding, ...]:
        """Return the items of a bib; none when there is no such bib."""
        with self.database.read() as connection:
            rows = connection.exec_driver_sql(
                "SELECT i.barcode, i.branch, i.location, i.call_number, l.due, i.status = '03'"
                " AND l.id IS NULL AND NOT EXISTS (SELECT 1 FROM hold h WHERE h.shelf_item_id ="
                " i.id AND h.ended_at IS NULL)"
                " FROM item i LEFT JOIN loan l ON l.item_id = i.id AND l.returned_at IS NULL"
                " WHERE i.bib_id = ? ORDER BY i.id",
                (_row_id(bib_id),),
            ).fetchall()
        return tuple(
            Holding(
                bib_id, Barcode(row[0]), row[1], row[2], row[3], bool(row[5]), parse_moment(row[4])
            )
            for row in rows
        )

    def add_bib(self, record: bytes, dialect: MarcDialect) -> str:
        """Store a record; raises ``RecordError`` when it cannot be read."""
        summary = summarise_bib(record, dialect)
        with self.database.write() as connection:
            return str(
                connection.exec_driver_sql(
                    "INSERT INTO bib (dialect, record, title, author, isbn, languages, clc_class,"
                    " search, updated_at)"
                    " VALUES (?,?,?,?,?,?,?,?,?) RETURNING id",
                    self._bib_values(record, dialect, summary),
                ).scalar_one()
            )

    def update_bib(self, bib_id: str, record: bytes, dialect: MarcDialect) -> None:
        """Replace a record; raises ``NotFound`` or ``RecordError``."""
        summary = summarise_bib(record, dialect)
        with self.database.write() as connection:
            done = connection.exec_driver_sql(
                "UPDATE bib SET dialect=?, record=?, title=?, author=?, isbn=?, languages=?,"
                " clc_class=?, search=?,"
                " updated_at=? WHERE id=?",
                (*self._bib_values(record, dialect, summary), _row_id(bib_id)),
            )
            if done.rowcount == 0:
                raise NotFound("bib")

    def _bib_values(
        self, record: bytes, dialect: MarcDialect, summary: BibSummary
    ) -> tuple[object, ...]:
        search = f"{summary.title} {summary.author} {summary.isbn} {summary.publisher}".lower()
        return (
            dialect,
            record,
            summary.title,
            summary.author,
            summary.isbn,
            " ".join(summary.languages),
            summary.clc_class,
            search,
            text_of(self.now()),
        )

    def delete_bib(self, bib_id: str) -> None:
        """Remove a bib; raises ``NotFound`` or ``UnexpectedResponse`` ``has_items``."""
        row_id = _row_id(bib_id)
        with self.database.write() as connection:
            if (
                connection.exec_driver_sql(
                    "SELECT 1 FROM item WHERE bib_id = ?", (row_id,)
                ).fetchone()
                is not None
            ):
                raise self.fail("has_items")
            connection.exec_driver_sql("DELETE FROM hold WHERE bib_id = ?", (row_id,))
            if connection.exec_driver_sql("DELETE FROM bib WHERE id = ?", (row_id,)).rowcount == 0:
                raise NotFound("bib")

    def add_item(self, bib_id: str, item: ItemInput) -> None:
        """Add an item; raises ``NotFound``, ``UnexpectedResponse`` ``duplicate_barcode``."""
        row_id = _row_id(bib_id)
        try:
            with self.database.write() as connection:
                if (
                    connection.exec_driver_sql(
                        "SELECT 1 FROM bib WHERE id = ?", (row_id,)
                    ).fetchone()
                    is None
                ):
                    raise NotFound("bib")
                connection.exec_driver_sql(
                    "INSERT INTO item (barcode, bib_id, item_type, location, branch, collection,"
                    " call_number, price,"
                    " unsuitable) VALUES (?,?,?,?,?,?,?,?,?)",
                    (
                        item.barcode,
                        row_id,
                        item.item_type,
                        item.location,
                        item.branch,
                        item.collection,
                        item.call_number,
                        None if item.price is None else str(item.price),
                        int(item.unsuitable),
                    ),
                )
        except IntegrityError as err:
            raise self.fail("duplicate_barcode") from err

    def delete_item(self, barcode: Barcode) -> None:
        """Remove an item with its history; raises ``UnexpectedResponse`` ``on_loan``."""
        with self.database.write() as connection:
            item = self.find_item_row(connection, barcode)
            if item is None:
                raise NotFound("item")
            if item.loan_id is not None:
                raise self.fail("on_loan")
            self._forget_item(connection, item.row_id)

    def _forget_item(self, connection: Connection, row_id: int) -> None:
        """Drop what points at the item; its hold on the shelf waits for another copy again."""
        for statement in (
            "DELETE FROM hold WHERE item_id = ?",
            "UPDATE hold SET shelf_item_id = NULL, shelf_until = NULL WHERE shelf_item_id = ?",
            "DELETE FROM loan WHERE item_id = ?",
            "UPDATE fee SET item_id = NULL WHERE item_id = ?",
            "DELETE FROM item WHERE id = ?",
        ):
            connection.exec_driver_sql(statement, (row_id,))


def _row_id(bib_id: str) -> int:
    """Return the row number of a bib id; -1, which no row has, when it is none of ours."""
    return int(bib_id) if bib_id.isascii() and bib_id.isdigit() and len(bib_id) < 19 else -1


def _escape(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")

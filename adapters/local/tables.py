"""The tables of the embedded ILS, as SQLAlchemy metadata: what the migrations must add up to.

Nothing here runs a statement; they are plain SQL beside their use. Rules: a moment is text, ISO
8601 in UTC with microseconds and ``+00:00``, so that text order is time order; money is text.
"""

from __future__ import annotations

from sqlalchemy import Column, ForeignKey, Index, Integer, LargeBinary, MetaData, Table, Text, text

__all__ = ["METADATA"]

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _link(name: str, target: str, *, nullable: bool = False) -> Column[int]:
    return Column(name, Integer, ForeignKey(target), nullable=nullable)


Table(
    "bib",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("dialect", Text, nullable=False),
    Column("record", LargeBinary, nullable=False),
    _text("title"),
    _text("author"),
    _text("isbn"),
    _text("languages"),
    _text("clc_class"),
    _text("search"),
    Column("updated_at", Text, nullable=False),
)

Table(
    "item",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("barcode", Text, nullable=False, unique=True),
    _link("bib_id", "bib.id"),
    _text("item_type"),
    _text("location"),
    _text("current_location"),
    _text("branch"),
    _text("collection"),
    _text("call_number"),
    Column("price", Text),
    Column("media_type", Text, nullable=False, server_default="001"),
    Column("unsuitable", Integer, nullable=False, server_default="0"),
    _text("properties"),
    Column("status", Text, nullable=False, server_default="03"),
    Index("ix_item_bib_id", "bib_id"),
)

Table(
    "patron",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("external_id", Text, unique=True),
    Column("card", Text, nullable=False, unique=True),
    _text("name"),
    _text("category"),
    _text("home_branch"),
    Column("birth_date", Text),
    Column("expires", Text),
    _text("phone"),
    Column("pin_hash", Text),
    _text("school"),
    _text("class_name"),
    Column("closed_at", Text),
)

Table(
    "patron_identifier",
    METADATA,
    _link("patron_id", "patron.id"),
    Column("kind", Text, primary_key=True),
    Column("value", Text, primary_key=True),
    Index("ix_patron_identifier_patron_id", "patron_id"),
    Index("ix_patron_identifier_value", "value"),
)

Table(
    "block",
    METADATA,
    Column("patron_id", Integer, ForeignKey("patron.id"), primary_key=True),
    Column("reason", Text, primary_key=True),
    Column("at", Text, nullable=False),
)

Table(
    "loan",
    METADATA,
    Column("id", Integer, primary_key=True),
    _link("item_id", "item.id"),
    _link("patron_id", "patron.id"),
    Column("checked_out_at", Text, nullable=False),
    Column("due", Text, nullable=False),
    Column("renewals", Integer, nullable=False, server_default="0"),
    Column("renewed_at", Text),
    Column("returned_at", Text),
    Column("forced", Integer, nullable=False, server_default="0"),
    _text("terminal"),
    Index("uq_loan_open_item", "item_id", unique=True, sqlite_where=text("returned_at IS NULL")),
    Index("ix_loan_open_patron", "patron_id", sqlite_where=text("returned_at IS NULL")),
    Index("ix_loan_item_id", "item_id"),
    Index("ix_loan_patron_id", "patron_id"),
)

Table(
    "hold",
    METADATA,
    Column("id", Integer, primary_key=True),
    _link("bib_id", "bib.id"),
    _link("item_id", "item.id", nullable=True),
    _link("patron_id", "patron.id"),
    Column("hold_type", Text, nullable=False, server_default="2"),
    Column("placed_at", Text, nullable=False),
    Column("expires", Text),
    _text("pickup"),
    Column("shelf_item_id", Integer, ForeignKey("item.id")),
    Column("shelf_until", Text),
    Column("ended_at", Text),
    Column("ended_as", Text),
    Index("ix_hold_open_bib", "bib_id", sqlite_where=text("ended_at IS NULL")),
    Index("ix_hold_open_patron", "patron_id", sqlite_where=text("ended_at IS NULL")),
    Index(
        "uq_hold_open_patron_bib",
        "patron_id",
        "bib_id",
        unique=True,
        sqlite_where=text("ended_at IS NULL"),
    ),
    Index(
        "uq_hold_shelf_item", "shelf_item_id", unique=True, sqlite_where=text("ended_at IS NULL")
    ),
)

Table(
    "fee",
    METADATA,
    Column("id", Integer, primary_key=True),
    _link("patron_id", "patron.id"),
    _link("item_id", "item.id", nullable=True),
    Column("fee_type", Text, nullable=False),
    Column("amount", Text, nullable=False),
    Column("paid", Text, nullable=False, server_default="0"),
    Column("currency", Text, nullable=False),
    _text("description"),
    Column("at", Text, nullable=False),
    Column("settled_at", Text),
    Index("ix_fee_open_patron", "patron_id", sqlite_where=text("settled_at IS NULL")),
)

Table(
    "payment",
    METADATA,
    Column("id", Integer, primary_key=True),
    _link("patron_id", "patron.id"),
    Column("transaction_id", Text, unique=True),
    Column("fee_id", Integer, ForeignKey("fee.id")),
    Column("amount", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("fee_type", Text, nullable=False),
    Column("payment_type", Text, nullable=False),
    Column("at", Text, nullable=False),
)

Table(
    "change",
    METADATA,
    Column("id", Integer, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("at", Text, nullable=False),
    Column("barcode", Text, nullable=False),
    Column("card", Text),
    Column("due", Text),
    Index("ix_change_at", "at"),
)

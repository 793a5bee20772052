"""The first tables of the embedded ILS.

Revision: 0001, after nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "bib",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("dialect", sa.Text(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("author", sa.Text(), server_default="", nullable=False),
        sa.Column("isbn", sa.Text(), server_default="", nullable=False),
        sa.Column("languages", sa.Text(), server_default="", nullable=False),
        sa.Column("clc_class", sa.Text(), server_default="", nullable=False),
        sa.Column("search", sa.Text(), server_default="", nullable=False),
        sa.Column("updated_at", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bib")),
    )
    op.create_table(
        "change",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("barcode", sa.Text(), nullable=False),
        sa.Column("card", sa.Text(), nullable=True),
        sa.Column("due", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change")),
    )
    op.create_index("ix_change_at", "change", ["at"], unique=False)
    op.create_table(
        "patron",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=True),
        sa.Column("card", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("category", sa.Text(), server_default="", nullable=False),
        sa.Column("home_branch", sa.Text(), server_default="", nullable=False),
        sa.Column("birth_date", sa.Text(), nullable=True),
        sa.Column("expires", sa.Text(), nullable=True),
        sa.Column("phone", sa.Text(), server_default="", nullable=False),
        sa.Column("pin_hash", sa.Text(), nullable=True),
        sa.Column("school", sa.Text(), server_default="", nullable=False),
        sa.Column("class_name", sa.Text(), server_default="", nullable=False),
        sa.Column("closed_at", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_patron")),
        sa.UniqueConstraint("card", name=op.f("uq_patron_card")),
        sa.UniqueConstraint("external_id", name=op.f("uq_patron_external_id")),
    )
    op.create_table(
        "block",
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["patron_id"], ["patron.id"], name=op.f("fk_block_patron_id")),
        sa.PrimaryKeyConstraint("patron_id", "reason", name=op.f("pk_block")),
    )
    op.create_table(
        "item",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("barcode", sa.Text(), nullable=False),
        sa.Column("bib_id", sa.Integer(), nullable=False),
        sa.Column("item_type", sa.Text(), server_default="", nullable=False),
        sa.Column("location", sa.Text(), server_default="", nullable=False),
        sa.Column("current_location", sa.Text(), server_default="", nullable=False),
        sa.Column("branch", sa.Text(), server_default="", nullable=False),
        sa.Column("collection", sa.Text(), server_default="", nullable=False),
        sa.Column("call_number", sa.Text(), server_default="", nullable=False),
        sa.Column("price", sa.Text(), nullable=True),
        sa.Column("media_type", sa.Text(), server_default="001", nullable=False),
        sa.Column("unsuitable", sa.Integer(), server_default="0", nullable=False),
        sa.Column("properties", sa.Text(), server_default="", nullable=False),
        sa.Column("status", sa.Text(), server_default="03", nullable=False),
        sa.ForeignKeyConstraint(["bib_id"], ["bib.id"], name=op.f("fk_item_bib_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_item")),
        sa.UniqueConstraint("barcode", name=op.f("uq_item_barcode")),
    )
    op.create_index("ix_item_bib_id", "item", ["bib_id"], unique=False)
    op.create_table(
        "patron_identifier",
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["patron_id"], ["patron.id"], name=op.f("fk_patron_identifier_patron_id")),
        sa.PrimaryKeyConstraint("kind", "value", name=op.f("pk_patron_identifier")),
    )
    op.create_index("ix_patron_identifier_patron_id", "patron_identifier", ["patron_id"], unique=False)
    op.create_index("ix_patron_identifier_value", "patron_identifier", ["value"], unique=False)
    op.create_table(
        "fee",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=True),
        sa.Column("fee_type", sa.Text(), nullable=False),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.Column("paid", sa.Text(), server_default="0", nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.Column("settled_at", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_fee_item_id")),
        sa.ForeignKeyConstraint(["patron_id"], ["patron.id"], name=op.f("fk_fee_patron_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_fee")),
    )
    op.create_index(
        "ix_fee_open_patron", "fee", ["patron_id"], unique=False, sqlite_where=sa.text("settled_at IS NULL")
    )
    op.create_table(
        "hold",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("bib_id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=True),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("hold_type", sa.Text(), server_default="2", nullable=False),
        sa.Column("placed_at", sa.Text(), nullable=False),
        sa.Column("expires", sa.Text(), nullable=True),
        sa.Column("pickup", sa.Text(), server_default="", nullable=False),
        sa.Column("shelf_item_id", sa.Integer(), nullable=True),
        sa.Column("shelf_until", sa.Text(), nullable=True),
        sa.Column("ended_at", sa.Text(), nullable=True),
        sa.Column("ended_as", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["bib_id"], ["bib.id"], name=op.f("fk_hold_bib_id")),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_hold_item_id")),
        sa.ForeignKeyConstraint(["patron_id"], ["patron.id"], name=op.f("fk_hold_patron_id")),
        sa.ForeignKeyConstraint(["shelf_item_id"], ["item.id"], name=op.f("fk_hold_shelf_item_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
    )
    op.create_index(
        "ix_hold_open_bib", "hold", ["bib_id"], unique=False, sqlite_where=sa.text("ended_at IS NULL")
    )
    op.create_index(
        "ix_hold_open_patron", "hold", ["patron_id"], unique=False, sqlite_where=sa.text("ended_at IS NULL")
    )
    op.create_index(
        "uq_hold_open_patron_bib",
        "hold",
        ["patron_id", "bib_id"],
        unique=True,
        sqlite_where=sa.text("ended_at IS NULL"),
    )
    op.create_index(
        "uq_hold_shelf_item", "hold", ["shelf_item_id"], unique=True, sqlite_where=sa.text("ended_at IS NULL")
    )
    op.create_table(
        "loan",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("item_id", sa.Integer(), nullable=False),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("checked_out_at", sa.Text(), nullable=False),
        sa.Column("due", sa.Text(), nullable=False),
        sa.Column("renewals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("renewed_at", sa.Text(), nullable=True),
        sa.Column("returned_at", sa.Text(), nullable=True),
        sa.Column("forced", sa.Integer(), server_default="0", nullable=False),
        sa.Column("terminal", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["item_id"], ["item.id"], name=op.f("fk_loan_item_id")),
        sa.ForeignKeyConstraint(["patron_id"], ["patron.id"], name=op.f("fk_loan_patron_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_loan")),
    )
    op.create_index("ix_loan_item_id", "loan", ["item_id"], unique=False)
    op.create_index(
        "ix_loan_open_patron",
        "loan",
        ["patron_id"],
        unique=False,
        sqlite_where=sa.text("returned_at IS NULL"),
    )
    op.create_index("ix_loan_patron_id", "loan", ["patron_id"], unique=False)
    op.create_index(
        "uq_loan_open_item", "loan", ["item_id"], unique=True, sqlite_where=sa.text("returned_at IS NULL")
    )
    op.create_table(
        "payment",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("patron_id", sa.Integer(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=True),
        sa.Column("fee_id", sa.Integer(), nullable=True),
        sa.Column("amount", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("fee_type", sa.Text(), nullable=False),
        sa.Column("payment_type", sa.Text(), nullable=False),
        sa.Column("at", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["fee_id"], ["fee.id"], name=op.f("fk_payment_fee_id")),
        sa.ForeignKeyConstraint(["patron_id"], ["patron.id"], name=op.f("fk_payment_patron_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment")),
        sa.UniqueConstraint("transaction_id", name=op.f("uq_payment_transaction_id")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("payment")
    op.drop_index("uq_loan_open_item", table_name="loan", sqlite_where=sa.text("returned_at IS NULL"))
    op.drop_index("ix_loan_patron_id", table_name="loan")
    op.drop_index("ix_loan_open_patron", table_name="loan", sqlite_where=sa.text("returned_at IS NULL"))
    op.drop_index("ix_loan_item_id", table_name="loan")
    op.drop_table("loan")
    op.drop_index("uq_hold_shelf_item", table_name="hold", sqlite_where=sa.text("ended_at IS NULL"))
    op.drop_index("uq_hold_open_patron_bib", table_name="hold", sqlite_where=sa.text("ended_at IS NULL"))
    op.drop_index("ix_hold_open_patron", table_name="hold", sqlite_where=sa.text("ended_at IS NULL"))
    op.drop_index("ix_hold_open_bib", table_name="hold", sqlite_where=sa.text("ended_at IS NULL"))
    op.drop_table("hold")
    op.drop_index("ix_fee_open_patron", table_name="fee", sqlite_where=sa.text("settled_at IS NULL"))
    op.drop_table("fee")
    op.drop_index("ix_patron_identifier_value", table_name="patron_identifier")
    op.drop_index("ix_patron_identifier_patron_id", table_name="patron_identifier")
    op.drop_table("patron_identifier")
    op.drop_index("ix_item_bib_id", table_name="item")
    op.drop_table("item")
    op.drop_table("block")
    op.drop_table("patron")
    op.drop_index("ix_change_at", table_name="change")
    op.drop_table("change")
    op.drop_table("bib")

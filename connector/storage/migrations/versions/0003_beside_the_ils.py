"""Add what waits for an ILS that is away, payments, switches of a library's mode, and clocks.

Revision: 0003, after 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from connector.storage.tables import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Apply."""
    op.add_column("application", sa.Column("handed_off_at", UtcDateTime(), nullable=True))
    op.create_table(
        "deferred",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("verb", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("barcode", sa.String(length=128), nullable=False),
        sa.Column("loan_id", sa.String(length=36), nullable=True),
        sa.Column("occurred_at", UtcDateTime(), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.Column("branch", sa.String(length=64), nullable=True),
        sa.Column("terminal", sa.String(length=64), nullable=True),
        sa.Column("terminal_kind", sa.String(length=32), server_default="", nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("reason", sa.String(length=64), server_default="", nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("first_absent_at", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_at", UtcDateTime(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("done_by", sa.String(length=64), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["loan_id"],
            ["loan.loan_id"],
            name=op.f("fk_deferred_loan_id_loan"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_deferred")),
    )
    op.create_index(
        op.f("ix_deferred_institution_state_seq"), "deferred", ["institution", "state", "seq"]
    )
    op.create_index(op.f("ix_deferred_owner_barcode"), "deferred", ["owner", "barcode"])
    op.create_index(op.f("ix_deferred_loan_id"), "deferred", ["loan_id"])
    op.create_table(
        "payment",
        sa.Column("payment_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("terminal", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("dedupe", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.String(length=64), nullable=False),
        sa.Column("currency", sa.String(length=32), nullable=False),
        sa.Column("fee_type", sa.String(length=32), nullable=False),
        sa.Column("payment_type", sa.String(length=32), nullable=False),
        sa.Column("transaction_id", sa.String(length=128), server_default="", nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("ils_code", sa.String(length=64), server_default="", nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=True),
        sa.Column("settled_by", sa.String(length=64), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_payment_person_id_person"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_payment")),
    )
    op.create_index(op.f("ix_payment_institution_state"), "payment", ["institution", "state"])
    op.create_index(op.f("ix_payment_dedupe"), "payment", ["dedupe"])
    op.create_index(op.f("ix_payment_person_id"), "payment", ["person_id"])
    op.create_table(
        "mode_switch",
        sa.Column("seq", _SERIAL, autoincrement=True, nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=32), nullable=False),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=True),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_mode_switch")),
    )
    op.create_index(op.f("ix_mode_switch_institution_seq"), "mode_switch", ["institution", "seq"])
    op.create_table(
        "terminal_clock",
        sa.Column("terminal", sa.String(length=64), nullable=False),
        sa.Column("offset_s", sa.Integer(), nullable=False),
        sa.Column("measured_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("terminal", name=op.f("pk_terminal_clock")),
    )
    op.create_index(
        "ix_loan_claimed",
        "loan",
        ["institution"],
        sqlite_where=sa.text("renewal_until IS NOT NULL"),
        postgresql_where=sa.text("renewal_until IS NOT NULL"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index("ix_loan_claimed", table_name="loan")
    op.drop_table("terminal_clock")
    op.drop_index(op.f("ix_mode_switch_institution_seq"), table_name="mode_switch")
    op.drop_table("mode_switch")
    op.drop_index(op.f("ix_payment_person_id"), table_name="payment")
    op.drop_index(op.f("ix_payment_dedupe"), table_name="payment")
    op.drop_index(op.f("ix_payment_institution_state"), table_name="payment")
    op.drop_table("payment")
    op.drop_index(op.f("ix_deferred_loan_id"), table_name="deferred")
    op.drop_index(op.f("ix_deferred_owner_barcode"), table_name="deferred")
    op.drop_index(op.f("ix_deferred_institution_state_seq"), table_name="deferred")
    op.drop_table("deferred")
    op.drop_column("application", "handed_off_at")

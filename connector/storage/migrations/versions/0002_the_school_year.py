"""Add classes, campaigns, batches that hold, cards, exchanges, tasks and feeds.

Revision: 0002, after 0001. Columns with a foreign key are added without it: SQLite cannot add the
key without copying the table.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from connector.storage.tables import Encrypted, UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "campaign",
        sa.Column("campaign_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("school_year", sa.Integer(), nullable=False),
        sa.Column("opens", sa.Date(), nullable=False),
        sa.Column("closes", sa.Date(), nullable=False),
        sa.Column("levels", sa.String(length=64), server_default="", nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("campaign_id", name=op.f("pk_campaign")),
        sa.UniqueConstraint("institution", "code", name=op.f("uq_campaign_institution_code")),
    )
    op.create_table(
        "feed_state",
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("last_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("last_run_at", UtcDateTime(), nullable=True),
        sa.Column("last_ok_at", UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.String(length=64), server_default="", nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("institution", "name", name=op.f("pk_feed_state")),
    )
    op.create_table(
        "school_calendar",
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("school_code", sa.String(length=64), server_default="", nullable=False),
        sa.Column("school_year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("first_day", sa.Date(), nullable=False),
        sa.Column("last_day", sa.Date(), nullable=False),
        sa.PrimaryKeyConstraint(
            "institution", "school_code", "school_year", name=op.f("pk_school_calendar")
        ),
    )
    op.create_table(
        "card_issue",
        sa.Column("issue_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("chargeable", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("issued_by", sa.String(length=64), nullable=False),
        sa.Column("issued_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.Column("ended_as", sa.String(length=32), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_card_issue_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("issue_id", name=op.f("pk_card_issue")),
        sa.UniqueConstraint(
            "person_id", "kind", "number", name=op.f("uq_card_issue_person_id_kind_number")
        ),
    )
    op.create_table(
        "exchange",
        sa.Column("exchange_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("issuer", sa.String(length=64), nullable=False),
        sa.Column("old_account", sa.String(length=64), nullable=False),
        sa.Column("mode", sa.String(length=32), nullable=False),
        sa.Column("deposit_held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("begun_by", sa.String(length=64), nullable=False),
        sa.Column("begun_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_exchange_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("exchange_id", name=op.f("pk_exchange")),
    )
    op.create_index(op.f("ix_exchange_state"), "exchange", ["state"], unique=False)
    op.create_table(
        "grade",
        sa.Column("grade_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("school_id", sa.String(length=36), nullable=False),
        sa.Column("level", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sort_order", sa.Integer(), server_default="0", nullable=False),
        sa.Column("remark", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.school_id"], name=op.f("fk_grade_school_id_school")
        ),
        sa.PrimaryKeyConstraint("grade_id", name=op.f("pk_grade")),
        sa.UniqueConstraint("school_id", "level", name=op.f("uq_grade_school_id_level")),
    )
    op.create_table(
        "liaison",
        sa.Column("liaison_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("school_id", sa.String(length=36), nullable=True),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("appointed_by", sa.String(length=64), nullable=False),
        sa.Column("appointed_at", UtcDateTime(), nullable=False),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_liaison_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.school_id"], name=op.f("fk_liaison_school_id_school")
        ),
        sa.PrimaryKeyConstraint("liaison_id", name=op.f("pk_liaison")),
    )
    op.create_table(
        "task",
        sa.Column("task_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("dedupe", sa.String(length=160), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.Column("opened_by", sa.String(length=64), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=False),
        sa.Column("done_by", sa.String(length=64), nullable=True),
        sa.Column("done_at", UtcDateTime(), nullable=True),
        sa.Column("outcome", sa.String(length=64), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_task_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_task")),
        sa.UniqueConstraint("dedupe", name=op.f("uq_task_dedupe")),
    )
    op.create_index(op.f("ix_task_institution_kind"), "task", ["institution", "kind"], unique=False)
    op.create_table(
        "leaver",
        sa.Column("batch_id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("serial", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("decided_by", sa.String(length=64), nullable=True),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batch.batch_id"], name=op.f("fk_leaver_batch_id_batch")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_leaver_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("batch_id", "person_id", name=op.f("pk_leaver")),
    )
    op.create_table(
        "school_class",
        sa.Column("class_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("grade_id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("sort_order", sa.Integer(), server_default="0", nullable=False),
        sa.Column("remark", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["grade_id"], ["grade.grade_id"], name=op.f("fk_school_class_grade_id_grade")
        ),
        sa.PrimaryKeyConstraint("class_id", name=op.f("pk_school_class")),
        sa.UniqueConstraint("grade_id", "name", name=op.f("uq_school_class_grade_id_name")),
    )
    op.create_table(
        "class_membership",
        sa.Column("membership_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("school_id", sa.String(length=36), nullable=False),
        sa.Column("class_id", sa.String(length=36), nullable=False),
        sa.Column("school_year", sa.Integer(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("until", sa.Date(), nullable=True),
        sa.Column("reason", sa.String(length=32), server_default="", nullable=False),
        sa.ForeignKeyConstraint(
            ["class_id"],
            ["school_class.class_id"],
            name=op.f("fk_class_membership_class_id_school_class"),
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_class_membership_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.school_id"], name=op.f("fk_class_membership_school_id_school")
        ),
        sa.PrimaryKeyConstraint("membership_id", name=op.f("pk_class_membership")),
    )
    op.create_index(
        op.f("ix_class_membership_class_id"), "class_membership", ["class_id"], unique=False
    )
    op.create_index(
        op.f("ix_class_membership_school_id_school_year"),
        "class_membership",
        ["school_id", "school_year"],
        unique=False,
    )
    op.create_index(
        "uq_class_membership_open",
        "class_membership",
        ["person_id"],
        unique=True,
        sqlite_where=sa.text("until IS NULL"),
        postgresql_where=sa.text("until IS NULL"),
    )
    op.add_column("application", sa.Column("campaign_id", sa.String(length=36), nullable=True))
    op.add_column(
        "application",
        sa.Column("on_roster", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column(
        "application", sa.Column("provenance", sa.Text(), server_default="{}", nullable=False)
    )
    op.add_column("batch", sa.Column("campaign_id", sa.String(length=36), nullable=True))
    op.add_column(
        "batch", sa.Column("source", sa.String(length=32), server_default="roster", nullable=False)
    )
    op.add_column(
        "batch",
        sa.Column("complete", sa.Boolean(), server_default=sa.text("false"), nullable=False),
    )
    op.add_column("batch", sa.Column("missing", sa.Integer(), server_default="0", nullable=False))
    op.add_column(
        "batch", sa.Column("valve", sa.String(length=32), server_default="", nullable=False)
    )
    op.add_column(
        "batch", sa.Column("taken_rows", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column(
        "consent", sa.Column("text_digest", sa.String(length=64), server_default="", nullable=False)
    )
    op.add_column("identifier", sa.Column("sealed", Encrypted(), nullable=True))
    op.add_column("person", sa.Column("data_digest", sa.LargeBinary(), nullable=True))
    op.create_index(op.f("ix_person_data_digest"), "person", ["data_digest"], unique=False)
    op.add_column(
        "person", sa.Column("closing", sa.String(length=32), server_default="", nullable=False)
    )
    op.add_column("person", sa.Column("closing_at", UtcDateTime(), nullable=True))
    op.add_column(
        "person",
        sa.Column("closing_step", sa.String(length=32), server_default="", nullable=False),
    )
    op.add_column("person", sa.Column("closing_next_at", UtcDateTime(), nullable=True))
    op.create_index(
        "ix_person_closing",
        "person",
        ["institution", "closing_next_at"],
        unique=False,
        sqlite_where=sa.text("closing_step <> ''"),
        postgresql_where=sa.text("closing_step <> ''"),
    )
    op.add_column(
        "school", sa.Column("system", sa.String(length=32), server_default="6-3", nullable=False)
    )
    op.add_column(
        "school",
        sa.Column("create_classes", sa.Boolean(), server_default=sa.text("true"), nullable=False),
    )
    op.add_column(
        "school", sa.Column("sort_order", sa.Integer(), server_default="0", nullable=False)
    )
    op.add_column("school", sa.Column("remark", sa.Text(), server_default="", nullable=False))
    op.create_index(
        op.f("ix_class_membership_person_id"), "class_membership", ["person_id"], unique=False
    )
    op.create_index(op.f("ix_leaver_person_id"), "leaver", ["person_id"], unique=False)
    op.create_index(op.f("ix_exchange_person_id"), "exchange", ["person_id"], unique=False)
    op.create_index(op.f("ix_task_person_id"), "task", ["person_id"], unique=False)
    op.create_index(op.f("ix_violation_person_id"), "violation", ["person_id"], unique=False)
    op.create_index(
        op.f("ix_circulation_fact_pseudonym"), "circulation_fact", ["pseudonym"], unique=False
    )
    op.add_column(
        "undertaking",
        sa.Column("text_digest", sa.String(length=64), server_default="", nullable=False),
    )

    _key_refusals(["digest", "key_id", "institution"])


def downgrade() -> None:
    """Take back."""
    op.execute(
        "DELETE FROM refusal WHERE EXISTS (SELECT 1 FROM refusal other "
        "WHERE other.digest = refusal.digest AND other.key_id = refusal.key_id "
        "AND other.institution < refusal.institution)"
    )
    _key_refusals(["digest", "key_id"])
    op.drop_index(op.f("ix_circulation_fact_pseudonym"), table_name="circulation_fact")
    op.drop_index(op.f("ix_class_membership_person_id"), table_name="class_membership")
    op.drop_index(op.f("ix_leaver_person_id"), table_name="leaver")
    op.drop_index(op.f("ix_exchange_person_id"), table_name="exchange")
    op.drop_index(op.f("ix_task_person_id"), table_name="task")
    op.drop_index(op.f("ix_violation_person_id"), table_name="violation")
    op.drop_column("undertaking", "text_digest")
    op.drop_column("school", "remark")
    op.drop_column("school", "sort_order")
    op.drop_column("school", "create_classes")
    op.drop_column("school", "system")
    op.drop_index(
        "ix_person_closing",
        table_name="person",
        sqlite_where=sa.text("closing_step <> ''"),
        postgresql_where=sa.text("closing_step <> ''"),
    )
    op.drop_column("person", "closing_next_at")
    op.drop_column("person", "closing_step")
    op.drop_column("person", "closing_at")
    op.drop_column("person", "closing")
    op.drop_index(op.f("ix_person_data_digest"), table_name="person")
    op.drop_column("person", "data_digest")
    op.drop_column("identifier", "sealed")
    op.drop_column("consent", "text_digest")
    op.drop_column("batch", "taken_rows")
    op.drop_column("batch", "valve")
    op.drop_column("batch", "missing")
    op.drop_column("batch", "complete")
    op.drop_column("batch", "source")
    op.drop_column("batch", "campaign_id")
    op.drop_column("application", "provenance")
    op.drop_column("application", "on_roster")
    op.drop_column("application", "campaign_id")
    op.drop_index(
        "uq_class_membership_open",
        table_name="class_membership",
        sqlite_where=sa.text("until IS NULL"),
        postgresql_where=sa.text("until IS NULL"),
    )
    op.drop_index(op.f("ix_class_membership_school_id_school_year"), table_name="class_membership")
    op.drop_index(op.f("ix_class_membership_class_id"), table_name="class_membership")
    op.drop_table("class_membership")
    op.drop_table("school_class")
    op.drop_table("leaver")
    op.drop_index(op.f("ix_task_institution_kind"), table_name="task")
    op.drop_table("task")
    op.drop_table("liaison")
    op.drop_table("grade")
    op.drop_index(op.f("ix_exchange_state"), table_name="exchange")
    op.drop_table("exchange")
    op.drop_table("card_issue")
    op.drop_table("school_calendar")
    op.drop_table("feed_state")
    op.drop_table("campaign")


def _key_refusals(columns: list[str]) -> None:
    """Give ``refusal`` its primary key; no other table refers to it, so that it may be copied."""
    with op.batch_alter_table("refusal") as table:
        table.drop_constraint(op.f("pk_refusal"), type_="primary")
        table.create_primary_key(op.f("pk_refusal"), columns)

"""Create the first tables.

Revision: 0001, the first.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from connector.storage.tables import Encrypted, UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "audit",
        sa.Column("chain_id", sa.String(length=36), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("institution", sa.String(length=64), server_default="", nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("action", sa.String(length=64), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("subject", sa.String(length=64), server_default="", nullable=False),
        sa.Column("detail", sa.Text(), server_default="{}", nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("mac", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain_id", "seq", name=op.f("pk_audit")),
    )
    op.create_index(op.f("ix_audit_at"), "audit", ["at"], unique=False)
    op.create_index(op.f("ix_audit_subject"), "audit", ["subject"], unique=False)
    op.create_table(
        "card_counter",
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("prefix", sa.String(length=32), nullable=False),
        sa.Column("last_serial", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("institution", "prefix", name=op.f("pk_card_counter")),
    )
    op.create_table(
        "circulation_fact",
        sa.Column(
            "fact_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("verb", sa.String(length=32), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("lender", sa.String(length=64), nullable=True),
        sa.Column("returner", sa.String(length=64), nullable=True),
        sa.Column("branch", sa.String(length=64), nullable=True),
        sa.Column("stage", sa.String(length=32), server_default="", nullable=False),
        sa.Column("language", sa.String(length=32), nullable=False),
        sa.Column("clc_class", sa.String(length=32), server_default="", nullable=False),
        sa.Column("terminal_kind", sa.String(length=32), server_default="", nullable=False),
        sa.Column("origin", sa.String(length=32), nullable=False),
        sa.Column("pseudonym", sa.String(length=32), server_default="", nullable=False),
        sa.Column("test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("fact_id", name=op.f("pk_circulation_fact")),
    )
    op.create_index(
        op.f("ix_circulation_fact_institution_local_date_verb"),
        "circulation_fact",
        ["institution", "local_date", "verb"],
        unique=False,
    )
    op.create_table(
        "event",
        sa.Column(
            "event_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("local_date", sa.Date(), nullable=False),
        sa.Column("verb", sa.String(length=32), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=True),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("barcode", sa.String(length=128), nullable=True),
        sa.Column("loan_id", sa.String(length=36), nullable=True),
        sa.Column("branch", sa.String(length=64), nullable=True),
        sa.Column("terminal", sa.String(length=64), nullable=True),
        sa.Column("terminal_kind", sa.String(length=32), server_default="", nullable=False),
        sa.Column("reason", sa.String(length=64), server_default="", nullable=False),
        sa.Column("policy_version", sa.String(length=64), server_default="", nullable=False),
        sa.Column("ils_verdict", sa.String(length=64), server_default="", nullable=False),
        sa.Column("test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_event")),
    )
    op.create_index(
        op.f("ix_event_institution_verb_at"), "event", ["institution", "verb", "at"], unique=False
    )
    op.create_index(op.f("ix_event_loan_id"), "event", ["loan_id"], unique=False)
    op.create_index(op.f("ix_event_person_id"), "event", ["person_id"], unique=False)
    op.create_table(
        "institution",
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("isil", sa.String(length=64), server_default="", nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("language", sa.String(length=32), server_default="zh", nullable=False),
        sa.Column("mode", sa.String(length=32), server_default="enforce", nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("institution", name=op.f("pk_institution")),
    )
    op.create_table(
        "item_facts",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("barcode", sa.String(length=128), nullable=False),
        sa.Column("language", sa.String(length=32), nullable=False),
        sa.Column("shelving", sa.String(length=32), nullable=False),
        sa.Column("clc_class", sa.String(length=32), server_default="", nullable=False),
        sa.Column("source", sa.String(length=32), nullable=False),
        sa.Column("as_of", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "barcode", name=op.f("pk_item_facts")),
    )
    op.create_table(
        "item_position",
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("barcode", sa.String(length=128), nullable=False),
        sa.Column("position", sa.String(length=32), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=False),
        sa.Column("branch", sa.String(length=64), nullable=True),
        sa.Column("loan_id", sa.String(length=36), nullable=True),
        sa.Column("since", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("owner", "barcode", name=op.f("pk_item_position")),
    )
    op.create_table(
        "outbox",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("message_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(length=64), nullable=False),
        sa.Column("topic", sa.String(length=64), nullable=False),
        sa.Column("dedupe", sa.String(length=160), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("available_at", UtcDateTime(), nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("error", sa.String(length=64), server_default="", nullable=False),
        sa.Column("sent_at", UtcDateTime(), nullable=True),
        sa.Column("parked_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_outbox")),
        sa.UniqueConstraint("dedupe", name=op.f("uq_outbox_dedupe")),
        sa.UniqueConstraint("message_id", name=op.f("uq_outbox_message_id")),
    )
    op.create_index(
        "ix_outbox_waiting",
        "outbox",
        ["destination", "seq"],
        unique=False,
        sqlite_where=sa.text("sent_at IS NULL AND parked_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL AND parked_at IS NULL"),
    )
    op.create_table(
        "person",
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("category", sa.String(length=64), nullable=False),
        sa.Column("stage", sa.String(length=32), server_default="", nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("expires", sa.Date(), nullable=True),
        sa.Column("name", Encrypted(), nullable=True),
        sa.Column("id_number", Encrypted(), nullable=True),
        sa.Column("phone", Encrypted(), nullable=True),
        sa.Column("guardian_name", Encrypted(), nullable=True),
        sa.Column("guardian_phone", Encrypted(), nullable=True),
        sa.Column("birth_date", Encrypted(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.Column("erased_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person")),
    )
    op.create_table(
        "refusal",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("scope", sa.String(length=32), server_default="card", nullable=False),
        sa.Column("refused_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", "key_id", name=op.f("pk_refusal")),
    )
    op.create_table(
        "school",
        sa.Column("school_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("stage", sa.String(length=32), server_default="", nullable=False),
        sa.Column("entry_mode", sa.String(length=32), server_default="both", nullable=False),
        sa.Column(
            "review_individual", sa.Boolean(), server_default=sa.text("false"), nullable=False
        ),
        sa.Column("disabled", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("school_id", name=op.f("pk_school")),
        sa.UniqueConstraint("institution", "code", name=op.f("uq_school_institution_code")),
    )
    op.create_table(
        "batch",
        sa.Column("batch_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("number", sa.String(length=64), nullable=False),
        sa.Column("school_id", sa.String(length=36), nullable=False),
        sa.Column("layout", sa.String(length=32), server_default="", nullable=False),
        sa.Column("source_digest", sa.String(length=64), server_default="", nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("rows", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created", sa.Integer(), server_default="0", nullable=False),
        sa.Column("updated", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unchanged", sa.Integer(), server_default="0", nullable=False),
        sa.Column("duplicate", sa.Integer(), server_default="0", nullable=False),
        sa.Column("conflict", sa.Integer(), server_default="0", nullable=False),
        sa.Column("invalid", sa.Integer(), server_default="0", nullable=False),
        sa.Column("needs_guardian", sa.Integer(), server_default="0", nullable=False),
        sa.Column("held", sa.Integer(), server_default="0", nullable=False),
        sa.Column("problems", sa.Text(), server_default="[]", nullable=False),
        sa.Column("created_by", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.school_id"], name=op.f("fk_batch_school_id_school")
        ),
        sa.PrimaryKeyConstraint("batch_id", name=op.f("pk_batch")),
        sa.UniqueConstraint("institution", "number", name=op.f("uq_batch_institution_number")),
    )
    op.create_table(
        "consent",
        sa.Column("consent_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("scope", sa.String(length=32), nullable=False),
        sa.Column("text_version", sa.String(length=64), nullable=False),
        sa.Column("given_at", UtcDateTime(), nullable=True),
        sa.Column("refused_at", UtcDateTime(), nullable=True),
        sa.Column("withdrawn_at", UtcDateTime(), nullable=True),
        sa.Column("evidence", sa.String(length=256), server_default="", nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.Column("recorded_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_consent_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("consent_id", name=op.f("pk_consent")),
    )
    op.create_index(
        op.f("ix_consent_person_id_scope_recorded_at"),
        "consent",
        ["person_id", "scope", "recorded_at"],
        unique=False,
    )
    op.create_table(
        "identifier",
        sa.Column(
            "identifier_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("retired_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_identifier_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("identifier_id", name=op.f("pk_identifier")),
        sa.UniqueConstraint(
            "digest", "kind", "key_id", name=op.f("uq_identifier_digest_kind_key_id")
        ),
    )
    op.create_index(op.f("ix_identifier_person_id"), "identifier", ["person_id"], unique=False)
    op.create_table(
        "ils_account",
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("ils_patron", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), server_default="home", nullable=False),
        sa.Column("expires", sa.Date(), nullable=True),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_ils_account_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("person_id", "institution", name=op.f("pk_ils_account")),
    )
    op.create_index(
        op.f("ix_ils_account_institution_ils_patron"),
        "ils_account",
        ["institution", "ils_patron"],
        unique=False,
    )
    op.create_table(
        "loan",
        sa.Column("loan_id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=False),
        sa.Column("barcode", sa.String(length=128), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("ils_patron", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("language", sa.String(length=32), nullable=False),
        sa.Column("clc_class", sa.String(length=32), server_default="", nullable=False),
        sa.Column("branch", sa.String(length=64), nullable=True),
        sa.Column("terminal", sa.String(length=64), nullable=True),
        sa.Column("terminal_kind", sa.String(length=32), server_default="", nullable=False),
        sa.Column("origin", sa.String(length=32), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.Column("opened_at", UtcDateTime(), nullable=True),
        sa.Column("due", UtcDateTime(), nullable=True),
        sa.Column("due_mismatch", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("renewals", sa.Integer(), server_default="0", nullable=False),
        sa.Column("renewed_at", UtcDateTime(), nullable=True),
        sa.Column("over_limit", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("policy_version", sa.String(length=64), server_default="", nullable=False),
        sa.Column("first_absent_at", UtcDateTime(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("renewal_until", UtcDateTime(), nullable=True),
        sa.Column("counted_at", UtcDateTime(), nullable=True),
        sa.Column("changed_at", UtcDateTime(), nullable=False),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("test", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"], ["person.person_id"], name=op.f("fk_loan_person_id_person")
        ),
        sa.PrimaryKeyConstraint("loan_id", name=op.f("pk_loan")),
    )
    op.create_index(
        "ix_loan_pending",
        "loan",
        ["institution", "state"],
        unique=False,
        sqlite_where=sa.text("state IN ('asked', 'unknown')"),
        postgresql_where=sa.text("state IN ('asked', 'unknown')"),
    )
    op.create_index(
        op.f("ix_loan_person_id_owner_barcode"),
        "loan",
        ["person_id", "owner", "barcode"],
        unique=False,
    )
    op.create_index(
        "ix_loan_unclosed_barcode",
        "loan",
        ["barcode"],
        unique=False,
        sqlite_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
        postgresql_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
    )
    op.create_index(
        "ix_loan_unclosed_person",
        "loan",
        ["person_id"],
        unique=False,
        sqlite_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
        postgresql_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
    )
    op.create_index(
        "uq_loan_unclosed_item",
        "loan",
        ["owner", "barcode"],
        unique=True,
        sqlite_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
        postgresql_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
    )
    op.create_table(
        "patron_quota",
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("asked_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_patron_quota_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_patron_quota")),
    )
    op.create_table(
        "person_key",
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_person_key_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("person_id", name=op.f("pk_person_key")),
    )
    op.create_table(
        "undertaking",
        sa.Column("undertaking_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("text_version", sa.String(length=64), nullable=False),
        sa.Column("given_at", UtcDateTime(), nullable=False),
        sa.Column("evidence", sa.String(length=256), server_default="", nullable=False),
        sa.Column("recorded_by", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_undertaking_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("undertaking_id", name=op.f("pk_undertaking")),
    )
    op.create_index(op.f("ix_undertaking_person_id"), "undertaking", ["person_id"], unique=False)
    op.create_table(
        "violation",
        sa.Column("violation_id", sa.String(length=36), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("set_by", sa.String(length=64), nullable=False),
        sa.Column("set_at", UtcDateTime(), nullable=False),
        sa.Column("lifted_by", sa.String(length=64), nullable=True),
        sa.Column("lifted_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_violation_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("violation_id", name=op.f("pk_violation")),
    )
    op.create_index(
        "ix_violation_open",
        "violation",
        ["person_id"],
        unique=False,
        sqlite_where=sa.text("lifted_at IS NULL"),
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.create_table(
        "application",
        sa.Column("application_id", sa.String(length=36), nullable=False),
        sa.Column("institution", sa.String(length=64), nullable=False),
        sa.Column("person_id", sa.String(length=36), nullable=False),
        sa.Column("school_id", sa.String(length=36), nullable=True),
        sa.Column("batch_id", sa.String(length=36), nullable=True),
        sa.Column("batch_row", sa.Integer(), nullable=True),
        sa.Column("state", sa.String(length=32), nullable=False),
        sa.Column("route", sa.String(length=32), nullable=False),
        sa.Column("willing", sa.String(length=32), server_default="no_answer", nullable=False),
        sa.Column("grade", sa.String(length=64), server_default="", nullable=False),
        sa.Column("class_text", sa.String(length=64), server_default="", nullable=False),
        sa.Column("district", sa.String(length=64), server_default="", nullable=False),
        sa.Column("card_proposal", sa.String(length=64), server_default="", nullable=False),
        sa.Column("card", sa.String(length=64), nullable=True),
        sa.Column("entered_by", sa.String(length=64), nullable=False),
        sa.Column("entered_at", UtcDateTime(), nullable=False),
        sa.Column("school_reviewed_by", sa.String(length=64), nullable=True),
        sa.Column("school_reviewed_at", UtcDateTime(), nullable=True),
        sa.Column("library_approved_by", sa.String(length=64), nullable=True),
        sa.Column("library_approved_at", UtcDateTime(), nullable=True),
        sa.Column("activating_at", UtcDateTime(), nullable=True),
        sa.Column("activated_at", UtcDateTime(), nullable=True),
        sa.Column("closed_by", sa.String(length=64), nullable=True),
        sa.Column("closed_at", UtcDateTime(), nullable=True),
        sa.Column("reason", sa.String(length=64), server_default="", nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("error", sa.String(length=64), server_default="", nullable=False),
        sa.Column("updated_at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["batch.batch_id"], name=op.f("fk_application_batch_id_batch")
        ),
        sa.ForeignKeyConstraint(
            ["person_id"],
            ["person.person_id"],
            name=op.f("fk_application_person_id_person"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["school_id"], ["school.school_id"], name=op.f("fk_application_school_id_school")
        ),
        sa.PrimaryKeyConstraint("application_id", name=op.f("pk_application")),
        sa.UniqueConstraint("institution", "card", name=op.f("uq_application_institution_card")),
    )
    op.create_index(op.f("ix_application_batch_id"), "application", ["batch_id"], unique=False)
    op.create_index(
        op.f("ix_application_institution_state"),
        "application",
        ["institution", "state"],
        unique=False,
    )
    op.create_index(op.f("ix_application_person_id"), "application", ["person_id"], unique=False)
    op.create_index(op.f("ix_application_school_id"), "application", ["school_id"], unique=False)
    op.create_index(
        "uq_application_open_person",
        "application",
        ["person_id"],
        unique=True,
        sqlite_where=sa.text("state NOT IN ('refused', 'withdrawn')"),
        postgresql_where=sa.text("state NOT IN ('refused', 'withdrawn')"),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_index(
        "uq_application_open_person",
        table_name="application",
        sqlite_where=sa.text("state NOT IN ('refused', 'withdrawn')"),
        postgresql_where=sa.text("state NOT IN ('refused', 'withdrawn')"),
    )
    op.drop_index(op.f("ix_application_school_id"), table_name="application")
    op.drop_index(op.f("ix_application_person_id"), table_name="application")
    op.drop_index(op.f("ix_application_institution_state"), table_name="application")
    op.drop_index(op.f("ix_application_batch_id"), table_name="application")
    op.drop_table("application")
    op.drop_index(
        "ix_violation_open",
        table_name="violation",
        sqlite_where=sa.text("lifted_at IS NULL"),
        postgresql_where=sa.text("lifted_at IS NULL"),
    )
    op.drop_table("violation")
    op.drop_index(op.f("ix_undertaking_person_id"), table_name="undertaking")
    op.drop_table("undertaking")
    op.drop_table("person_key")
    op.drop_table("patron_quota")
    op.drop_index(
        "uq_loan_unclosed_item",
        table_name="loan",
        sqlite_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
        postgresql_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
    )
    op.drop_index(
        "ix_loan_unclosed_person",
        table_name="loan",
        sqlite_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
        postgresql_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
    )
    op.drop_index(
        "ix_loan_unclosed_barcode",
        table_name="loan",
        sqlite_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
        postgresql_where=sa.text(
            "state IN ('asked', 'claimed_returned', 'disputed', 'lost', 'open', 'unknown')"
        ),
    )
    op.drop_index(op.f("ix_loan_person_id_owner_barcode"), table_name="loan")
    op.drop_index(
        "ix_loan_pending",
        table_name="loan",
        sqlite_where=sa.text("state IN ('asked', 'unknown')"),
        postgresql_where=sa.text("state IN ('asked', 'unknown')"),
    )
    op.drop_table("loan")
    op.drop_index(op.f("ix_ils_account_institution_ils_patron"), table_name="ils_account")
    op.drop_table("ils_account")
    op.drop_index(op.f("ix_identifier_person_id"), table_name="identifier")
    op.drop_table("identifier")
    op.drop_index(op.f("ix_consent_person_id_scope_recorded_at"), table_name="consent")
    op.drop_table("consent")
    op.drop_table("batch")
    op.drop_table("school")
    op.drop_table("refusal")
    op.drop_table("person")
    op.drop_index(
        "ix_outbox_waiting",
        table_name="outbox",
        sqlite_where=sa.text("sent_at IS NULL AND parked_at IS NULL"),
        postgresql_where=sa.text("sent_at IS NULL AND parked_at IS NULL"),
    )
    op.drop_table("outbox")
    op.drop_table("item_position")
    op.drop_table("item_facts")
    op.drop_table("institution")
    op.drop_index(op.f("ix_event_person_id"), table_name="event")
    op.drop_index(op.f("ix_event_loan_id"), table_name="event")
    op.drop_index(op.f("ix_event_institution_verb_at"), table_name="event")
    op.drop_table("event")
    op.drop_index(
        op.f("ix_circulation_fact_institution_local_date_verb"), table_name="circulation_fact"
    )
    op.drop_table("circulation_fact")
    op.drop_table("card_counter")
    op.drop_index(op.f("ix_audit_subject"), table_name="audit")
    op.drop_index(op.f("ix_audit_at"), table_name="audit")
    op.drop_table("audit")

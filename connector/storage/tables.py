"""The tables of the connector's own database, for SQLite and PostgreSQL alike.

Nothing here opens a database or runs a statement. Rules —

- every row carries its institution: the column ``institution`` (of a loan: the lender, of a person:
  the home library), or ``owner`` where the row is about an item;
- the configuration is the authority on institutions, the table is its copy for reports, so no row
  refers to it;
- personal fields (``Encrypted``) hold ``connector.storage.crypto`` values; the person's key lies in
  ``person_key`` alone, so that a backup can keep it apart (decision 22);
- identifiers are keyed digests (decision 5). ``ils_patron`` is the library's own card number: it
  stays in clear, as the key between the ledger and the ILS, and goes when the person is erased;
- a column is added here and in a migration together; dropping one takes two releases.

Rules: decisions 1–9, 13, 19–24.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Dialect,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import TypeEngine

from connector.domain.loan import UNCLOSED

__all__ = [
    "Encrypted",
    "UtcDateTime",
    "application",
    "audit",
    "batch",
    "campaign",
    "card_counter",
    "card_issue",
    "circulation_fact",
    "class_membership",
    "consent",
    "deferred",
    "event",
    "exchange",
    "feed_state",
    "grade",
    "identifier",
    "ils_account",
    "institution",
    "item_facts",
    "item_position",
    "leaver",
    "liaison",
    "loan",
    "metadata",
    "mode_switch",
    "outbox",
    "patron_quota",
    "payment",
    "person",
    "person_key",
    "refusal",
    "school",
    "school_calendar",
    "school_class",
    "task",
    "terminal_clock",
    "undertaking",
    "violation",
]


class UtcDateTime(TypeDecorator[datetime]):
    """An aware moment: ``timestamptz`` on PostgreSQL, on SQLite ISO 8601 text in UTC."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[datetime] | TypeEngine[str]:
        """Return the column type of the database."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(String(32))
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | str | None:
        """Return the moment as the database keeps it; a naive one is a bug of the caller."""
        if value is None:
            return None
        if value.tzinfo is None:
            message = "a stored moment must be aware"
            raise ValueError(message)
        value = value.astimezone(UTC)
        return value.isoformat(timespec="microseconds") if dialect.name == "sqlite" else value

    def process_result_value(
        self, value: datetime | str | None, dialect: Dialect
    ) -> datetime | None:
        """Return the moment as aware UTC."""
        del dialect
        if value is None:
            return None
        return (datetime.fromisoformat(value) if isinstance(value, str) else value).astimezone(UTC)


class Encrypted(TypeDecorator[bytes]):
    """A personal field as ``crypto.PersonCipher`` sealed it, for this table, column and row."""

    impl = LargeBinary
    cache_ok = True


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

_Serial = BigInteger().with_variant(Integer, "sqlite")
_Uuid = String(36)
_Code = String(64)
_Word = String(32)

_unclosed = text(
    "state IN ({})".format(", ".join(f"'{state.value}'" for state in sorted(UNCLOSED)))
)

institution = Table(
    "institution",
    metadata,
    Column("institution", _Code, primary_key=True),
    Column("isil", _Code, nullable=False, server_default=""),
    Column("name", Text, nullable=False),
    Column("timezone", _Code, nullable=False),
    Column("language", _Word, nullable=False, server_default="zh"),
    Column("mode", _Word, nullable=False, server_default="enforce"),
    Column("updated_at", UtcDateTime, nullable=False),
)

# --- people ---------------------------------------------------------------------------------------

person = Table(
    "person",
    metadata,
    Column("person_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("category", _Code, nullable=False),
    Column("stage", _Word, nullable=False, server_default=""),
    Column("state", _Word, nullable=False),
    Column("expires", Date),
    Column("name", Encrypted),
    Column("id_number", Encrypted),
    Column("phone", Encrypted),
    Column("guardian_name", Encrypted),
    Column("guardian_phone", Encrypted),
    Column("birth_date", Encrypted),
    Column("data_digest", LargeBinary, index=True),
    Column("closing", _Word, nullable=False, server_default=""),
    Column("closing_at", UtcDateTime),
    Column("closing_step", _Word, nullable=False, server_default=""),
    Column("closing_next_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("erased_at", UtcDateTime),
    Index(
        "ix_person_closing",
        "institution",
        "closing_next_at",
        sqlite_where=text("closing_step <> ''"),
        postgresql_where=text("closing_step <> ''"),
    ),
)
"""``data_digest``: of all sealed fields together, for who has an identity number; by it a roster
row that says what is known is recognised without opening anything (``person_rows.seal_data``).

``closing``: why the account is to be closed when the last book is back (``domain.closing``);
``closing_at``: since when, and after the account was closed in the ILS, when that was;
``closing_step``: how far it is, empty when the account is closed; ``closing_next_at``: when the
worker looks again.
"""

person_key = Table(
    "person_key",
    metadata,
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("key_id", _Word, nullable=False),
    Column("wrapped", LargeBinary, nullable=False),
)

ils_account = Table(
    "ils_account",
    metadata,
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), primary_key=True),
    Column("institution", _Code, primary_key=True),
    Column("ils_patron", _Code, nullable=False),
    Column("kind", _Word, nullable=False, server_default="home"),
    Column("expires", Date),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(None, "institution", "ils_patron"),
)

identifier = Table(
    "identifier",
    metadata,
    Column("identifier_id", _Serial, primary_key=True, autoincrement=True),
    Column(
        "person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("institution", _Code, nullable=False),
    Column("kind", _Word, nullable=False),
    Column("key_id", _Word, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("sealed", Encrypted),
    Column("retired_at", UtcDateTime),
    UniqueConstraint("digest", "kind", "key_id"),
)
"""``sealed``: the number itself under the person's key, so that a new installation key can digest
it anew and a guardian can be told which numbers are held; absent in rows of the first release.
"""

violation = Table(
    "violation",
    metadata,
    Column("violation_id", _Uuid, primary_key=True),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False),
    Column("institution", _Code, nullable=False),
    Column("kind", _Code, nullable=False),
    Column("set_by", _Code, nullable=False),
    Column("set_at", UtcDateTime, nullable=False),
    Column("lifted_by", _Code),
    Column("lifted_at", UtcDateTime),
    Index(
        "ix_violation_open",
        "person_id",
        sqlite_where=text("lifted_at IS NULL"),
        postgresql_where=text("lifted_at IS NULL"),
    ),
    Index(None, "person_id"),
)

# --- loans and items ------------------------------------------------------------------------------

loan = Table(
    "loan",
    metadata,
    Column("loan_id", _Uuid, primary_key=True),
    Column("person_id", ForeignKey("person.person_id"), nullable=False),
    Column("owner", _Code, nullable=False),
    Column("barcode", String(128), nullable=False),
    Column("institution", _Code, nullable=False),
    Column("ils_patron", _Code, nullable=False),
    Column("state", _Word, nullable=False),
    Column("language", _Word, nullable=False),
    Column("clc_class", _Word, nullable=False, server_default=""),
    Column("branch", _Code),
    Column("terminal", _Code),
    Column("terminal_kind", _Word, nullable=False, server_default=""),
    Column("origin", _Word, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("opened_at", UtcDateTime),
    Column("due", UtcDateTime),
    Column("due_mismatch", Boolean, nullable=False, server_default=text("false")),
    Column("renewals", Integer, nullable=False, server_default="0"),
    Column("renewed_at", UtcDateTime),
    Column("over_limit", Boolean, nullable=False, server_default=text("false")),
    Column("policy_version", _Code, nullable=False, server_default=""),
    Column("first_absent_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("renewal_until", UtcDateTime),
    Column("counted_at", UtcDateTime),
    Column("changed_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    Index(
        "uq_loan_unclosed_item",
        "owner",
        "barcode",
        unique=True,
        sqlite_where=_unclosed,
        postgresql_where=_unclosed,
    ),
    Index(
        "ix_loan_unclosed_person", "person_id", sqlite_where=_unclosed, postgresql_where=_unclosed
    ),
    Index(
        "ix_loan_unclosed_barcode", "barcode", sqlite_where=_unclosed, postgresql_where=_unclosed
    ),
    Index(None, "person_id", "owner", "barcode"),
    Index(
        "ix_loan_pending",
        "institution",
        "state",
        sqlite_where=text("state IN ('asked', 'unknown')"),
        postgresql_where=text("state IN ('asked', 'unknown')"),
    ),
    Index(
        "ix_loan_claimed",
        "institution",
        sqlite_where=text("renewal_until IS NOT NULL"),
        postgresql_where=text("renewal_until IS NOT NULL"),
    ),
)
"""``asked_at``, ``changed_at`` and ``counted_at`` are our own clock's; ``opened_at``,
``renewed_at`` and ``closed_at`` are the moment when it happened, which may lie earlier.

``changed_at``: when the state last moved; an older read of the ILS says nothing about this row.
``counted_at``: when the loan was written into the statistics, once; None = not yet.
``renewal_until``: until when a renewal is claimed; past it, nobody knows how it ended.
``first_absent_at``: when settlement first heard "not on loan", or of a claimed renewal "not
renewed".
"""

patron_quota = Table(
    "patron_quota",
    metadata,
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
)
"""A row to lock per person: on PostgreSQL whoever counts his loans holds it (decision 8)."""

item_position = Table(
    "item_position",
    metadata,
    Column("owner", _Code, primary_key=True),
    Column("barcode", String(128), primary_key=True),
    Column("position", _Word, nullable=False),
    Column("holder", _Code, nullable=False),
    Column("branch", _Code),
    Column("loan_id", _Uuid),
    Column("since", UtcDateTime, nullable=False),
)

item_facts = Table(
    "item_facts",
    metadata,
    Column("owner", _Code, primary_key=True),
    Column("barcode", String(128), primary_key=True),
    Column("language", _Word, nullable=False),
    Column("shelving", _Word, nullable=False),
    Column("clc_class", _Word, nullable=False, server_default=""),
    Column("source", _Word, nullable=False),
    Column("as_of", UtcDateTime, nullable=False),
)

# --- what happened --------------------------------------------------------------------------------

event = Table(
    "event",
    metadata,
    Column("event_id", _Serial, primary_key=True, autoincrement=True),
    Column("institution", _Code, nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("local_date", Date, nullable=False),
    Column("verb", _Word, nullable=False),
    Column("person_id", _Uuid),
    Column("owner", _Code),
    Column("barcode", String(128)),
    Column("loan_id", _Uuid),
    Column("branch", _Code),
    Column("terminal", _Code),
    Column("terminal_kind", _Word, nullable=False, server_default=""),
    Column("reason", _Code, nullable=False, server_default=""),
    Column("policy_version", _Code, nullable=False, server_default=""),
    Column("ils_verdict", _Code, nullable=False, server_default=""),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    Index(None, "institution", "verb", "at"),
    Index(None, "person_id"),
    Index(None, "loan_id"),
)

circulation_fact = Table(
    "circulation_fact",
    metadata,
    Column("fact_id", _Serial, primary_key=True, autoincrement=True),
    Column("institution", _Code, nullable=False),
    Column("local_date", Date, nullable=False),
    Column("verb", _Word, nullable=False),
    Column("owner", _Code, nullable=False),
    Column("lender", _Code),
    Column("returner", _Code),
    Column("branch", _Code),
    Column("stage", _Word, nullable=False, server_default=""),
    Column("language", _Word, nullable=False),
    Column("clc_class", _Word, nullable=False, server_default=""),
    Column("terminal_kind", _Word, nullable=False, server_default=""),
    Column("origin", _Word, nullable=False),
    Column("pseudonym", String(32), nullable=False, server_default=""),
    Column("test", Boolean, nullable=False, server_default=text("false")),
    Index(None, "institution", "local_date", "verb"),
    Index(None, "pseudonym"),
)
"""``pseudonym``: of the person, until he is erased: then another one that nobody can derive."""

outbox = Table(
    "outbox",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("message_id", _Uuid, nullable=False, unique=True),
    Column("institution", _Code, nullable=False),
    Column("destination", _Code, nullable=False),
    Column("topic", _Code, nullable=False),
    Column("dedupe", String(160), nullable=False, unique=True),
    Column("payload", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("available_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("error", _Code, nullable=False, server_default=""),
    Column("sent_at", UtcDateTime),
    Column("parked_at", UtcDateTime),
    Index(
        "ix_outbox_waiting",
        "destination",
        "seq",
        sqlite_where=text("sent_at IS NULL AND parked_at IS NULL"),
        postgresql_where=text("sent_at IS NULL AND parked_at IS NULL"),
    ),
)

audit = Table(
    "audit",
    metadata,
    Column("chain_id", _Uuid, primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("institution", _Code, nullable=False, server_default=""),
    Column("at", UtcDateTime, nullable=False),
    Column("action", _Code, nullable=False),
    Column("actor", _Code, nullable=False),
    Column("subject", _Code, nullable=False, server_default=""),
    Column("detail", Text, nullable=False, server_default="{}"),
    Column("key_id", _Word, nullable=False),
    Column("mac", LargeBinary, nullable=False),
    Index(None, "subject"),
    Index(None, "at"),
)

# --- enrolment ------------------------------------------------------------------------------------

school = Table(
    "school",
    metadata,
    Column("school_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("code", _Code, nullable=False),
    Column("name", Text, nullable=False),
    Column("stage", _Word, nullable=False, server_default=""),
    Column("entry_mode", _Word, nullable=False, server_default="both"),
    Column("review_individual", Boolean, nullable=False, server_default=text("false")),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("system", _Word, nullable=False, server_default="6-3"),
    Column("create_classes", Boolean, nullable=False, server_default=text("true")),
    Column("sort_order", Integer, nullable=False, server_default="0"),
    Column("remark", Text, nullable=False, server_default=""),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("institution", "code"),
)
"""``create_classes``: a roster may bring a grade or class that does not exist yet."""

grade = Table(
    "grade",
    metadata,
    Column("grade_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("school_id", ForeignKey("school.school_id"), nullable=False),
    Column("level", Integer, nullable=False),
    Column("name", _Code, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("sort_order", Integer, nullable=False, server_default="0"),
    Column("remark", Text, nullable=False, server_default=""),
    UniqueConstraint("school_id", "level"),
)
"""``level``: −2 to 12, see ``domain.school`` (A45)."""

school_class = Table(
    "school_class",
    metadata,
    Column("class_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("grade_id", ForeignKey("grade.grade_id"), nullable=False),
    Column("name", _Code, nullable=False),
    Column("disabled", Boolean, nullable=False, server_default=text("false")),
    Column("sort_order", Integer, nullable=False, server_default="0"),
    Column("remark", Text, nullable=False, server_default=""),
    UniqueConstraint("grade_id", "name"),
)
"""A class of a level, whoever is in it this year (A46)."""

_membership_open = text("until IS NULL")

class_membership = Table(
    "class_membership",
    metadata,
    Column("membership_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False),
    Column("school_id", ForeignKey("school.school_id"), nullable=False),
    Column("class_id", ForeignKey("school_class.class_id"), nullable=False, index=True),
    Column("school_year", Integer, nullable=False),
    Column("since", Date, nullable=False),
    Column("until", Date),
    Column("reason", _Word, nullable=False, server_default=""),
    Index(
        "uq_class_membership_open",
        "person_id",
        unique=True,
        sqlite_where=_membership_open,
        postgresql_where=_membership_open,
    ),
    Index(None, "school_id", "school_year"),
    Index(None, "person_id"),
)
"""Who was in which class when; one row without an end per person. ``reason``: why it ended."""

school_calendar = Table(
    "school_calendar",
    metadata,
    Column("institution", _Code, primary_key=True),
    Column("school_code", _Code, primary_key=True, server_default=""),
    Column("school_year", Integer, primary_key=True, autoincrement=False),
    Column("first_day", Date, nullable=False),
    Column("last_day", Date, nullable=False),
)
"""Where a school year does not run from 1 September to 31 August; an empty code = every school."""

liaison = Table(
    "liaison",
    metadata,
    Column("liaison_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("school_id", ForeignKey("school.school_id")),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False),
    Column("appointed_by", _Code, nullable=False),
    Column("appointed_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
)
"""Who speaks for a school, or without a school for the library (A21); an adult of category
``liaison`` in ``person``, so that name and phone are sealed and erased like anybody's.
"""

campaign = Table(
    "campaign",
    metadata,
    Column("campaign_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("code", _Code, nullable=False),
    Column("name", Text, nullable=False, server_default=""),
    Column("school_year", Integer, nullable=False),
    Column("opens", Date, nullable=False),
    Column("closes", Date, nullable=False),
    Column("levels", _Code, nullable=False, server_default=""),
    Column("created_by", _Code, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("institution", "code"),
)
"""``levels``: target grades, comma-separated; empty = all (A04)."""

batch = Table(
    "batch",
    metadata,
    Column("batch_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("number", _Code, nullable=False),
    Column("school_id", ForeignKey("school.school_id"), nullable=False),
    Column("layout", _Word, nullable=False, server_default=""),
    Column("source_digest", _Code, nullable=False, server_default=""),
    Column("state", _Word, nullable=False),
    Column("rows", Integer, nullable=False, server_default="0"),
    Column("created", Integer, nullable=False, server_default="0"),
    Column("updated", Integer, nullable=False, server_default="0"),
    Column("unchanged", Integer, nullable=False, server_default="0"),
    Column("duplicate", Integer, nullable=False, server_default="0"),
    Column("conflict", Integer, nullable=False, server_default="0"),
    Column("invalid", Integer, nullable=False, server_default="0"),
    Column("needs_guardian", Integer, nullable=False, server_default="0"),
    Column("held", Integer, nullable=False, server_default="0"),
    Column("problems", Text, nullable=False, server_default="[]"),
    Column("campaign_id", _Uuid),
    Column("source", _Word, nullable=False, server_default="roster"),
    Column("complete", Boolean, nullable=False, server_default=text("false")),
    Column("missing", Integer, nullable=False, server_default="0"),
    Column("valve", _Word, nullable=False, server_default=""),
    Column("taken_rows", Integer, nullable=False, server_default="0"),
    Column("created_by", _Code, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    UniqueConstraint("institution", "number"),
)
"""``problems``: JSON list of row, column and code; never a value from the sheet.

``complete``: the roster names every pupil of the school, so that who is not in it has left;
``missing``: how many those are; ``valve``: empty, ``held``, ``confirmed`` or ``dismissed``;
``taken_rows``: how far an import is that was killed.
"""

leaver = Table(
    "leaver",
    metadata,
    Column("batch_id", ForeignKey("batch.batch_id"), primary_key=True),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("serial", Integer, nullable=False),
    Column("state", _Word, nullable=False),
    Column("decided_by", _Code),
    Column("decided_at", UtcDateTime),
    Index(None, "person_id"),
)
"""Pupils whom a complete roster no longer names: ``proposed``, ``left`` or ``kept``; ``serial``:
the number in the list by which a person chooses them.
"""

_application_open = text("state NOT IN ('refused', 'withdrawn')")

application = Table(
    "application",
    metadata,
    Column("application_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column(
        "person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("school_id", ForeignKey("school.school_id"), index=True),
    Column("batch_id", ForeignKey("batch.batch_id"), index=True),
    Column("batch_row", Integer),
    Column("state", _Word, nullable=False),
    Column("route", _Word, nullable=False),
    Column("willing", _Word, nullable=False, server_default="no_answer"),
    Column("grade", _Code, nullable=False, server_default=""),
    Column("class_text", _Code, nullable=False, server_default=""),
    Column("district", _Code, nullable=False, server_default=""),
    Column("card_proposal", _Code, nullable=False, server_default=""),
    Column("card", _Code),
    Column("entered_by", _Code, nullable=False),
    Column("entered_at", UtcDateTime, nullable=False),
    Column("school_reviewed_by", _Code),
    Column("school_reviewed_at", UtcDateTime),
    Column("library_approved_by", _Code),
    Column("library_approved_at", UtcDateTime),
    Column("activating_at", UtcDateTime),
    Column("handed_off_at", UtcDateTime),
    Column("activated_at", UtcDateTime),
    Column("closed_by", _Code),
    Column("closed_at", UtcDateTime),
    Column("reason", _Code, nullable=False, server_default=""),
    Column("campaign_id", _Uuid),
    Column("on_roster", Boolean, nullable=False, server_default=text("false")),
    Column("provenance", Text, nullable=False, server_default="{}"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("lease_until", UtcDateTime),
    Column("error", _Code, nullable=False, server_default=""),
    Column("updated_at", UtcDateTime, nullable=False),
    Index(
        "uq_application_open_person",
        "person_id",
        unique=True,
        sqlite_where=_application_open,
        postgresql_where=_application_open,
    ),
    Index(None, "institution", "state"),
    UniqueConstraint("institution", "card"),
)
"""``card``: the number given at the first activation, kept for good; None before.

``handed_off_at``: since when the pupil stands in a file that the ILS is to load; None = in none.
``on_roster``: a roster of the school names the pupil (decision 19); ``provenance``: JSON, field →
where it came from (A09). ``grade`` is not used: ``class_membership`` tells.
"""

card_counter = Table(
    "card_counter",
    metadata,
    Column("institution", _Code, primary_key=True),
    Column("prefix", _Word, primary_key=True),
    Column("last_serial", BigInteger, nullable=False),
)
"""The last serial given out per card range: erasing a person never frees his number."""

consent = Table(
    "consent",
    metadata,
    Column("consent_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False),
    Column("scope", _Word, nullable=False),
    Column("text_version", _Code, nullable=False),
    Column("text_digest", _Code, nullable=False, server_default=""),
    Column("given_at", UtcDateTime),
    Column("refused_at", UtcDateTime),
    Column("withdrawn_at", UtcDateTime),
    Column("evidence", String(256), nullable=False, server_default=""),
    Column("recorded_by", _Code, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Index(None, "person_id", "scope", "recorded_at"),
)
"""A new answer is a new row; the latest per scope counts; ``withdrawn_at`` is set on its row."""

undertaking = Table(
    "undertaking",
    metadata,
    Column("undertaking_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column(
        "person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False, index=True
    ),
    Column("text_version", _Code, nullable=False),
    Column("text_digest", _Code, nullable=False, server_default=""),
    Column("given_at", UtcDateTime, nullable=False),
    Column("evidence", String(256), nullable=False, server_default=""),
    Column("recorded_by", _Code, nullable=False),
)

refusal = Table(
    "refusal",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("key_id", _Word, primary_key=True),
    Column("institution", _Code, primary_key=True),
    Column("scope", _Word, nullable=False, server_default="card"),
    Column("refused_at", UtcDateTime, nullable=False),
)
"""All that remains of a refusal: a keyed digest of the identity number (decision 20)."""


# --- cards, exchanges, tasks, feeds ---------------------------------------------------------------

card_issue = Table(
    "card_issue",
    metadata,
    Column("issue_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False),
    Column("kind", _Word, nullable=False),
    Column("number", Integer, nullable=False),
    Column("chargeable", Boolean, nullable=False, server_default=text("false")),
    Column("issued_by", _Code, nullable=False),
    Column("issued_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("ended_as", _Word, nullable=False, server_default=""),
    UniqueConstraint("person_id", "kind", "number"),
)
"""Cards given out: ``physical`` or ``online``, the first, the second (A25)."""

exchange = Table(
    "exchange",
    metadata,
    Column("exchange_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE"), nullable=False),
    Column("issuer", _Code, nullable=False),
    Column("old_account", _Code, nullable=False),
    Column("mode", _Word, nullable=False),
    Column("deposit_held", Boolean, nullable=False, server_default=text("false")),
    Column("state", _Word, nullable=False),
    Column("begun_by", _Code, nullable=False),
    Column("begun_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Index(None, "state"),
    Index(None, "person_id"),
)
"""An older card that becomes the student card, or gives way to it (A29, A30); ``issuer``: the
library of the old card, ``old_account``: its number in that library's ILS.
"""

task = Table(
    "task",
    metadata,
    Column("task_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("kind", _Word, nullable=False),
    Column("dedupe", String(160), nullable=False, unique=True),
    Column("person_id", ForeignKey("person.person_id", ondelete="CASCADE")),
    Column("detail", Text, nullable=False, server_default="{}"),
    Column("opened_by", _Code, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("done_by", _Code),
    Column("done_at", UtcDateTime),
    Column("outcome", _Code, nullable=False, server_default=""),
    Index(None, "institution", "kind"),
    Index(None, "person_id"),
)
"""Something that a person of the library has to do; ``detail``: JSON of ids and codes."""

feed_state = Table(
    "feed_state",
    metadata,
    Column("institution", _Code, primary_key=True),
    Column("name", _Code, primary_key=True),
    Column("last_digest", _Code, nullable=False, server_default=""),
    Column("last_run_at", UtcDateTime),
    Column("last_ok_at", UtcDateTime),
    Column("last_error", _Code, nullable=False, server_default=""),
    Column("lease_until", UtcDateTime),
)
"""When a roster feed of the settings last brought something (A16)."""

# --- beside the ILS -------------------------------------------------------------------------------

deferred = Table(
    "deferred",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("institution", _Code, nullable=False),
    Column("verb", _Word, nullable=False),
    Column("owner", _Code, nullable=False),
    Column("barcode", String(128), nullable=False),
    Column("loan_id", ForeignKey("loan.loan_id", ondelete="SET NULL")),
    Column("occurred_at", UtcDateTime, nullable=False),
    Column("recorded_at", UtcDateTime, nullable=False),
    Column("branch", _Code),
    Column("terminal", _Code),
    Column("terminal_kind", _Word, nullable=False, server_default=""),
    Column("state", _Word, nullable=False),
    Column("reason", _Code, nullable=False, server_default=""),
    Column("sent_at", UtcDateTime),
    Column("first_absent_at", UtcDateTime),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("tried_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("done_at", UtcDateTime),
    Column("done_by", _Code, nullable=False, server_default=""),
    Index(None, "institution", "state", "seq"),
    Index(None, "owner", "barcode"),
    Index(None, "loan_id"),
)
"""What happened at a kiosk and is still to be told to an ILS, in this order; ``sent_at``: it was
told once and no answer came, so that the ILS is asked first.
"""

payment = Table(
    "payment",
    metadata,
    Column("payment_id", _Uuid, primary_key=True),
    Column("institution", _Code, nullable=False),
    Column("terminal", _Code, nullable=False),
    Column("person_id", ForeignKey("person.person_id", ondelete="SET NULL")),
    Column("dedupe", String(64), nullable=False),
    Column("amount", _Code, nullable=False),
    Column("currency", _Word, nullable=False),
    Column("fee_type", _Word, nullable=False),
    Column("payment_type", _Word, nullable=False),
    Column("transaction_id", String(128), nullable=False, server_default=""),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    Column("state", _Word, nullable=False),
    Column("ils_code", _Code, nullable=False, server_default=""),
    Column("settled_at", UtcDateTime),
    Column("settled_by", _Code, nullable=False, server_default=""),
    Index(None, "institution", "state"),
    Index(None, "dedupe"),
    Index(None, "person_id"),
)
"""A payment at a kiosk, written before the ILS is told; ``dedupe``: keyed digest of who paid what
where, so that the same payment is not sent twice.
"""

mode_switch = Table(
    "mode_switch",
    metadata,
    Column("seq", _Serial, primary_key=True, autoincrement=True),
    Column("institution", _Code, nullable=False),
    Column("mode", _Word, nullable=False),
    Column("since", UtcDateTime, nullable=False),
    Column("until", UtcDateTime),
    Column("actor", _Code, nullable=False),
    Column("reason", Text, nullable=False),
    Index(None, "institution", "seq"),
)
"""A library's mode as a person has switched it (decision 18); the last one that holds counts."""

terminal_clock = Table(
    "terminal_clock",
    metadata,
    Column("terminal", _Code, primary_key=True),
    Column("offset_s", Integer, nullable=False),
    Column("measured_at", UtcDateTime, nullable=False),
)
"""How far a terminal's clock is ahead of ours (decision 17)."""

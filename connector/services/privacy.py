"""What a guardian may ask for: a copy of all that is held about a child, and to have it erased.

Nothing here stores or closes an account; ``closing`` does. Rules (decisions 20, 22 and 23; PIPL
articles 15, 45 and 47) —

- a copy is audited before it is given out;
- there is one way to erase: the closing begins, and ends with the last book; where nothing is out,
  that is now;
- after erasing, everything is read again, and what is found is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from connector.domain.closing import ClosingReason
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.library import Library
from connector.enrolment.consent_texts import TextKind, load_text
from connector.errors import AdapterError, ConfigurationError, NotFound, UnsupportedOperation
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.privacy import HeldPerson, HeldRecords, LeftBehind, PrivacyStore
from connector.ports.store import AuditLog
from connector.services.closing import ClosingService
from connector.services.personal_file import Elsewhere, PersonalFile
from connector.services.privacy_words import LANGUAGES, words_in

__all__ = ["Erasure", "ErasureState", "KeepingTimes", "PrivacyService"]

_log = get_logger(__name__)


class KeepingTimes(Protocol):
    """How long what is kept, in days; ``[privacy]`` of the settings."""

    @property
    def loan_history_days(self) -> int:
        """Of a closed loan."""

    @property
    def closed_person_days(self) -> int:
        """Of a person whose account is closed."""

    @property
    def refusal_days(self) -> int:
        """Of the digest of a refusal."""

    @property
    def audit_days(self) -> int:
        """Of an audit entry."""

    @property
    def outbox_days(self) -> int:
        """Of a delivered message."""

    @property
    def task_days(self) -> int:
        """Of a task that is done."""


class ErasureState(StrEnum):
    """How far an erasure is."""

    ERASED = "erased"
    """Done now."""
    WAITING = "waiting"
    """Books are out: it completes by itself at the last return."""
    UNDER_WAY = "under_way"
    """A library system could not be asked; the worker tries again."""
    ERASED_BEFORE = "erased_before"


@dataclass(frozen=True, slots=True)
class Erasure:
    """What ``erase`` did.

    Attributes:
        left: what a new read found; None while it is not done.
    """

    state: ErasureState
    person: HeldPerson
    left: LeftBehind | None = None


@dataclass(frozen=True, slots=True)
class PrivacyService:
    """Copies and erasures at every library of the process.

    Attributes:
        texts_folder: with the library's own consent texts.
    """

    store: PrivacyStore
    audit: AuditLog
    closing: ClosingService
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    times: KeepingTimes
    now: Clock
    texts_folder: Path | None = None

    def describe_person(self, patron_id: PatronId) -> HeldPerson:
        """Return what there is of a person, in counts; raises ``NotFound``."""
        person = self.store.find_person(patron_id)
        if person is None:
            raise NotFound("patron")
        return person

    def collect_file(self, patron_id: PatronId, *, lang: str, actor: str) -> PersonalFile:
        """Return everything that is held about a person, here and in the library systems.

        Raises:
            NotFound: there is no such person.
        """
        person = self.describe_person(patron_id)
        self.audit.append(
            "privacy.exported", actor=actor, subject=patron_id, detail={"scope": "person"}
        )
        records = self.store.collect_records(patron_id)
        home = self.libraries.get(person.home) or next(iter(self.libraries.values()))
        return PersonalFile(
            records=records,
            elsewhere=[
                self._ask(InstitutionId(str(row["institution"])), str(row["ils_patron"]))
                for row in records.tables["ils_account"]
            ],
            texts=self._texts(records, lang),
            days=self._days(),
            words=words_in(lang),
            zone=home.zone,
            made_at=self.now(),
            made_by=actor,
        )

    def erase(self, patron_id: PatronId, *, actor: str) -> Erasure:
        """Have a person erased, now or when the last book is back; doing it twice is harmless.

        Raises:
            NotFound: there is no such person.
        """
        person = self.describe_person(patron_id)
        if person.erased_at is not None:
            return Erasure(ErasureState.ERASED_BEFORE, person, self.store.count_left(patron_id))
        self.closing.begin(patron_id, ClosingReason.ERASURE_REQUESTED, actor=actor)
        self.audit.append("privacy.erasure_asked", actor=actor, subject=patron_id)
        self.closing.attend(patron_id)
        after = self.store.find_person(patron_id)
        if after is None or after.erased_at is not None:
            self.store.overwrite_deleted()
            left = self.store.count_left(patron_id)
            if left.personal:
                _log.error("erasure.incomplete", count=sum(left.personal.values()))
            return Erasure(ErasureState.ERASED, after or person, left)
        waits = after.unclosed_loans > 0
        return Erasure(ErasureState.WAITING if waits else ErasureState.UNDER_WAY, after)

    def _ask(self, code: InstitutionId, ils_patron: str) -> Elsewhere:
        library = self.libraries.get(code)
        name = library.name if library is not None else code
        adapter = self.adapters.get(code)
        if adapter is None:
            return Elsewhere(code, name, error="library_elsewhere")
        if Capability.FETCH_PATRON not in adapter.capabilities:
            return Elsewhere(code, name, error="cannot_tell")
        try:
            return Elsewhere(code, name, adapter.fetch_patron(IlsPatronId(ils_patron)))
        except UnsupportedOperation:
            return Elsewhere(code, name, error="cannot_tell")
        except AdapterError:
            return Elsewhere(code, name, error="unavailable")

    def _texts(self, records: HeldRecords, lang: str) -> dict[tuple[str, str], str | None]:
        wanted = {
            (table, str(row["text_version"]))
            for table in ("consent", "undertaking")
            for row in records.tables[table]
        }
        return {
            (kind, version): self._find_text(TextKind(kind), version, lang)
            for kind, version in sorted(wanted)
        }

    def _find_text(self, kind: TextKind, version: str, lang: str) -> str | None:
        """Return a text in the language, else in another one; None = it is not here."""
        for language in (lang, *LANGUAGES):
            with suppress(ConfigurationError):
                return load_text(version, language, self.texts_folder, kind=kind).text
        return None

    def _days(self) -> dict[str, int]:
        return {
            "loans": self.times.loan_history_days,
            "people": self.times.closed_person_days,
            "refusals": self.times.refusal_days,
            "audit": self.times.audit_days,
            "outbox": self.times.outbox_days,
            "tasks": self.times.task_days,
        }

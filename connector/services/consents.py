"""What guardians said: consent by scope, refusal, withdrawal, and whom to ask again.

Nothing here opens a card or closes one; ``provisioning`` and ``closing`` do. Rules (A03, A22,
decisions 19 and 20, scenarios 5–7) —

- consent is a fact of its own: it can be recorded at any step, and moves no state;
- it needs a text that exists, and evidence; it holds for the scopes that were signed and for no
  other;
- a form that cannot be read, or is for another child, is no answer: it is noted, and the applicant
  waits;
- a refusal removes the applicant and leaves keyed digests of his numbers, so that September does
  not ask again; a withdrawal leaves them too, so that the next roster does not bring him back;
- whoever withdraws before the card is open is removed; afterwards the card is closed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from connector.domain.closing import ClosingReason
from connector.domain.consent import Consent, ConsentVerdict, decide_consent
from connector.domain.enrolment import CLOSED_STATES, ApplicationState, ConsentScope
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.enrolment.consent_texts import ConsentText, TextKind, list_versions, load_text
from connector.errors import ConfigurationError, NotFound, StorageConflict
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, EnrolmentStore
from connector.ports.store import AuditLog, PatronRegister
from connector.services.closing import ClosingService
from connector.services.consent_check import check_consent, find_birth_date
from connector.services.enrolment import StepReport
from connector.services.enrolment_rules import EnrolmentRules

__all__ = ["ConsentService", "ConsentStanding"]

_log = get_logger(__name__)

_OPENED = frozenset(
    {ApplicationState.ACTIVATING, ApplicationState.ACTIVE, ApplicationState.EXISTING_CARD}
)
"""From ``activating`` on the ILS may have an account."""
_REMEMBERED_BY = frozenset({"id_card", "student_no"})


@dataclass(frozen=True, slots=True)
class ConsentStanding:
    """Where one applicant stands."""

    application: Application
    verdict: ConsentVerdict


@dataclass(frozen=True, slots=True)
class ConsentService:
    """Consents at every library of the process.

    Attributes:
        rules: by library.
        languages: of the forms, by library.
        folder: the library's own texts.
    """

    register: PatronRegister
    store: EnrolmentStore
    audit: AuditLog
    closing: ClosingService
    rules: Mapping[InstitutionId, EnrolmentRules]
    now: Clock
    languages: Mapping[InstitutionId, str] = field(default_factory=dict)
    folder: Path | None = None

    # --- answers --------------------------------------------------------------------------------

    def record(
        self,
        applications: Sequence[Application],
        scopes: Sequence[ConsentScope],
        *,
        evidence: str,
        actor: str,
        text_version: str = "",
        undertaking: bool = True,
    ) -> StepReport:
        """Record that the guardians agreed, each for his own child; a refusal before is forgotten.

        Who is not an applicant any more is skipped: a new roster enters him again.

        Args:
            evidence: where the signed forms are kept; no consent without it (A22).
            text_version: the text that they signed; the library's present one when empty.
            undertaking: the form holds the undertaking to keep the rules too.

        Raises:
            ConfigurationError: evidence is missing, the text is not known, or it does not ask for
                one of the scopes. Nothing was recorded then.
        """
        if not evidence.strip():
            raise ConfigurationError(
                "A consent needs its evidence.", "Give --evidence: where the form is kept."
            )
        texts = {
            institution: self._text_for(institution, scopes, text_version)
            for institution in {application.institution for application in applications}
        }
        done = 0
        for application in applications:
            current = self.store.fetch_application(application.application_id)
            if current is None or current.state in CLOSED_STATES:
                continue
            self._record_one(current, texts[current.institution], scopes, evidence.strip(), actor)
            if undertaking:
                self._record_undertaking(current, evidence.strip(), actor)
            done += 1
        return StepReport(done, len(applications) - done)

    def _record_one(
        self,
        application: Application,
        text: ConsentText,
        scopes: Sequence[ConsentScope],
        evidence: str,
        actor: str,
    ) -> None:
        for scope in scopes:
            self.store.record_consent(
                application.patron_id,
                application.institution,
                scope,
                text_version=text.version,
                text_digest=text.digest,
                given=True,
                evidence=evidence,
                actor=actor,
                now=self.now(),
            )
        if ConsentScope.CARD in scopes:
            self.store.forget_refusal(
                self._numbers_of(application.patron_id), application.institution
            )
            self.closing.take_back(application.patron_id, actor=actor)

    def _record_undertaking(self, application: Application, evidence: str, actor: str) -> None:
        rules = self.rules_of(application.institution)
        text = load_text(
            rules.undertaking_version,
            self._language(application.institution),
            self.folder,
            kind=TextKind.UNDERTAKING,
        )
        self.store.record_undertaking(
            application.patron_id,
            application.institution,
            text_version=text.version,
            text_digest=text.digest,
            evidence=evidence,
            actor=actor,
            now=self.now(),
        )

    def refuse(self, applications: Sequence[Application], *, actor: str) -> StepReport:
        """Record that the guardians refused: the applicants are removed (scenario 5).

        An applicant whose card is open already is skipped; that is a withdrawal. So is one who
        withdrew before.
        """
        done = 0
        for application in applications:
            current = self.store.fetch_application(application.application_id)
            if current is None or current.state in _OPENED | CLOSED_STATES:
                continue
            try:
                self._remove(current, actor)
            except StorageConflict:  # his card was taken up, or had been open, at this very moment
                continue
            done += 1
        return StepReport(done, len(applications) - done)

    def note_unusable(self, application: Application, why: str, *, actor: str) -> None:
        """Note a form that is no answer; the applicant goes on waiting (scenario 5).

        Args:
            why: ``unreadable`` or ``other_child``.
        """
        self.audit.append(
            "consent.unusable",
            actor=actor,
            subject=application.patron_id,
            detail={"application": application.application_id, "code": why},
        )

    def withdraw(
        self, applications: Sequence[Application], scope: ConsentScope, *, actor: str
    ) -> StepReport:
        """Record that guardians withdrew one consent (scenario 6).

        Without the consent for the card, a card that is open is dead from the next message of a
        kiosk on; the ILS is told at once where it can be reached, else by the next sweep. An
        applicant without an open card is removed. Another scope ends alone.
        """
        done = 0
        for application in applications:
            done += self.store.withdraw_consent(
                application.patron_id, scope, actor=actor, now=self.now()
            )
            if scope is ConsentScope.CARD:
                self._end_card(application, actor)
        return StepReport(done, len(applications) - done)

    def _end_card(self, application: Application, actor: str) -> None:
        try:
            numbers = self._numbers_of(application.patron_id)
        except NotFound:  # erased before
            return
        current = self.store.fetch_application(application.application_id)
        if current is not None and current.state not in _OPENED | CLOSED_STATES:
            try:
                self._remove(current, actor)
            except StorageConflict:  # his card was taken up, or had been open before
                pass
            else:
                return
        self.store.remember_refusal(numbers, application.institution, actor=actor, now=self.now())
        try:
            self.closing.begin(application.patron_id, ClosingReason.CONSENT_WITHDRAWN, actor=actor)
        except NotFound:
            return
        self.closing.attend(application.patron_id)

    def _remove(self, application: Application, actor: str) -> None:
        """Remove an applicant, with a digest of his numbers; raises ``StorageConflict``."""
        self.store.erase_applicant(
            application.patron_id,
            refused=self._numbers_of(application.patron_id),
            actor=actor,
            now=self.now(),
        )

    def _numbers_of(self, patron_id: PatronId) -> tuple[Identifier, ...]:
        """Return the numbers by which a refusal is remembered; raises ``NotFound``."""
        known = self.register.fetch_personal(patron_id)
        numbers = {
            identifier
            for identifier, _ in self.register.list_identifiers(patron_id)
            if identifier.kind in _REMEMBERED_BY and identifier.value
        }
        if known.id_number:
            numbers.add(Identifier("id_card", known.id_number))
        return tuple(sorted(numbers, key=lambda number: (number.kind, number.value)))

    # --- what holds -----------------------------------------------------------------------------

    def check(
        self, application: Application, scope: ConsentScope = ConsentScope.CARD
    ) -> ConsentVerdict:
        """Decide whether a consent holds now."""
        return check_consent(
            application,
            store=self.store,
            register=self.register,
            rules=self.rules_of(application.institution),
            now=self.now(),
            scope=scope,
        )

    def list_standings(
        self, institution: InstitutionId, *, scope: ConsentScope = ConsentScope.CARD
    ) -> tuple[ConsentStanding, ...]:
        """Return where every applicant and every holder of a card stands, in the order of entry."""
        rules = self.rules_of(institution)
        latest = self.store.list_latest_consents(institution, scope)
        today = rules.today(self.now())

        def verdict(consent: Consent | None) -> ConsentVerdict:
            if consent is None:
                return ConsentVerdict.NO_ANSWER
            return decide_consent(
                [consent],
                birth_date=find_birth_date(self.register, rules, consent.patron_id),
                today=today,
                text=rules.consent_terms,
                rules=rules.consent_rules,
                scope=scope,
            )

        return tuple(
            ConsentStanding(application, verdict(latest.get(application.patron_id)))
            for application in self.store.list_applications(institution)
            if application.state not in CLOSED_STATES
        )

    # --- texts ----------------------------------------------------------------------------------

    def find_text(
        self,
        institution: InstitutionId,
        *,
        version: str = "",
        language: str = "",
        kind: TextKind = TextKind.CONSENT,
    ) -> ConsentText:
        """Return a text, by default the present one in the library's language.

        Raises:
            ConfigurationError: there is no such text.
        """
        rules = self.rules_of(institution)
        present = (
            rules.consent_text_version if kind is TextKind.CONSENT else rules.undertaking_version
        )
        return load_text(
            version or present, language or self._language(institution), self.folder, kind=kind
        )

    def count_other_wording(self, institution: InstitutionId) -> int:
        """Return how many consents for the present version were signed for another wording of it.

        A text that was signed must not change; a form in another language is no other wording.
        """
        version = self.rules_of(institution).consent_text_version
        wordings = {
            load_text(version, language, self.folder).digest
            for language in list_versions(self.folder)[version]
        }
        return sum(
            consent.text_version == version and consent.text_digest not in {"", *wordings}
            for consent in self.store.list_latest_consents(institution, ConsentScope.CARD).values()
        )

    def rules_of(self, institution: InstitutionId) -> EnrolmentRules:
        """Return a library's rules; ``ConfigurationError`` for an unknown library."""
        try:
            return self.rules[institution]
        except KeyError as err:
            raise ConfigurationError(
                f"There is no library {institution}.", f"Use one of: {', '.join(self.rules)}."
            ) from err

    def _text_for(
        self, institution: InstitutionId, scopes: Sequence[ConsentScope], version: str
    ) -> ConsentText:
        text = self.find_text(institution, version=version)
        missing = [scope.value for scope in scopes if scope not in text.scopes]
        if missing:
            raise ConfigurationError(
                f"The consent text {text.version} does not ask for {', '.join(missing)}.",
                "Leave that scope out, or name the text that was signed with --text-version.",
            )
        return text

    def _language(self, institution: InstitutionId) -> str:
        return self.languages.get(institution, "zh")[:2]

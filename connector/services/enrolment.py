"""Student cards up to the library's approval: schools, rosters, reviews, applications.

Nothing here asks an ILS; ``connector.services.provisioning`` does, after approval and with consent.
What guardians say is in ``consents``. Rule (decision 20): who gives no answer is removed after a
while, and nothing is left of him.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from connector.domain.enrolment import (
    ApplicationState,
    ConsentScope,
    SchoolStage,
    can_advance,
)
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError, NotFound, StorageConflict
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, Batch, EnrolmentStore, School
from connector.ports.rosters import RosterStore
from connector.ports.schools import SchoolStore
from connector.ports.store import AuditLog, PatronRegister
from connector.ports.tasks import TaskStore
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.individual import IndividualEntry
from connector.services.roster import ImportReport, RosterImport, RowCheck
from connector.services.roster_leavers import CardCloser, RosterLeavers

__all__ = ["REJECTIONS", "BatchProgress", "EnrolmentService", "StepReport"]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step did to a list of applications: how many took it, how many could not."""

    done: int
    skipped: int


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a batch is (A43); refused applicants are gone, so the sum may be below the rows.

    Attributes:
        failed: activations that failed and can be tried again.
        pending: applications that wait for the guardian's consent to the card.
        unwilling: applications that go no further, because the family does not want a card (A02).
    """

    batch: Batch
    school: School | None
    states: Mapping[ApplicationState, int]
    failed: int = 0
    pending: int = 0
    unwilling: int = 0


@dataclass(frozen=True, slots=True)
class EnrolmentService:
    """Enrolment at every library of the process.

    Attributes:
        rules: by library.
        checks: plugins that look at a row.
    """

    register: PatronRegister
    store: EnrolmentStore
    rosters: RosterStore
    schools: SchoolStore
    tasks: TaskStore
    closer: CardCloser
    audit: AuditLog
    rules: Mapping[InstitutionId, EnrolmentRules]
    now: Clock
    checks: Sequence[RowCheck] = ()

    def rules_of(self, institution: InstitutionId) -> EnrolmentRules:
        """Return a library's rules; ``ConfigurationError`` for an unknown library."""
        try:
            return self.rules[institution]
        except KeyError as err:
            raise ConfigurationError(
                f"There is no library {institution}.", f"Use one of: {', '.join(self.rules)}."
            ) from err

    # --- schools

    def save_school(
        self,
        institution: InstitutionId,
        code: str,
        name: str,
        *,
        stage: SchoolStage | None = None,
        entry_mode: str = "both",
        review_individual: bool = False,
        disabled: bool = False,
    ) -> School:
        """Add a school, or change the one with this code."""
        self.rules_of(institution)
        if entry_mode not in {"batch", "individual", "both"}:
            raise ConfigurationError("Unknown entry mode.", "Use batch, individual or both.")
        school = School(
            school_id="",
            institution=institution,
            code=code,
            name=name,
            stage=stage,
            entry_mode=entry_mode,  # type: ignore[arg-type]  # checked above
            review_individual=review_individual,
            disabled=disabled,
        )
        return self.store.save_school(school)

    def find_school(self, institution: InstitutionId, code: str) -> School:
        """Return a school; raises ``NotFound``."""
        school = self.store.find_school(institution, code)
        if school is None:
            raise NotFound("school")
        return school

    def list_schools(self, institution: InstitutionId) -> tuple[School, ...]:
        """Return the library's schools by code."""
        return self.store.list_schools(institution)

    # --- rosters and batches

    def import_roster(
        self,
        path: Path,
        school: School,
        *,
        actor: str,
        dry_run: bool = False,
        complete: bool = False,
        campaign: str = "",
        force: bool = False,
        on_row: Callable[[int, int], None] | None = None,
    ) -> ImportReport:
        """Import a roster; see ``RosterImport.run``."""
        return self.importer(school.institution).run(
            path,
            school,
            actor=actor,
            dry_run=dry_run,
            complete=complete,
            campaign=campaign,
            force=force,
            on_row=on_row,
        )

    def importer(self, institution: InstitutionId) -> RosterImport:
        """Return what imports the rosters of a library's schools."""
        return RosterImport(
            register=self.register,
            store=self.store,
            rosters=self.rosters,
            schools=self.schools,
            leavers=self.leavers,
            rules=self.rules_of(institution),
            now=self.now,
            checks=self.checks,
        )

    def individual(self, institution: InstitutionId) -> IndividualEntry:
        """Return what enters, changes and removes single pupils of a library's schools."""
        return IndividualEntry(self.importer(institution), self.closer)

    @property
    def leavers(self) -> RosterLeavers:
        """Pupils whom complete rosters do not name."""
        return RosterLeavers(
            store=self.store,
            rosters=self.rosters,
            schools=self.schools,
            tasks=self.tasks,
            closer=self.closer,
            now=self.now,
        )

    def find_batch(self, institution: InstitutionId, number: str) -> Batch:
        """Return a batch; raises ``NotFound``."""
        batch = self.store.find_batch(institution, number)
        if batch is None:
            raise NotFound("batch")
        return batch

    def list_progress(
        self, institution: InstitutionId, *, school: School | None = None
    ) -> tuple[BatchProgress, ...]:
        """Return every batch, newest first, with the states of its applications (A43)."""
        schools = {each.school_id: each for each in self.store.list_schools(institution)}
        batches = self.store.list_batches(
            institution, school_id=school.school_id if school else None
        )
        counts = self.rosters.count_steps(institution)
        return tuple(
            BatchProgress(
                batch,
                schools.get(batch.school_id),
                self.store.count_states(batch.batch_id),
                *counts.get(batch.batch_id, (0, 0, 0)),
            )
            for batch in batches
        )

    def list_applications(
        self,
        batch: Batch,
        *,
        rows: Sequence[int] = (),
        states: Sequence[ApplicationState] = (),
    ) -> tuple[Application, ...]:
        """Return a batch's applications; whoever is at another school by now is not among them.

        Args:
            rows: row numbers of the sheet; empty = all. One without an application is ``NotFound``.
        """
        found = tuple(
            application
            for application in self.store.list_applications(
                batch.institution, states=states, batch_id=batch.batch_id
            )
            if application.school_id == batch.school_id
        )
        if not rows:
            return found
        if missing := set(rows) - {application.batch_row for application in found}:
            raise NotFound(f"row {min(missing)} of the batch")
        return tuple(application for application in found if application.batch_row in rows)

    def list_individual(self, school: School) -> tuple[Application, ...]:
        """Return the applications of a school that no roster brought, in the order of entry."""
        return tuple(
            application
            for application in self.store.list_applications(
                school.institution, school_id=school.school_id
            )
            if application.batch_id is None
        )

    # --- reviews

    def choose_class(
        self, applications: Sequence[Application], level: int, name: str = ""
    ) -> tuple[Application, ...]:
        """Return those whose pupils are in a class now; without a name, in a grade."""
        members = self.schools.find_memberships([a.patron_id for a in applications])
        return tuple(
            application
            for application in applications
            if (member := members.get(application.patron_id)) is not None
            and member.school_class.level == level
            and (not name or member.school_class.name == name)
        )

    def reject(self, applications: Sequence[Application], reason: str, *, actor: str) -> StepReport:
        """End applications that no card is open for; a roster may enter them again.

        Args:
            reason: one of ``REJECTIONS``.
        """
        if reason not in REJECTIONS:
            raise ConfigurationError("Unknown reason.", f"Use one of: {', '.join(REJECTIONS)}.")
        done = 0
        for application in applications:
            if application.state in _REJECTABLE:
                done += self.store.move_application(
                    application.application_id,
                    application.state,
                    ApplicationState.REFUSED,
                    actor=actor,
                    now=self.now(),
                    reason=reason,
                )
        return StepReport(done, len(applications) - done)

    def review(self, applications: Sequence[Application], *, actor: str) -> StepReport:
        """The school's review: ``entered`` → ``school_reviewed``; repeating it does nothing.

        Whoever does not want a card stays where he is (A02), here and at the approval.
        """
        return self._advance(applications, ApplicationState.SCHOOL_REVIEWED, actor)

    def approve(self, applications: Sequence[Application], *, actor: str) -> StepReport:
        """The library's approval, after the school's review where the route has one."""
        return self._advance(applications, ApplicationState.LIBRARY_APPROVED, actor)

    def _advance(
        self, applications: Sequence[Application], new: ApplicationState, actor: str
    ) -> StepReport:
        reviews = {
            school.school_id: school.review_individual
            for institution in {application.institution for application in applications}
            for school in self.store.list_schools(institution)
        }
        done = 0
        for application in applications:
            if application.willing == "unwilling":
                continue
            if application.state in _REACHED_BEFORE[new] and can_advance(
                application.state,
                new,
                route=application.route,
                review_individual=reviews.get(application.school_id, False),
            ):
                done += self.store.move_application(
                    application.application_id,
                    application.state,
                    new,
                    actor=actor,
                    now=self.now(),
                )
        return StepReport(done, len(applications) - done)

    # --- applications that nobody answered for

    def purge_unanswered(
        self, institution: InstitutionId, *, actor: str, dry_run: bool = False
    ) -> int:
        """Remove applicants whose guardians have not answered in time (decision 20); return how
        many.

        Nothing of them is kept, not even a digest: the next roster may bring them again.
        """
        limit = self.rules_of(institution).unanswered_for
        if limit is None:
            return 0
        oldest = self.now() - limit
        purged = 0
        for application in self.store.list_applications(institution, states=_WAITING):
            if application.entered_at > oldest or self._is_answered(application):
                continue
            if not dry_run:
                try:
                    self.store.erase_applicant(application.patron_id, actor=actor, now=self.now())
                except StorageConflict:  # it was taken up at this very moment
                    continue
            purged += 1
        if purged and not dry_run:
            _log.info("applications.purged", institution=institution, count=purged)
        return purged

    def _is_answered(self, application: Application) -> bool:
        return any(
            consent.scope is ConsentScope.CARD
            for consent in self.store.list_consents(application.patron_id)
        )


_WAITING = (
    ApplicationState.ENTERED,
    ApplicationState.SCHOOL_REVIEWED,
    ApplicationState.LIBRARY_APPROVED,
)
_REJECTABLE = frozenset(_WAITING)
REJECTIONS = ("not_a_pupil", "wrong_data", "twice", "other")
"""Why a reviewer ends an application."""

_REACHED_BEFORE: Mapping[ApplicationState, frozenset[ApplicationState]] = {
    ApplicationState.SCHOOL_REVIEWED: frozenset({ApplicationState.ENTERED}),
    ApplicationState.LIBRARY_APPROVED: frozenset(
        {ApplicationState.ENTERED, ApplicationState.SCHOOL_REVIEWED}
    ),
}
"""From where a reviewer may bring an application forward."""

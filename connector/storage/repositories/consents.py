"""Consents, undertakings and refusals in the database, and removing an applicant.

Nothing here decides whether a consent suffices. Rules: an answer is a new row, the latest per scope
counts; who refused leaves a keyed digest and nothing else (decision 20); a person whose card was
ever opened is not removed here.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, and_, delete, exists, false, insert, or_, select, update

from connector.domain.enrolment import ApplicationState, ConsentScope
from connector.domain.ids import Identifier, InstitutionId, PatronId
from connector.errors import StorageConflict
from connector.ports.enrolment import Consent
from connector.storage import tables
from connector.storage.retry import retry_once
from connector.storage.unit_of_work import UnitOfWork, UnitOfWorkFactory

__all__ = ["StoredConsents"]

_OPENED = tuple(
    state.value
    for state in (
        ApplicationState.ACTIVATING,
        ApplicationState.ACTIVE,
        ApplicationState.EXISTING_CARD,
    )
)
"""From ``activating`` on the ILS may have an account."""


class StoredConsents:
    """The part of ``EnrolmentStore`` that is about what guardians said."""

    def __init__(self, units: UnitOfWorkFactory) -> None:
        self._units = units

    @retry_once
    def record_consent(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        scope: ConsentScope,
        *,
        text_version: str,
        text_digest: str = "",
        given: bool,
        evidence: str,
        actor: str,
        now: datetime,
    ) -> None:
        """Record a guardian's answer."""
        with self._units.begin() as unit:
            unit.connection.execute(
                insert(tables.consent).values(
                    consent_id=str(uuid.uuid4()),
                    institution=institution,
                    person_id=patron_id,
                    scope=scope.value,
                    text_version=text_version,
                    text_digest=text_digest,
                    given_at=now if given else None,
                    refused_at=None if given else now,
                    evidence=evidence,
                    recorded_by=actor,
                    recorded_at=now,
                )
            )
            unit.audit(
                "consent.given" if given else "consent.refused",
                actor=actor,
                subject=patron_id,
                detail={"scope": scope.value, "text_version": text_version},
                institution=institution,
            )

    @retry_once
    def withdraw_consent(
        self, patron_id: PatronId, scope: ConsentScope, *, actor: str, now: datetime
    ) -> bool:
        """End a consent that holds; say whether there was one."""
        table = tables.consent
        with self._units.begin() as unit:
            changed = unit.connection.execute(
                update(table)
                .where(
                    table.c.person_id == patron_id,
                    table.c.scope == scope.value,
                    table.c.given_at.is_not(None),
                    table.c.withdrawn_at.is_(None),
                )
                .values(withdrawn_at=now)
            ).rowcount
            if changed:
                unit.audit(
                    "consent.withdrawn",
                    actor=actor,
                    subject=patron_id,
                    detail={"scope": scope.value},
                )
        return bool(changed)

    def list_consents(self, patron_id: PatronId) -> tuple[Consent, ...]:
        """Return the latest answer for each scope."""
        table = tables.consent
        query = (
            select(table)
            .where(table.c.person_id == patron_id)
            .order_by(table.c.recorded_at, table.c.consent_id)
        )
        with self._units.database.read() as connection:
            rows = connection.execute(query).all()
        return tuple({row.scope: _consent(row) for row in rows}.values())

    def list_latest_consents(
        self, institution: InstitutionId, scope: ConsentScope
    ) -> Mapping[PatronId, Consent]:
        """Return the latest answer of every person of a library for one scope."""
        table = tables.consent
        query = (
            select(table)
            .where(table.c.institution == institution, table.c.scope == scope.value)
            .order_by(table.c.recorded_at, table.c.consent_id)
        )
        with self._units.database.read() as connection:
            return {PatronId(row.person_id): _consent(row) for row in connection.execute(query)}

    @retry_once
    def record_undertaking(
        self,
        patron_id: PatronId,
        institution: InstitutionId,
        *,
        text_version: str,
        text_digest: str = "",
        evidence: str,
        actor: str,
        now: datetime,
    ) -> None:
        """Record that the guardian undertook to keep the rules (A22)."""
        with self._units.begin() as unit:
            unit.connection.execute(
                insert(tables.undertaking).values(
                    undertaking_id=str(uuid.uuid4()),
                    institution=institution,
                    person_id=patron_id,
                    text_version=text_version,
                    text_digest=text_digest,
                    given_at=now,
                    evidence=evidence,
                    recorded_by=actor,
                )
            )
            unit.audit(
                "undertaking.given",
                actor=actor,
                subject=patron_id,
                detail={"text_version": text_version},
                institution=institution,
            )

    @retry_once
    def erase_applicant(
        self,
        patron_id: PatronId,
        *,
        refused: Sequence[Identifier] = (),
        actor: str,
        now: datetime,
    ) -> None:
        """Remove a person whose card was never opened, with all that belongs to him.

        Raises:
            StorageConflict: his card was opened, or he has loans.
        """
        application = tables.application
        with self._units.begin() as unit:
            # Under lock, so that no activation begins between the look and the removal.
            found = unit.connection.execute(
                select(application.c.state, application.c.activated_at)
                .where(application.c.person_id == patron_id)
                .with_for_update()
            ).all()
            if any(row.state in _OPENED or row.activated_at is not None for row in found):
                raise StorageConflict("card_was_opened")
            institution = unit.connection.execute(
                select(tables.person.c.institution).filter_by(person_id=patron_id)
            ).scalar()
            _keep_digests(unit, refused, institution or "", now)
            unit.connection.execute(
                delete(tables.person).where(tables.person.c.person_id == patron_id)
            )
            unit.audit(
                "enrolment.erased",
                actor=actor,
                subject=patron_id,
                detail={"refused": int(bool(refused))},
                institution=institution or "",
            )

    @retry_once
    def remember_refusal(
        self,
        identifiers: Sequence[Identifier],
        institution: InstitutionId,
        *,
        actor: str,
        now: datetime,
    ) -> None:
        """Keep a keyed digest of each number."""
        with self._units.begin() as unit:
            if _keep_digests(unit, identifiers, institution, now):
                unit.audit("refusal.remembered", actor=actor, institution=institution)

    @retry_once
    def forget_refusal(self, identifiers: Sequence[Identifier], institution: InstitutionId) -> None:
        """Drop a library's digests: the guardian changed his mind."""
        with self._units.begin() as unit:
            for identifier in identifiers:
                for key_id, digest in unit.keyring.refusal_digests(identifier):
                    unit.connection.execute(
                        delete(tables.refusal).filter_by(
                            digest=digest, key_id=key_id, institution=institution
                        )
                    )

    def is_refused(self, identifiers: Sequence[Identifier], institution: InstitutionId) -> bool:
        """Say whether a guardian refused for a child with any of these numbers."""
        table = tables.refusal
        digests = [
            and_(table.c.key_id == key_id, table.c.digest == digest)
            for identifier in identifiers
            for key_id, digest in self._units.keyring.refusal_digests(identifier)
        ]
        query = select(exists().where(table.c.institution == institution, or_(false(), *digests)))
        with self._units.database.read() as connection:
            return bool(connection.execute(query).scalar_one())


def _keep_digests(
    unit: UnitOfWork, identifiers: Sequence[Identifier], institution: str, now: datetime
) -> int:
    """Write the digests by the active key; return how many are new."""
    kept = 0
    for identifier in identifiers:
        key_id, digest = unit.keyring.refusal_digests(identifier)[0]
        kept += unit.insert_or_ignore(
            tables.refusal,
            {
                "digest": digest,
                "key_id": key_id,
                "institution": institution,
                "scope": ConsentScope.CARD.value,
                "refused_at": now,
            },
        )
    return kept


def _consent(row: Row[Any]) -> Consent:
    return Consent(
        patron_id=PatronId(row.person_id),
        scope=ConsentScope(row.scope),
        text_version=row.text_version,
        given=row.given_at is not None,
        recorded_at=row.recorded_at,
        withdrawn_at=row.withdrawn_at,
        evidence=row.evidence,
        text_digest=row.text_digest,
    )

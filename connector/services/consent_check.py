"""Asks what a guardian said, and whether it holds today, for one application.

Nothing here records an answer or opens a card; the rule is ``connector.domain.consent``.
"""

from __future__ import annotations

from datetime import date, datetime

from connector.domain.consent import ConsentVerdict, decide_consent
from connector.domain.enrolment import ConsentScope
from connector.domain.ids import PatronId
from connector.errors import NotFound
from connector.ports.enrolment import Application, EnrolmentStore
from connector.ports.store import PatronRegister
from connector.services.enrolment_rules import EnrolmentRules

__all__ = ["check_consent", "find_birth_date"]


def check_consent(
    application: Application,
    *,
    store: EnrolmentStore,
    register: PatronRegister,
    rules: EnrolmentRules,
    now: datetime,
    scope: ConsentScope = ConsentScope.CARD,
) -> ConsentVerdict:
    """Decide whether the consent for a scope holds at this moment (A03, decision 19)."""
    return decide_consent(
        store.list_consents(application.patron_id),
        birth_date=find_birth_date(register, rules, application.patron_id),
        today=rules.today(now),
        text=rules.consent_terms,
        rules=rules.consent_rules,
        scope=scope,
    )


def find_birth_date(
    register: PatronRegister, rules: EnrolmentRules, patron_id: PatronId
) -> date | None:
    """Return the birth date where a rule asks for it, so that it is not opened for nothing."""
    if not rules.consent_at_fourteen:
        return None
    try:
        return register.fetch_personal(patron_id).birth_date
    except NotFound:
        return None

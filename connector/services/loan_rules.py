"""Does each library's ILS lend as the policy says? Asked at the start and by the doctor.

Nothing here changes a rule of an ILS. Rules (scenario 31) —

- an ILS that tells its own rules is compared rule by rule;
- of one that cannot (SIP2 only), the due dates that it gave in the last weeks are the evidence;
- what a mismatch does is the library's choice: warn, refuse to start, or correct each due date
  where the ILS lets it be changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from connector.domain.ids import Barcode, InstitutionId
from connector.domain.library import Library, RuleMismatch
from connector.domain.policy import select_policy
from connector.errors import AdapterError
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.ils import Capability, IlsAdapter
from connector.services.policy_check import Mismatch, compare_rules

__all__ = ["DueDates", "LoanRuleCheck", "RuleReport", "correct_due_date"]

_log = get_logger(__name__)

EVIDENCE_DAYS = 30
"""How far back the due dates of an ILS are looked at."""


class DueDates(Protocol):
    """What the ledger knows of the due dates that an ILS gave."""

    def count_due_dates(self, lender: InstitutionId, since: datetime) -> tuple[int, int]:
        """Return loans opened since then, and how many of them have another day than the
        policy's.
        """
        ...


@dataclass(frozen=True, slots=True)
class RuleReport:
    """What is known of one ILS's rules.

    Attributes:
        is_told: the ILS told its rules; otherwise only due dates were looked at.
        loans, differing: loans of the last weeks, and how many have another due date.
    """

    mismatches: tuple[Mismatch, ...] = ()
    is_told: bool = False
    loans: int = 0
    differing: int = 0

    @property
    def lets_policy_work(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.mismatches and not self.differing


class LoanRuleCheck:
    """One instance serves all libraries."""

    def __init__(
        self,
        *,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        due_dates: DueDates,
        category: str,
        now: Clock,
    ) -> None:
        self._libraries = libraries
        self._adapters = adapters
        self._due_dates = due_dates
        self._category = category
        self._now = now

    def check(self, code: InstitutionId) -> RuleReport:
        """Compare one ILS with the policy that is in force today.

        Raises:
            AdapterError: the ILS cannot be asked now.
        """
        library, adapter, now = self._libraries[code], self._adapters[code], self._now()
        policy = select_policy(library.policies, self._category, library.today(now))
        if policy is None:
            return RuleReport()
        obeys = Capability.SET_DUE_DATE in adapter.capabilities
        if Capability.LOAN_RULES in adapter.capabilities:
            rules = adapter.loan_rules()
            return RuleReport(compare_rules(policy, rules, obeys_due_dates=obeys), is_told=True)
        since = now - timedelta(days=EVIDENCE_DAYS)
        loans, differing = self._due_dates.count_due_dates(code, since)
        return RuleReport(loans=loans, differing=differing)

    def list_barred(self) -> tuple[InstitutionId, ...]:
        """Return libraries that are not to be served: their ILS lends otherwise, and they chose to
        refuse the start then. One that cannot be asked now is none of them.
        """
        barred = []
        for code, library in self._libraries.items():
            try:
                report = self.check(code)
            except AdapterError as err:
                _log.warning("rules.not_checked", institution=code, error=type(err).__name__)
                continue
            if report.lets_policy_work:
                continue
            _log.warning(
                "rules.mismatch_found",
                institution=code,
                count=len(report.mismatches) or report.differing,
            )
            if library.rule_mismatch is RuleMismatch.REFUSE:
                barred.append(code)
        return tuple(barred)


def correct_due_date(
    library: Library, adapter: IlsAdapter, barcode: Barcode, wanted: datetime
) -> bool:
    """Give a loan the policy's due date in the ILS, where the library chose so and the ILS can;
    say whether it has it now.
    """
    if (
        library.rule_mismatch is not RuleMismatch.CORRECT
        or Capability.CHANGE_DUE_DATE not in adapter.capabilities
    ):
        return False
    try:
        adapter.change_due_date(barcode, wanted)
    except AdapterError as err:
        _log.warning("loan.due_date_kept", institution=library.code, error=type(err).__name__)
        return False
    return True

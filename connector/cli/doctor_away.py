"""What ``onecard doctor`` looks at about library systems that were away.

Nothing here prints or changes anything. Rule: a warning says what to run.
"""

from __future__ import annotations

from datetime import timedelta

from connector.bootstrap import Application
from connector.domain.ids import InstitutionId
from connector.plugins.hookspecs import HealthResult

__all__ = ["check_backlog"]

_LATE_AFTER = timedelta(hours=1)


def check_backlog(app: Application, code: InstitutionId) -> HealthResult:
    """Say whether the library system has heard of everything that happened at its machines."""
    found = next((each for each in app.away.list_backlogs() if each.institution == code), None)
    if found is None:
        return HealthResult("ok", "It has heard of everything.")
    if found.conflicts:
        return HealthResult(
            "warn",
            f"{found.conflicts} events do not fit what it says; {found.waiting} wait.",
            "See: onecard ledger deferred, then: onecard ledger resolve SEQ --as done|drop|again",
        )
    if found.oldest is not None and app.now() - found.oldest > _LATE_AFTER:
        hours = (app.now() - found.oldest) / timedelta(hours=1)
        return HealthResult(
            "warn",
            f"{found.waiting} events wait for it, the oldest for {hours:.0f} h.",
            "Mend the connection; then, or at once: onecard ledger deferred --replay",
        )
    return HealthResult("ok", f"{found.waiting} events wait for it, for less than an hour.")

"""What ``onecard doctor`` looks at about outcomes that nobody knows, and about switched modes.

Nothing here prints or changes anything. Rule: a warning says what to run.
"""

from __future__ import annotations

from datetime import timedelta

from connector.bootstrap import Application
from connector.domain.ids import InstitutionId
from connector.domain.library import Mode
from connector.plugins.hookspecs import HealthResult

__all__ = ["check_mode", "check_open"]

_LATE_AFTER = timedelta(hours=1)


def check_open(app: Application, code: InstitutionId) -> HealthResult:
    """Warn of what is open for over an hour."""
    found = app.open_outcomes.list_open(code)
    late = [each for each in found if app.now() - each.since > _LATE_AFTER]
    if not late:
        return HealthResult("ok", f"{len(found)} are open, none for over an hour.")
    kinds = ", ".join(
        f"{count} {kind}s"
        for kind in sorted({each.kind.value for each in late})
        if (count := sum(each.kind.value == kind for each in late))
    )
    return HealthResult(
        "warn", f"Open for over an hour: {kinds}.", "See: onecard ledger unknown --settle"
    )


def check_mode(app: Application, code: InstitutionId) -> HealthResult:
    """Say which mode holds; warn of a bypass, which is for emergencies."""
    found = app.libraries.describe(code)
    switch = found.switch
    words = f"{found.mode.value}; the settings say {found.settings.value}"
    if switch is not None and switch.mode is not None:
        words += f"; switched by {switch.actor} on {switch.since:%Y-%m-%d}"
    if found.mode is Mode.BYPASS:
        remedy = f'When it is over: onecard library mode {code} enforce --reason "..."'
        return HealthResult("warn", f"{words}.", remedy)
    return HealthResult("ok", f"{words}.")

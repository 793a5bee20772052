"""What ``onecard doctor`` looks at on the side of the registration machines.

Nothing here mends anything or talks to a machine.
"""

from __future__ import annotations

from connector.bootstrap import Application
from connector.plugins.hookspecs import HealthResult
from connector.sip2.dialects import find_dialect
from connector.sip2.terminal import Permission, Terminal

__all__ = ["check_registration", "has_registration"]

_PERMISSIONS = frozenset({Permission.REGISTER_PATRONS, Permission.FIND_BY_ID})


def has_registration(app: Application) -> bool:
    """Say whether any terminal may register people."""
    return any(terminal.permissions & _PERMISSIONS for terminal in app.terminals.values())


def check_registration(app: Application) -> HealthResult:
    """Warn of machines that may register pupils and cannot: no dialect, or no such school."""
    wrong = [
        f"{terminal.terminal_id} ({why})"
        for terminal in app.terminals.values()
        if terminal.permissions & _PERMISSIONS and (why := _find_fault(app, terminal))
    ]
    if not wrong:
        return HealthResult("ok", "Every registration machine can do its work.")
    return HealthResult(
        "warn",
        f"These cannot register anybody: {', '.join(wrong)}.",
        'Set dialect = "chinese-kiosk", and a school of: onecard enrol school list',
    )


def _find_fault(app: Application, terminal: Terminal) -> str:
    if "81" not in find_dialect(terminal.wire.dialect).specs:
        return "its dialect has no such messages"
    if Permission.REGISTER_PATRONS not in terminal.permissions or not terminal.school:
        return ""
    for school in app.enrolment.list_schools(terminal.institution):
        if terminal.school in {school.code, school.name}:
            if school.disabled or school.entry_mode == "batch":
                return f"school {school.code} does not enter pupils one by one"
            return ""
    return f"there is no school {terminal.school}"

"""``onecard doctor``: is everything in order, and if not, what is to be changed?

Nothing here mends anything. Rule: a check never raises; what goes wrong inside is its result, with
the remedy.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Literal

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, explain, json_option, pass_cli, write_json
from connector.cli.doctor_away import check_backlog
from connector.cli.doctor_kiosks import (
    check_clocks,
    check_plain_port,
    check_tls_port,
    check_words,
)
from connector.cli.doctor_open import check_mode, check_open
from connector.cli.doctor_privacy import check_files, check_keys_backup, check_retention
from connector.cli.doctor_registration import check_registration, has_registration
from connector.domain.ids import InstitutionId
from connector.domain.library import RuleMismatch
from connector.domain.policy import select_policy
from connector.enrolment.consent_texts import TextKind
from connector.errors import (
    AdapterError,
    ConfigurationError,
    StorageConflict,
    StorageUnavailable,
)
from connector.plugins.hookspecs import HealthResult
from connector.ports.ils import IlsAdapter
from connector.settings import Settings
from connector.storage.crypto import Keyring
from connector.storage.migrate import check_database, check_writing

__all__ = ["Check", "doctor", "run_checks"]

OLDEST_PLAUSIBLE = datetime(2026, 1, 1, tzinfo=UTC)
"""The project did not exist before: a clock that shows less is wrong."""


@dataclass(frozen=True, slots=True)
class Check:
    """One result, as ``--json`` prints it."""

    name: str
    status: Literal["ok", "warn", "fail"]
    message: str
    remedy: str = ""


@click.command("doctor")
@json_option
@pass_cli
def doctor(cli: CliContext, *, as_json: bool) -> None:
    """Check settings, keys, database, clock, library systems, and loan rules against the policy.

    \b
    Example:
      onecard doctor --json
    """
    checks = []
    for check in run_checks(cli):
        checks.append(check)
        if not as_json:
            _print(check)
    ok = all(check.status != "fail" for check in checks)
    if as_json:
        write_json({"ok": ok, "checks": [asdict(check) for check in checks]})
    else:
        click.echo("All is well." if ok else "Not everything is well; see above.")
    sys.exit(0 if ok else 1)


def run_checks(cli: CliContext) -> Iterator[Check]:
    """Yield each check as it ends; what depends on a failed one is left out."""
    try:
        settings = cli.settings
    except ConfigurationError as err:
        yield Check("settings", "fail", err.message, err.remedy)
        return
    yield Check("settings", "ok", f"{cli.config} is valid.")
    yield from _clock_checks(settings)
    storage = [
        _guarded("keys", lambda: _check_keys(settings.store.key_file)),
        _guarded("database", lambda: _check_database(settings)),
        _guarded("files", lambda: check_files(settings)),
    ]
    yield from storage
    if any(check.status == "fail" for check in storage):
        return
    try:
        app = cli.app
    except Exception as err:  # noqa: BLE001 - whatever stops the start is a result here
        yield _failed("start", err)
        return
    yield from _terminal_checks(app)
    yield from _enrolment_checks(app)
    for code, adapter in app.adapters.items():
        yield _guarded(f"mode {code}", partial(check_mode, app, code))
        yield _guarded(f"open outcomes {code}", partial(check_open, app, code))
        yield _guarded(f"untold {code}", partial(check_backlog, app, code))
        ping = _guarded(f"adapter {code}", partial(_check_adapter, adapter))
        yield ping
        if ping.status != "fail":
            yield from _rule_checks(app, adapter)
    for health in app.plugins.health_checks(app.info):
        yield _guarded(health.name, health.run)


def _enrolment_checks(app: Application) -> Iterator[Check]:
    enrolment = app.settings.enrolment
    for code in app.libraries:
        yield _guarded(f"consent texts {code}", partial(_check_texts, app, code))
        if enrolment.liaison_deadline is not None:
            yield _guarded(f"liaisons {code}", partial(_check_liaisons, app, code))
    if has_registration(app):
        yield _guarded("registration machines", lambda: check_registration(app))
    if enrolment.feeds:
        yield _guarded("feeds", lambda: _check_feeds(app))
    yield _guarded("retention", lambda: check_retention(app))
    yield _guarded("backup", lambda: check_keys_backup(app))


def _print(check: Check) -> None:
    mark, colour = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("FAIL", "red")}[
        check.status
    ]
    click.echo(f"{click.style(mark, fg=colour)}  {check.name}: {check.message}")
    if check.remedy:
        click.echo(f"      → {check.remedy}")


def _guarded(name: str, run: Callable[[], HealthResult]) -> Check:
    try:
        result = run()
    except Exception as err:  # noqa: BLE001 - a check that breaks is a failed check
        return _failed(name, err)
    return Check(name, result.status, result.message, result.remedy)


def _failed(name: str, err: Exception) -> Check:
    if isinstance(err, ConfigurationError):
        return Check(name, "fail", err.message, err.remedy)
    message, _, remedy = explain(err).partition(". ")
    return Check(name, "fail", f"{message.rstrip('.')}.", remedy)


def _check_keys(path: Path) -> HealthResult:
    keys = Keyring.load(path)
    count = len(keys.key_ids)
    return HealthResult("ok", f"{path.name} is readable by its owner only; {count} key(s).")


def _check_database(settings: Settings) -> HealthResult:
    state = check_database(settings.store.url)
    if state.is_current:
        try:
            check_writing(settings.store.url)
        except (StorageConflict, StorageUnavailable) as err:
            return HealthResult(
                "fail",
                f"It can be read, but not written ({err}).",
                "Check who owns its file and folder, the disk, and what else uses it.",
            )
        return HealthResult("ok", f"Revision {state.found}.")
    found = state.found or "empty"
    return HealthResult(
        "fail",
        f"The database is {found}, the program needs {state.wanted}.",
        "Run: onecard db upgrade",
    )


def _clock_checks(settings: Settings) -> Iterator[Check]:
    now = datetime.now(UTC)
    if now < OLDEST_PLAUSIBLE:
        yield Check("clock", "fail", f"It shows {now:%Y-%m-%d}.", "Set it, and run NTP.")
    else:
        yield Check("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC.")
    for library in settings.domain_libraries():
        local = now.astimezone(library.zone)
        name = f"zone {library.code}"
        policy = select_policy(library.policies, settings.enrolment.category, local.date())
        yield Check(name, "ok", f"{local:%Y-%m-%d %H:%M} in {library.zone.key}.")
        if policy is None:
            yield Check(
                f"policy {library.code}",
                "fail",
                f"No policy of {settings.enrolment.category} is in force today.",
                "Set effective_from of its [policy] table to today or earlier.",
            )
        else:
            yield Check(f"policy {library.code}", "ok", f"Version {policy.version}.")


def _terminal_checks(app: Application) -> Iterator[Check]:
    settings = app.settings
    if not settings.sip2.enabled:
        return
    yield _guarded("kiosk port", lambda: check_plain_port(settings))
    if settings.sip2.tls is not None:
        tls = partial(check_tls_port, settings.sip2.tls, app.now())
        yield _guarded("kiosk TLS port", tls)
    yield _guarded("kiosk clocks", lambda: check_clocks(app))
    yield _guarded("kiosk words", lambda: check_words(settings))
    for library in settings.libraries:
        if not any(terminal.library == library.code for terminal in settings.sip2.terminals):
            yield Check(
                f"terminals {library.code}",
                "warn",
                "No self-check machine is configured.",
                "Add [[sip2.terminals]] with login and password_file.",
            )


def _check_feeds(app: Application) -> HealthResult:
    statuses = app.feeds.list_status()
    troubled = [
        status.feed.name
        for status in statuses
        if status.stale or status.state.last_error or not status.feed.folder.is_dir()
    ]
    if not troubled:
        return HealthResult("ok", f"{len(statuses)} roster feeds are fresh.")
    return HealthResult(
        "warn",
        f"Stale, without a folder or with files that were not taken: {', '.join(troubled)}.",
        f"Run: onecard enrol feeds --run {troubled[0]}",
    )


def _check_liaisons(app: Application, code: InstitutionId) -> HealthResult:
    report = app.schools.report_liaisons(code)
    missing = len(report.schools) + report.library_is_missing
    if not missing:
        return HealthResult("ok", "Every school has named its liaison.")
    status: Literal["ok", "warn"] = "warn" if report.is_overdue else "ok"
    return HealthResult(
        status,
        f"{missing} have named no liaison; the day is {report.deadline}.",
        "See: onecard enrol school liaisons --overdue" if report.is_overdue else "",
    )


def _check_texts(app: Application, code: InstitutionId) -> HealthResult:
    text = app.consents.find_text(code)
    undertaking = app.consents.find_text(code, kind=TextKind.UNDERTAKING)
    changed = app.consents.count_other_wording(code)
    if changed:
        return HealthResult(
            "warn",
            f"{changed} consents were signed for another wording of version {text.version}.",
            "Restore the text, and give the new wording a version of its own.",
        )
    return HealthResult(
        "ok", f"Consent {text.version}, undertaking {undertaking.version}, in {text.language}."
    )


def _check_adapter(adapter: IlsAdapter) -> HealthResult:
    adapter.ping()
    return HealthResult("ok", f"{adapter.name} answers; {len(adapter.capabilities)} capabilities.")


def _rule_checks(app: Application, adapter: IlsAdapter) -> Iterator[Check]:
    code = adapter.institution_id
    name = f"loan rules {code}"
    try:
        report = app.loan_rules.check(code)
    except AdapterError as err:
        yield _failed(name, err)
        return
    status: Literal["warn", "fail"] = (
        "fail" if app.libraries[code].rule_mismatch is RuleMismatch.REFUSE else "warn"
    )
    for mismatch in report.mismatches:
        remedy = f"Change {mismatch.setting} in the library system."
        yield Check(name, status, f"{mismatch}.", remedy)
    if report.differing:
        message = f"{report.differing} of the last {report.loans} loans got another due date."
        yield Check(name, status, message, "Mend the loan period of its student category.")
    elif not report.is_told and not report.loans:
        message = f"{adapter.name} cannot tell its own loan rules, and no loan has shown them yet."
        yield Check(name, "warn", message, "Compare them by hand.")
    elif report.lets_policy_work:
        yield Check(name, "ok", "They let the policy work.")

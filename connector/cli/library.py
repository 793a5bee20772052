"""``onecard library mode | report``: how far the policy reaches at a library, and what it would do.

Nothing here decides; ``connector.services.modes`` and ``going_live`` do. Rules (decision 18): a
switch is written with who and why, and the command that takes it back is printed with it.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta

import click

from connector.bootstrap import Application
from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import by_option
from connector.cli.library_report import collect_report, print_report
from connector.cli.moments import in_zone, until_option
from connector.domain.ids import InstitutionId
from connector.domain.library import Mode
from connector.services.modes import ModeNow

__all__ = ["library"]

_SETTINGS = "settings"
_PERIOD = re.compile(r"([1-9][0-9]{0,3})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_SHOWN = 10
_LONGEST_REASON = 200


def _period(ctx: click.Context, param: click.Parameter, value: str | None) -> timedelta | None:
    """Return a period such as 90m, 2h or 3d."""
    if value is None:
        return None
    found = _PERIOD.fullmatch(value)
    if found is None:
        raise click.BadParameter(f"{value!r} is no period such as 90m, 2h or 3d.", ctx, param)
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


@click.group("library")
def library() -> None:
    """Libraries: mode, report before going live."""


@library.command("mode")
@click.argument("code")
@click.argument(
    "mode", required=False, type=click.Choice([*(mode.value for mode in Mode), _SETTINGS])
)
@click.option("--reason", default="", help="Why, in a few words; no reader's name or number.")
@click.option(
    "--for", "period", callback=_period, help="Fall back by itself after so long: 90m, 2h, 3d."
)
@until_option
@by_option
@json_option
@pass_cli
def mode_command(
    cli: CliContext,
    code: str,
    mode: str | None,
    *,
    reason: str,
    period: timedelta | None,
    until: datetime | None,
    actor: str,
    as_json: bool,
) -> None:
    """Show the mode of the library CODE and its last switches, or switch it; nothing is restarted.

    observe: the library system answers, and what the policy would refuse is counted. enforce: the
    policy decides. bypass: the library system decides alone, for emergencies. settings: back to
    what the settings file says. Every process follows within seconds.

    \b
    Example:
      onecard library mode LIB bypass --for 2h --reason "rules refuse too much"
    """
    app = cli.app
    institution = _find(app, code)
    if mode is None:
        if reason or period or until:
            raise click.UsageError("Name the mode to switch to.")
        _show(app, institution, app.libraries.describe(institution), as_json=as_json)
        return
    words = " ".join(reason.split())
    if not words:
        raise click.UsageError("Say why, with --reason.")
    if len(words) > _LONGEST_REASON:
        raise click.UsageError(f"A reason has at most {_LONGEST_REASON} characters.")
    if period and until:
        raise click.UsageError("Give --for or --until, not both.")
    before = app.libraries.describe(institution)
    end = _end(app, institution, period, until)
    switched = app.libraries.switch(
        institution,
        None if mode == _SETTINGS else Mode(mode),
        reason=words,
        until=end,
        actor=actor,
    )
    _show(app, institution, switched, as_json=as_json, before=before)


@library.command("report")
@click.argument("code")
@click.option("--days", default=7, show_default=True, help="How many days back, today included.")
@json_option
@pass_cli
def report_command(cli: CliContext, code: str, *, days: int, as_json: bool) -> None:
    """Count what the machines of the library CODE did, what was refused or would have been, and
    list what is missing before it enforces the policy.

    \b
    Example:
      onecard library report LIB --days 7
    """
    if days < 1:
        raise click.UsageError("--days counts from 1.")
    app = cli.app
    found = collect_report(app, _find(app, code), days)
    if as_json:
        write_json(found)
    else:
        print_report(found)


def _find(app: Application, code: str) -> InstitutionId:
    institution = InstitutionId(code)
    if institution not in app.libraries:
        raise Refused(f"There is no library {code}. Use one of: {', '.join(app.libraries)}.")
    return institution


def _end(
    app: Application, code: InstitutionId, period: timedelta | None, until: datetime | None
) -> datetime | None:
    now = app.now()
    end = now + period if period else in_zone(until, app.libraries[code].zone)
    if end is not None and end <= now:
        raise click.UsageError("The end lies in the past.")
    return end


def _show(
    app: Application,
    code: InstitutionId,
    found: ModeNow,
    *,
    as_json: bool,
    before: ModeNow | None = None,
) -> None:
    back = None if before is None else _switch_back(app, code, before)
    switch = found.switch
    last = app.libraries.list_switches(code, limit=_SHOWN)
    if as_json:
        write_json(
            {
                "library": code,
                "mode": found.mode.value,
                "settings": found.settings.value,
                "since": switch.since.isoformat() if switch else None,
                "until": switch.until.isoformat() if switch and switch.until else None,
                "then": found.then.value if found.then else None,
                "by": switch.actor if switch else None,
                "reason": switch.reason if switch else None,
                "switch_back": back,
                "switches": [
                    {
                        "mode": one.mode.value if one.mode else _SETTINGS,
                        "since": one.since.isoformat(),
                        "until": one.until.isoformat() if one.until else None,
                        "by": one.actor,
                        "reason": one.reason,
                    }
                    for one in last
                ],
            }
        )
        return
    if switch is None or switch.mode is None:
        click.echo(f"{code}: {found.mode.value}, as the settings say.")
    else:
        click.echo(f"{code}: {found.mode.value}; the settings say {found.settings.value}.")
    if switch is not None:
        click.echo(f"Since {_local(app, code, switch.since)} by {switch.actor}: {switch.reason}")
        if switch.until is not None and found.then is not None:
            click.echo(f"Until {_local(app, code, switch.until)}, then {found.then.value}.")
    if back is not None:
        click.echo(f"To switch back: {back}")
        return
    for one in last:
        word = one.mode.value if one.mode else _SETTINGS
        click.echo(f"  {_local(app, code, one.since)} {word} by {one.actor}: {one.reason}")


def _switch_back(app: Application, code: InstitutionId, before: ModeNow) -> str:
    """Return the command that restores what held before, until when it would have held."""
    switch = before.switch
    words = ["onecard library mode", code]
    if switch is None or switch.mode is None:
        words.append(_SETTINGS)
    else:
        words.append(before.mode.value)
        if switch.until is not None:
            end = switch.until.astimezone(app.libraries[code].zone)
            words.append(f"--until {end:%Y-%m-%dT%H:%M:%S}")
    return " ".join([*words, '--reason "switched back"'])


def _local(app: Application, code: InstitutionId, moment: datetime) -> str:
    return moment.astimezone(app.libraries[code].zone).strftime("%Y-%m-%d %H:%M")

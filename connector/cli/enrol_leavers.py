"""``onecard enrol leavers``: pupils whom a complete roster does not name, held for a decision.

Nothing here decides. Rules (scenario 26): nobody is closed who was not chosen by number or by
``--all``; names are masked; looking is audited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_shared import (
    by_option,
    find_batch,
    lang_option,
    library_option,
    parse_rows,
    print_table,
)
from connector.domain.class_names import ClassName
from connector.domain.identity import mask_name, mask_number
from connector.errors import NotFound
from connector.ports.enrolment import Batch
from connector.ports.schools import ClassMember
from connector.ports.store import PersonalData

__all__ = ["COMMANDS"]


@click.command("leavers")
@click.argument("batch")
@click.option("--confirm", is_flag=True, help="The chosen pupils have left: close them.")
@click.option("--dismiss", is_flag=True, help="The chosen pupils stay.")
@click.option("--rows", help="Numbers of the list, such as 2-30,35.")
@click.option("--all", "everybody", is_flag=True, help="All of the list.")
@library_option
@by_option
@lang_option
@json_option
@pass_cli
def leavers(
    cli: CliContext,
    batch: str,
    *,
    confirm: bool,
    dismiss: bool,
    rows: str | None,
    everybody: bool,
    library: str | None,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """List the pupils whom the complete roster of BATCH does not name, and say who has left.

    A confirmed leaver whose card was never opened is removed; an open card takes returns only from
    now on. Doing it again is harmless.

    \b
    Example:
      onecard enrol leavers 2026-0001
      onecard enrol leavers 2026-0001 --confirm --rows 1-4,7
      onecard enrol leavers 2026-0001 --dismiss --all
    """
    app = cli.app
    found = find_batch(app, batch, library)
    language = lang or cli.lang
    if not confirm and not dismiss:
        if rows or everybody:
            raise click.UsageError("Say what of them: --confirm or --dismiss.")
        app.enrolment.audit.append("enrolment.leavers_shown", actor=actor, subject=found.batch_id)
        listed = _list_leavers(cli, found, language)
        if as_json:
            write_json(listed)
        else:
            print_table(listed, empty=_WORDS[language]["nobody"])
        return
    if confirm and dismiss:
        raise click.UsageError("Give --confirm or --dismiss, not both.")
    if bool(rows) == everybody:
        raise click.UsageError("Give --rows for the numbers of the list, or --all.")
    decide = app.enrolment.leavers.confirm if confirm else app.enrolment.leavers.dismiss
    try:
        report = decide(found, parse_rows(rows), actor=actor)
    except NotFound as err:
        raise Refused(f"{err}. See: onecard enrol leavers {batch}") from err
    if as_json:
        write_json({"batch": found.number, "left": report.left, "kept": report.kept,
                    "open": report.open})  # fmt: skip
    else:
        words = _WORDS[language]["decided"]
        click.echo(words.format(found.number, report.left, report.kept, report.open))


def _list_leavers(cli: CliContext, batch: Batch, language: str) -> list[dict[str, Any]]:
    app = cli.app
    pairs = app.enrolment.leavers.list_leavers(batch)
    patrons = [leaver.patron_id for leaver, _ in pairs]
    known = app.store.people.fetch_personal_many(patrons)
    members = app.store.schools.find_memberships(patrons)
    rows = []
    for leaver, application in pairs:
        is_here = application is not None and application.school_id == batch.school_id
        data = known.get(leaver.patron_id) if is_here else None
        data = data or PersonalData(name="")
        rows.append(
            {
                "number": leaver.serial,
                "name": mask_name(data.name),
                "id_number": mask_number(data.id_number),
                "class": _class_of(members.get(leaver.patron_id), language) if is_here else "",
                "state": application.state.value if application is not None and is_here else "",
                "decision": leaver.state.value,
            }
        )
    return rows


def _class_of(member: ClassMember | None, language: str) -> str:
    if member is None:
        return ""
    return ClassName(member.school_class.level, member.school_class.name).title(language)


_WORDS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "nobody": "Nobody is on the list of this batch.",
        "decided": "batch {}: {} left, {} stay, {} still to be decided on.",
    },
    "zh": {
        "nobody": "该批次没有待确认的离校学生。",
        "decided": "批次 {}：{} 人离校，{} 人保留，{} 人待定。",
    },
}


COMMANDS: tuple[click.Command, ...] = (leavers,)

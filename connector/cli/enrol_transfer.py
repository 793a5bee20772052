"""``onecard enrol transfer`` and ``move``: pupils who go to another school, or to another class.

Nothing here decides. Rule: a card number may be typed, any other number is asked for.
"""

from __future__ import annotations

import click

from connector.cli.context import CliContext, Refused, json_option, pass_cli, write_json
from connector.cli.enrol_school import read_class
from connector.cli.enrol_shared import by_option, find_school, lang_option, library_option
from connector.cli.patron_option import ask_number, find_patron, look_up_patron
from connector.cli.progress import Progress
from connector.domain.enrolment import CLOSED_STATES
from connector.domain.ids import InstitutionId, PatronId
from connector.errors import NotFound
from connector.ports.tasks import TaskKind

__all__ = ["COMMANDS"]


@click.command("transfer")
@click.argument("card", required=False)
@click.option("--to", "code", help="Code of the new school.")
@click.option("--task", "task_id", help="Task of a pupil whom two schools name; instead of CARD.")
@click.option("--class", "class_text", help="His class there, such as 3/2.")
@click.option(
    "--finished",
    is_flag=True,
    help="Everybody whom a roster of the new school names and who has finished his old one.",
)
@library_option
@by_option
@json_option
@pass_cli
def transfer(
    cli: CliContext,
    card: str | None,
    *,
    code: str | None,
    task_id: str | None,
    class_text: str | None,
    finished: bool,
    library: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Transfer the pupil with CARD to another school of the library.

    His card, his loans and his guardian's consent stay; the old school no longer sees him. Without
    CARD his number is asked for; a task of the kind two_schools names pupil and school itself.

    \b
    Example:
      onecard enrol transfer S00000012 --to s2 --class 3/2
      onecard enrol transfer --task 6f1e2a90
      onecard enrol transfer --finished --to s2
    """
    app = cli.app
    if finished:
        _transfer_finished(cli, code, library, actor=actor, as_json=as_json)
        return
    if task_id is not None:
        patron_id, institution, from_task = _read_task(cli, task_id)
        school = find_school(cli, code or from_task, institution)
    else:
        if code is None:
            raise click.UsageError("Give --to, the code of the new school, or --task.")
        patron_id = _ask_patron(cli, card)
        school = find_school(cli, code, library)
    place = read_class(cli, school, class_text) if class_text else None
    try:
        moved = app.transfers.transfer_pupil(patron_id, school, place, actor=actor)
    except NotFound as err:
        raise Refused("The pupil has no open application; import him at the school.") from err
    if as_json:
        write_json({"patron": patron_id, "school": school.code, "transferred": moved})
    else:
        click.echo(f"{school.code}: {'transferred' if moved else 'he is at this school already'}.")


def _transfer_finished(
    cli: CliContext, code: str | None, library: str | None, *, actor: str, as_json: bool
) -> None:
    if code is None:
        raise click.UsageError("Give --to, the code of the new school.")
    school = find_school(cli, code, library)
    with Progress(school.code) as progress:
        moved = cli.app.transfers.transfer_finished(school, actor=actor, on_progress=progress.show)
    if as_json:
        write_json({"school": school.code, "transferred": moved})
    else:
        click.echo(f"{school.code}: {moved} transferred.")


def _read_task(cli: CliContext, task_id: str) -> tuple[PatronId, InstitutionId, str]:
    task = cli.app.store.tasks.find_task(task_id)
    if task is None or task.kind is not TaskKind.TWO_SCHOOLS or task.patron_id is None:
        raise Refused("There is no such task of a pupil whom two schools name.")
    if task.done_at is not None:
        raise Refused(f"This task is done already ({task.outcome}).")
    return task.patron_id, task.institution, str(task.detail.get("school", ""))


@click.command("move")
@click.argument("card", required=False)
@click.option("--class", "class_text", required=True, help="His new class, such as 3/2.")
@by_option
@lang_option
@json_option
@pass_cli
def move(
    cli: CliContext,
    card: str | None,
    *,
    class_text: str,
    actor: str,
    lang: str | None,
    as_json: bool,
) -> None:
    """Move the pupil with CARD to another class of his school; without CARD a number is asked for.

    \b
    Example:
      onecard enrol move S00000012 --class 3/2
    """
    app = cli.app
    patron_id = _ask_patron(cli, card)
    application = app.enrolment.store.find_application(patron_id)
    school = next(
        (
            school
            for institution in app.libraries
            for school in app.enrolment.list_schools(institution)
            if application is not None
            and application.state not in CLOSED_STATES
            and school.school_id == application.school_id
        ),
        None,
    )
    if school is None:
        raise Refused("The pupil has no open application at a school.")
    place = read_class(cli, school, class_text)
    moved = app.transfers.move_pupil(patron_id, school, place, actor=actor)
    if as_json:
        write_json({"patron": patron_id, "school": school.code, "moved": moved})
    else:
        title = place.title(lang or cli.lang)
        click.echo(f"{school.code} {title}: {'moved' if moved else 'he is there already'}.")


def _ask_patron(cli: CliContext, card: str | None) -> PatronId:
    if card:
        return find_patron(cli.app, card)
    return look_up_patron(cli.app, ask_number())


COMMANDS: tuple[click.Command, ...] = (transfer, move)

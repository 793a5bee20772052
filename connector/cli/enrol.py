"""``onecard enrol``: the group; its commands are in the modules ``enrol_*``.

Nothing here does work.
"""

from __future__ import annotations

import click

from connector.cli import (
    enrol_campaign,
    enrol_card,
    enrol_consent,
    enrol_exchange,
    enrol_feeds,
    enrol_form,
    enrol_leavers,
    enrol_liaison,
    enrol_lists,
    enrol_roster,
    enrol_school,
    enrol_steps,
    enrol_tasks,
    enrol_transfer,
    enrol_year,
)

__all__ = ["enrol"]


@click.group("enrol")
def enrol() -> None:
    """Student cards: roster, review, consent, approval, activation.

    \b
    The way of a batch:
      onecard enrol school add s1 "First Primary School" --stage primary
      onecard enrol template roster.xlsx
      onecard enrol import roster.xlsx --school s1
      onecard enrol review 2026-0001
      onecard enrol consent 2026-0001 --all --evidence "folder 7"
      onecard enrol approve 2026-0001
      onecard enrol activate 2026-0001 --pins pins.csv
    """


for _command in (
    *enrol_school.COMMANDS,
    *enrol_roster.COMMANDS,
    *enrol_steps.COMMANDS,
    *enrol_tasks.COMMANDS,
    *enrol_leavers.COMMANDS,
    *enrol_form.COMMANDS,
    *enrol_consent.COMMANDS,
    *enrol_exchange.COMMANDS,
    *enrol_card.COMMANDS,
    *enrol_lists.COMMANDS,
    *enrol_campaign.COMMANDS,
    *enrol_year.COMMANDS,
    *enrol_transfer.COMMANDS,
    *enrol_feeds.COMMANDS,
):
    enrol.add_command(_command)
for _command in enrol_liaison.COMMANDS:
    enrol_school.school_group.add_command(_command)

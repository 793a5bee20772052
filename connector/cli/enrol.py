"""``onecard enrol``: the group; its commands are in the modules ``enrol_*``.

Nothing here does work. Rule: the help lists the commands in the order of a school's year.
"""

from __future__ import annotations

from collections.abc import Mapping

import click

from connector.cli import (
    enrol_campaign,
    enrol_card,
    enrol_consent,
    enrol_exchange,
    enrol_feeds,
    enrol_form,
    enrol_handoff,
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

_SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Before the year": {
        "school": "Schools, their grades and classes, calendars and liaisons.",
        "campaign": "Yearly intakes: when, and for which grades.",
        "template": "Write an empty roster for a school to fill in.",
    },
    "From roster to card": {
        "import": "Import the roster of a school.",
        "batches": "List imports, and how far each is at every step.",
        "show": "Show the applications of a batch, masked.",
        "review": "The school's review; or --reject.",
        "consent-text": "Print the text that guardians are shown.",
        "consent-list": "Write the list that a class teacher ticks.",
        "consent": "Record what guardians answered.",
        "approve": "The library's approval.",
        "activate": "Open the cards in the library system; PINs or slips.",
        "handoff": "Open them by a file that the library system loads.",
    },
    "One pupil": {
        "add": "Enter one pupil of a school.",
        "edit": "Change an application before the approval.",
        "remove": "Take a pupil away, or begin to close the card.",
        "card": "Physical and online cards, a lost card, more numbers.",
        "exchange": "Exchange an older reader card for the student card.",
        "move": "Move a pupil to another class of the school.",
        "transfer": "Transfer a pupil to another school.",
    },
    "Through the year": {
        "task": "What a person of the library has to decide or do.",
        "consents": "How the consents stand, and who must be asked again.",
        "feeds": "Rosters that arrive in a folder.",
        "promote": "Put pupils into the classes of the new school year.",
        "leavers": "Say who has left of those whom a roster does not name.",
    },
    "Lists and figures": {
        "find": "Find pupils of a school, masked.",
        "export": "Write a list of a school's pupils.",
        "stats": "Figures of each class.",
        "log": "Who did what to pupils' data.",
    },
    "What onecard serve does by itself": {
        "expire": "Begin to close the cards whose last day is over.",
        "close-due": "Go on closing the cards that are to be closed.",
        "purge": "Remove applicants whose guardians have not answered.",
    },
}
"""Heading of the help → command → its line there."""


class YearGroup(click.Group):
    """A group whose help puts the commands under headings."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands; one that stands under no heading comes last."""
        listed = {name for lines in _SECTIONS.values() for name in lines}
        others = {
            name: self.commands[name].get_short_help_str()
            for name in self.list_commands(ctx)
            if name not in listed
        }
        width = max(map(len, self.commands))
        for heading, lines in {**_SECTIONS, "Others": others}.items():
            if lines:
                with formatter.section(heading):
                    formatter.write_dl([(name.ljust(width), line) for name, line in lines.items()])


@click.group("enrol", cls=YearGroup)
def enrol() -> None:
    """Student cards, from the roster to the last returned book.

    \b
    A roster:
      onecard enrol school add s1 "First Primary School" --stage primary
      onecard enrol template roster.xlsx
      onecard enrol import roster.xlsx --school s1 --remarks
      onecard enrol batches
      onecard enrol review 2026-0001
      onecard enrol consent-list 2026-0001 --out answers.xlsx
      onecard enrol consent 2026-0001 --from answers.xlsx --evidence "folder 7"
      onecard enrol approve 2026-0001
      onecard enrol activate 2026-0001 --slips slips/

    \b
    The next September:
      onecard enrol promote --school s1 --dry-run
      onecard enrol promote --school s1
      onecard enrol import roster-2027.xlsx --school s1 --complete
      onecard enrol leavers 2027-0001
      onecard enrol task list
    """


for _command in (
    *enrol_school.COMMANDS,
    *enrol_roster.COMMANDS,
    *enrol_steps.COMMANDS,
    *enrol_handoff.COMMANDS,
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

"""How commands name a patron: by card, by another number, or by our own id.

Nothing here prints a number. Rules: a number that nobody has is answered with the same words,
whatever its kind; an identity number is typed at a prompt or comes from standard input, never from
the command line, where others see it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence

import click

from connector.bootstrap import Application
from connector.cli.context import Refused
from connector.domain.identity import normalise_scanned
from connector.domain.ids import PatronId
from connector.ports.store import Identifier

__all__ = ["ask_number", "find_patron", "look_up_patron", "read_number"]

_FROM_INPUT = "-"
_IDENTITY = re.compile(r"[GJL]?[0-9]{17}[0-9Xx]|[0-9]{15}")
_UUID_LENGTH = 36


def read_number(argument: str) -> str:
    """Return the number that an argument names; ``-`` asks for it.

    Raises:
        Refused: it is an identity number.
    """
    text = argument.strip()
    if _IDENTITY.fullmatch(text):
        raise Refused(
            "Identity numbers do not belong on the command line, where others see them. "
            "Give - instead, and type the number when asked."
        )
    return ask_number() if text == _FROM_INPUT else text


def ask_number() -> str:
    """Return a number that is typed unseen at a prompt, or the next line of standard input."""
    if sys.stdin.isatty():
        return str(click.prompt("Number / 证号", hide_input=True, err=True)).strip()
    return sys.stdin.readline().strip()


def find_patron(app: Application, argument: str) -> PatronId:
    """Return the enrolled patron whom an argument names: card number, our own id, or ``-``."""
    return look_up_patron(app, read_number(argument))


def look_up_patron(app: Application, text: str) -> PatronId:
    """Return the enrolled patron behind a card number, an identity number or our own id."""
    number = text.strip()
    identifiers: Sequence[Identifier] = tuple(normalise_scanned(number)) if number else ()
    found = app.store.people.find_person(identifiers) if identifiers else None
    if found is not None:
        return found
    if len(number) == _UUID_LENGTH and number.count("-") == 4:
        patron_id = PatronId(number.lower())
        for code in app.libraries:
            if app.store.people.find_standing(patron_id, code) is not None:
                return patron_id
    raise Refused("No enrolled patron has this number. People enrolled elsewhere are not here.")

"""How commands name a patron: by card, by another number, or by our own id.

Nothing here prints a number. Rule: a number that nobody has is answered with the same words,
whatever its kind.
"""

from __future__ import annotations

from collections.abc import Sequence

from connector.bootstrap import Application
from connector.cli.context import Refused
from connector.domain.identity import normalise_scanned
from connector.domain.ids import PatronId
from connector.ports.store import Identifier

__all__ = ["find_patron"]

_UUID_LENGTH = 36


def find_patron(app: Application, text: str) -> PatronId:
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

"""The online card: a random token in a QR code, which a kiosk scans like a card (A10, A11).

Nothing here makes randomness or a picture; ``connector.enrolment.tokens`` does. Rules: a token says
nothing about its owner; capital letters and digits only, so that a QR code of it stays small; the
check character tells a misread token from a dead one.
"""

from __future__ import annotations

import re

from stdnum.iso7064 import mod_37_36

__all__ = ["TOKEN_ALPHABET", "TOKEN_CHARACTERS", "is_online_card", "online_card_token"]

TOKEN_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # noqa: S105 -- Crockford's base 32: no I L O U
TOKEN_CHARACTERS = 26
"""Random characters of a token: 130 bits."""
_HEAD = "OC1"
_TOKEN = re.compile(rf"{_HEAD}[{TOKEN_ALPHABET}]{{{TOKEN_CHARACTERS}}}[0-9A-Z]", re.ASCII)


def online_card_token(random: str) -> str:
    """Return the token around its random characters: ``OC``, version, these, check character.

    Raises:
        ValueError: not 26 characters of ``TOKEN_ALPHABET``.

    Source of the check character: ISO 7064, MOD 37,36.
    """
    token = _HEAD + random
    token += str(mod_37_36.calc_check_digit(token))
    if not is_online_card(token):
        raise ValueError("a token has 26 characters of base 32")
    return token


def is_online_card(text: str) -> bool:
    """Say whether a normalised text is a token with a right check character."""
    return bool(_TOKEN.fullmatch(text)) and bool(mod_37_36.is_valid(text))

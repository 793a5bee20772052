"""Online cards: a new random token, and its QR code as a picture (A10, A11).

Nothing here stores or shows a token; what one looks like is in ``domain.online_card``.
"""

from __future__ import annotations

import io
import secrets
from typing import Literal

import segno

from connector.domain.online_card import TOKEN_ALPHABET, TOKEN_CHARACTERS, online_card_token

__all__ = ["draw_token", "new_token"]

_SCALE = 12


def new_token() -> str:
    """Return a token that nobody has."""
    return online_card_token(
        "".join(secrets.choice(TOKEN_ALPHABET) for _ in range(TOKEN_CHARACTERS))
    )


def draw_token(token: str, kind: Literal["svg", "png"]) -> bytes:
    """Return the token as a QR code; the picture holds no text."""
    picture = io.BytesIO()
    segno.make(token, error="q", micro=False).save(picture, kind=kind, scale=_SCALE, border=4)
    return picture.getvalue()

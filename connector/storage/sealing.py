"""Sealing one value: AES-256-GCM, bound to where the value lies.

Nothing here knows an installation's keys; ``crypto`` does. Rules (decision 22) —

- a sealed value is ``length of key id | key id | nonce (12) | ciphertext and tag``;
- table, column and row are authenticated with it, so that a value moved elsewhere does not open.
"""

from __future__ import annotations

import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from connector.errors import StorageUnavailable

__all__ = ["PersonCipher", "open_value", "place_of", "seal_value"]

_NONCE_BYTES = 12
_PERSON_KEY_ID = "p"


class PersonCipher:
    """Seals and opens the fields of one person."""

    __slots__ = ("_key", "_person_id")

    def __init__(self, person_id: str, key: bytes) -> None:
        self._person_id = person_id
        self._key = key

    def seal(self, table: str, column: str, value: str, *, row: str | None = None) -> bytes:
        """Return the sealed value for one column.

        Args:
            row: primary key of the row; the person's id when None.
        """
        return seal_value(
            _PERSON_KEY_ID,
            self._key,
            value.encode(),
            place_of(table, column, row or self._person_id),
        )

    def open(self, table: str, column: str, sealed: bytes, *, row: str | None = None) -> str:
        """Return the value; raises ``StorageUnavailable`` when it was altered, or belongs to
        another place.
        """
        return open_value(
            self._key, sealed, place_of(table, column, row or self._person_id)
        ).decode()


def place_of(table: str, column: str, row: str) -> bytes:
    """Return what is authenticated with a value: where it lies."""
    return f"{table}\x1f{column}\x1f{row}".encode()


def seal_value(key_id: str, key: bytes, plain: bytes, place: bytes) -> bytes:
    """Return a sealed value."""
    name = key_id.encode("ascii")
    head = bytes((len(name),)) + name
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return head + nonce + AESGCM(key).encrypt(nonce, plain, head + place)


def open_value(key: bytes, sealed: bytes, place: bytes) -> bytes:
    """Return a value; raises ``StorageUnavailable`` when it was altered or moved."""
    start = 1 + sealed[0] if sealed else 0
    head, nonce = sealed[:start], sealed[start : start + _NONCE_BYTES]
    try:
        return AESGCM(key).decrypt(nonce, sealed[start + _NONCE_BYTES :], head + place)
    except (InvalidTag, ValueError) as err:
        raise StorageUnavailable("a sealed value does not open: it was altered or moved") from err

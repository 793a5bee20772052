"""Keys and what is done with them: sealed fields, keyed digests, pseudonyms.

Nothing here touches the database. Rules (decisions 5, 22, 23) —

- the keys live in one JSON file with mode 0600, never in the database; losing it is losing the
  data;
- the file holds several installation keys by id; one is active. Old ones open and recognise what
  they once sealed, until everything is sealed anew; each purpose uses a sub-key of its own
  (HKDF-SHA-256, RFC 5869);
- a person's fields are sealed by a data key of his own, which an installation key wraps: destroying
  the wrapped key erases the fields, whatever copies of them exist;
- a sealed value is ``length of key id | key id | nonce (12) | AES-256-GCM ciphertext and tag``;
  table, column and row are authenticated with it, so that a value moved elsewhere does not open;
- pseudonyms for logs and statistics stay the same when keys rotate: they hang on the key named
  ``lasting``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connector.domain.identity import normalise_identifier
from connector.errors import ConfigurationError, StorageUnavailable
from connector.ports.store import Identifier

__all__ = ["Keyring", "PersonCipher"]

_KEY_BYTES = 32
_NONCE_BYTES = 12
_PERSON_KEY_ID = "p"


class Keyring:
    """The installation's keys.

    Args:
        keys: key id → 32 random bytes.
        active: id of the key that seals and digests from now on.
        lasting: id of the key on which pseudonyms hang.

    Raises:
        ConfigurationError: a key is missing or has the wrong length.
    """

    def __init__(self, keys: Mapping[str, bytes], *, active: str, lasting: str) -> None:
        if active not in keys or lasting not in keys:
            raise ConfigurationError(
                "The key file names a key that it does not hold.", "Restore it from the backup."
            )
        if any(len(key) != _KEY_BYTES or not 0 < len(key_id) < 32 for key_id, key in keys.items()):
            raise ConfigurationError(
                "The key file holds a damaged key.", "Restore it from the backup."
            )
        self._keys = MappingProxyType(dict(keys))
        self.active = active
        self.lasting = lasting
        self._sub_keys: dict[tuple[str, str], bytes] = {}

    def __repr__(self) -> str:
        return f"Keyring(active={self.active!r}, {len(self._keys)} keys)"

    # --- the file

    @classmethod
    def generate(cls) -> Keyring:
        """Return a keyring with one new random key."""
        key_id = _new_key_id()
        return cls({key_id: secrets.token_bytes(_KEY_BYTES)}, active=key_id, lasting=key_id)

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read the key file.

        Raises:
            ConfigurationError: it is missing, unreadable, damaged, or others than the owner may
                read it.
        """
        try:
            mode = path.stat().st_mode & 0o777
            content = json.loads(path.read_text("ascii"))
            keys = {
                str(key_id): base64.b64decode(key, validate=True)
                for key_id, key in content["keys"].items()
            }
            active, lasting = str(content["active"]), str(content["lasting"])
        except OSError as err:
            raise ConfigurationError(
                f"The key file {path} cannot be read.",
                "Run `onecard init`, or restore it from the backup.",
            ) from err
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise ConfigurationError(
                f"The key file {path} is damaged.", "Restore it from the backup."
            ) from err
        if mode & 0o077:
            raise ConfigurationError(
                f"Others may read the key file {path}.", f"Run `chmod 600 {path}`."
            )
        return cls(keys, active=active, lasting=lasting)

    def save(self, path: Path) -> None:
        """Write the key file, readable by its owner only; a crash leaves the old file or the new
        one, whole.
        """
        content = {
            "version": 1,
            "active": self.active,
            "lasting": self.lasting,
            "keys": {
                key_id: base64.b64encode(key).decode("ascii") for key_id, key in self._keys.items()
            },
        }
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(json.dumps(content, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys, the active one first."""
        return (self.active, *(key_id for key_id in self._keys if key_id != self.active))

    def rotate(self) -> Keyring:
        """Return a keyring with one more key, active; save it before anything is sealed by it."""
        key_id = _new_key_id()
        keys = {**self._keys, key_id: secrets.token_bytes(_KEY_BYTES)}
        return Keyring(keys, active=key_id, lasting=self.lasting)

    def retire(self, key_id: str) -> Keyring:
        """Return a keyring without an old key, once nothing is sealed by it any more."""
        if key_id in {self.active, self.lasting}:
            raise ConfigurationError(
                f"The key {key_id} is in use.", "Rotate first; the lasting key stays for good."
            )
        keys = {name: key for name, key in self._keys.items() if name != key_id}
        return Keyring(keys, active=self.active, lasting=self.lasting)

    # --- purposes

    def digests(self, identifier: Identifier) -> tuple[tuple[str, bytes], ...]:
        """Return (key id, digest) of an identifier by every key, the active one first: for
        lookups.
        """
        return tuple((key_id, self.digest_with(key_id, identifier)) for key_id in self.key_ids)

    def digest(self, identifier: Identifier) -> tuple[str, bytes]:
        """Return (key id, digest) of an identifier by the active key: for storing."""
        return self.active, self.digest_with(self.active, identifier)

    def digest_with(self, key_id: str, identifier: Identifier) -> bytes:
        """Return the digest by one key; each kind has a key of its own."""
        value = normalise_identifier(identifier.value)
        return _mac(self._sub_key(key_id, f"identifier/{identifier.kind}"), value)

    def refusal_digests(self, identifier: Identifier) -> tuple[tuple[str, bytes], ...]:
        """Return (key id, digest) of a refused person's number by every key, the active one first.

        It cannot be matched with the digest by which an enrolled person is found.
        """
        purpose = f"refusal/{identifier.kind}"
        return tuple(
            (key_id, _mac(self._sub_key(key_id, purpose), normalise_identifier(identifier.value)))
            for key_id in self.key_ids
        )

    def patron_ref(self, identifier: str) -> str:
        """Return the 12 hex digits that stand for a patron in logs."""
        return _mac(self._sub_key(self.lasting, "log-patron-ref"), identifier).hex()[:12]

    def pseudonym(self, identifier: str) -> str:
        """Return the 32 hex digits that stand for a person in the statistics; unlike ``patron_ref``
        of the same.
        """
        return _mac(self._sub_key(self.lasting, "statistics"), identifier).hex()[:32]

    def audit_mac(self, key_id: str, previous: bytes, entry: bytes) -> bytes:
        """Return the link that ties an audit entry to the one before."""
        return hmac.digest(self._sub_key(key_id, "audit"), previous + entry, "sha256")

    # --- a person's key

    def new_person_key(self, person_id: str) -> tuple[str, bytes]:
        """Return (key id, wrapped key) of a new data key for one person."""
        return self._wrap(person_id, secrets.token_bytes(_KEY_BYTES))

    def rewrap(self, person_id: str, wrapped: bytes) -> tuple[str, bytes]:
        """Return the same data key wrapped by the active key."""
        return self._wrap(person_id, self._unwrap(person_id, wrapped))

    def open_person(self, person_id: str, wrapped: bytes) -> PersonCipher:
        """Return what seals and opens one person's fields."""
        return PersonCipher(person_id, self._unwrap(person_id, wrapped))

    def _wrap(self, person_id: str, data_key: bytes) -> tuple[str, bytes]:
        key = self._sub_key(self.active, "wrap")
        return self.active, _seal(
            self.active, key, data_key, _place("person_key", "wrapped", person_id)
        )

    def _unwrap(self, person_id: str, wrapped: bytes) -> bytes:
        key_id = wrapped[1 : 1 + wrapped[0]].decode("ascii", "replace") if wrapped else ""
        if key_id not in self._keys:
            raise StorageUnavailable("the key of a sealed value is missing from the key file")
        return _open(
            self._sub_key(key_id, "wrap"), wrapped, _place("person_key", "wrapped", person_id)
        )

    def _sub_key(self, key_id: str, purpose: str) -> bytes:
        cached = self._sub_keys.get((key_id, purpose))
        if cached is None:
            info = f"onecard-connector/{purpose}".encode()
            cached = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(
                self._keys[key_id]
            )
            self._sub_keys[key_id, purpose] = cached
        return cached


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
        return _seal(
            _PERSON_KEY_ID, self._key, value.encode(), _place(table, column, row or self._person_id)
        )

    def open(self, table: str, column: str, sealed: bytes, *, row: str | None = None) -> str:
        """Return the value; raises ``StorageUnavailable`` when it was altered, or belongs to
        another place.
        """
        return _open(self._key, sealed, _place(table, column, row or self._person_id)).decode()


def _new_key_id() -> str:
    return "k" + secrets.token_hex(4)


def _mac(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _place(table: str, column: str, row: str) -> bytes:
    return f"{table}\x1f{column}\x1f{row}".encode()


def _seal(key_id: str, key: bytes, plain: bytes, place: bytes) -> bytes:
    name = key_id.encode("ascii")
    head = bytes((len(name),)) + name
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return head + nonce + AESGCM(key).encrypt(nonce, plain, head + place)


def _open(key: bytes, sealed: bytes, place: bytes) -> bytes:
    start = 1 + sealed[0] if sealed else 0
    head, nonce = sealed[:start], sealed[start : start + _NONCE_BYTES]
    try:
        return AESGCM(key).decrypt(nonce, sealed[start + _NONCE_BYTES :], head + place)
    except (InvalidTag, ValueError) as err:
        raise StorageUnavailable("a sealed value does not open: it was altered or moved") from err

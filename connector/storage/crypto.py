"""Keys and what is done with them: sealed fields, keyed digests, pseudonyms.

Nothing here touches the database. Rules (decisions 5, 22, 23) —

- the keys live in one JSON file with mode 0600, never in the database; losing it is losing the
  data;
- the file holds several installation keys by id; one is active. Old ones open and recognise what
  they once sealed, until everything is sealed anew; each purpose uses a sub-key of its own
  (HKDF-SHA-256, RFC 5869);
- a person's fields are sealed by a data key of his own, which an installation key wraps: destroying
  the wrapped key erases the fields, whatever copies of them exist;
- what a sealed value looks like is in ``sealing``;
- pseudonyms for logs and statistics stay the same when keys rotate: they hang on the key named
  ``lasting``;
- a process that runs while the keys rotate reads the file again by itself, ``CHECK_EVERY_S`` after
  it was changed at the latest; a new key is in every process before anything hangs on it
  (``staged``).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from connector.domain.identity import normalise_identifier
from connector.errors import ConfigurationError, StorageUnavailable
from connector.log import get_logger
from connector.ports.store import Identifier
from connector.storage.sealing import PersonCipher, open_value, place_of, seal_value

__all__ = ["CHECK_EVERY_S", "Keyring", "PersonCipher"]

_log = get_logger(__name__)
CHECK_EVERY_S = 1.0
"""How often a running process looks whether the key file was changed; one ``stat``."""
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class _Keys:
    """The keys as one value, so that a thread never sees half of a change."""

    keys: Mapping[str, bytes] = field(repr=False)
    active: str
    lasting: str
    staged: str = ""
    sub_keys: dict[tuple[str, str], bytes] = field(default_factory=dict, repr=False)

    def ids(self) -> tuple[str, ...]:
        return (self.active, *(key_id for key_id in self.keys if key_id != self.active))

    def sub_key(self, key_id: str, purpose: str) -> bytes:
        cached = self.sub_keys.get((key_id, purpose))
        if cached is None:
            info = f"onecard-connector/{purpose}".encode()
            cached = HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(
                self.keys[key_id]
            )
            self.sub_keys[key_id, purpose] = cached
        return cached


class Keyring:
    """The installation's keys.

    Args:
        keys: key id → 32 random bytes.
        active: id of the key that seals and digests from now on.
        lasting: id of the key on which pseudonyms hang.
        staged: id of a new key that is to become active when every process knows it.

    Raises:
        ConfigurationError: a key is missing or has the wrong length.
    """

    def __init__(
        self, keys: Mapping[str, bytes], *, active: str, lasting: str, staged: str = ""
    ) -> None:
        if active not in keys or lasting not in keys or (staged and staged not in keys):
            raise ConfigurationError(
                "The key file names a key that it does not hold.", "Restore it from the backup."
            )
        if any(len(key) != _KEY_BYTES or not 0 < len(key_id) < 32 for key_id, key in keys.items()):
            raise ConfigurationError(
                "The key file holds a damaged key.", "Restore it from the backup."
            )
        self._state = _Keys(MappingProxyType(dict(keys)), active, lasting, staged)
        self._path: Path | None = None
        self._stamp: _Stamp | None = None
        self._check_at = 0.0

    def __repr__(self) -> str:
        state = self._state
        return f"Keyring(active={state.active!r}, {len(state.keys)} keys)"

    # --- the file

    @classmethod
    def generate(cls) -> Keyring:
        """Return a keyring with one new random key."""
        key_id = _new_key_id()
        return cls({key_id: secrets.token_bytes(_KEY_BYTES)}, active=key_id, lasting=key_id)

    @classmethod
    def load(cls, path: Path) -> Keyring:
        """Read the key file; the keyring follows the file when it is changed later.

        Raises:
            ConfigurationError: it is missing, unreadable, damaged, or others than the owner may
                read it.
        """
        try:
            stamp = _stamp_of(path)
            mode = path.stat().st_mode & 0o777
            content = path.read_text("ascii")
        except OSError as err:
            raise ConfigurationError(
                f"The key file {path} cannot be read.",
                "Run `onecard init`, or restore it from the backup.",
            ) from err
        except ValueError as err:
            raise ConfigurationError(
                f"The key file {path} is damaged.", "Restore it from the backup."
            ) from err
        keyring = cls.parse(content, str(path))
        if mode & 0o077:
            raise ConfigurationError(
                f"Others may read the key file {path}.", f"Run `chmod 600 {path}`."
            )
        keyring._follow(path, stamp)  # noqa: SLF001 - its own class
        return keyring

    @classmethod
    def parse(cls, text: str, name: str) -> Keyring:
        """Read the text of a key file; it is not followed.

        Raises:
            ConfigurationError: it is damaged; ``name`` says which file.
        """
        try:
            content = json.loads(text)
            keys = {
                str(key_id): base64.b64decode(key, validate=True)
                for key_id, key in content["keys"].items()
            }
            active, lasting = str(content["active"]), str(content["lasting"])
            staged = str(content.get("staged", ""))
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise ConfigurationError(
                f"The key file {name} is damaged.", "Restore it from the backup."
            ) from err
        return cls(keys, active=active, lasting=lasting, staged=staged)

    def to_text(self) -> str:
        """Return the text of the key file."""
        state = self._state
        content: dict[str, object] = {
            "version": 1,
            "active": state.active,
            "lasting": state.lasting,
            "keys": {
                key_id: base64.b64encode(key).decode("ascii") for key_id, key in state.keys.items()
            },
        }
        if state.staged:
            content["staged"] = state.staged
        return json.dumps(content, indent=1) + "\n"

    def save(self, path: Path) -> None:
        """Write the key file, readable by its owner only; a crash leaves the old file or the new
        one, whole. The owner stays who he was: the service must go on reading it.

        Raises:
            ConfigurationError: the file belongs to somebody else, and we may not give it to him.
        """
        draft = path.with_name(path.name + ".new")
        draft.unlink(missing_ok=True)
        owner = path.stat() if path.exists() else None
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            if owner is not None and owner.st_uid != os.geteuid():
                try:
                    os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
                except PermissionError as err:
                    draft.unlink()
                    raise ConfigurationError(
                        f"The key file {path} belongs to another user; it was not changed.",
                        "Run the command as the user of the service.",
                    ) from err
            file.write(self.to_text())
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _follow(self, path: Path, stamp: _Stamp) -> None:
        self._path, self._stamp = path, stamp
        self._check_at = time.monotonic() + CHECK_EVERY_S

    def _now(self) -> _Keys:
        """Return the keys, read anew when the file was changed and it is time to look."""
        if self._path is not None and time.monotonic() >= self._check_at:
            self.refresh()
        return self._state

    def refresh(self) -> None:
        """Read the key file again if it was changed; one that cannot be used is logged and the keys
        in memory stay.
        """
        if self._path is None:
            return
        self._check_at = time.monotonic() + CHECK_EVERY_S
        try:
            stamp = _stamp_of(self._path)
        except OSError:
            return
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            found = Keyring.load(self._path)._state  # noqa: SLF001 - its own class
        except ConfigurationError as err:
            _log.error("keys.not_reloaded", error=type(err).__name__, remedy=err.remedy)
            return
        mine = self._state
        if found.keys.get(mine.lasting) != mine.keys[mine.lasting]:
            _log.error("keys.not_reloaded", error="another installation's key file")
            return
        self._state = found
        _log.info("keys.reloaded", count=len(found.keys))

    @property
    def active(self) -> str:
        """Id of the key that seals and digests from now on."""
        return self._now().active

    @property
    def lasting(self) -> str:
        """Id of the key on which pseudonyms hang."""
        return self._state.lasting

    @property
    def staged(self) -> str:
        """Id of the key that is to become active, or an empty word."""
        return self._now().staged

    @property
    def key_ids(self) -> tuple[str, ...]:
        """Ids of all keys, the active one first."""
        return self._now().ids()

    def holds(self, other: Keyring) -> bool:
        """Say whether every key of another keyring of the same installation is here too."""
        mine, theirs = self._state, other._state
        return mine.lasting == theirs.lasting and all(
            mine.keys.get(key_id) == key for key_id, key in theirs.keys.items()
        )

    def stage(self) -> Keyring:
        """Return a keyring with one more key that is not used yet."""
        state = self._now()
        key_id = _new_key_id()
        keys = {**state.keys, key_id: secrets.token_bytes(_KEY_BYTES)}
        return Keyring(keys, active=state.active, lasting=state.lasting, staged=key_id)

    def activate_staged(self) -> Keyring:
        """Return a keyring whose staged key is the active one."""
        state = self._now()
        return Keyring(state.keys, active=state.staged or state.active, lasting=state.lasting)

    def rotate(self) -> Keyring:
        """Return a keyring with one more key, active; save it before anything is sealed by it."""
        return self.stage().activate_staged()

    def retire(self, key_id: str) -> Keyring:
        """Return a keyring without an old key, once nothing is sealed by it any more."""
        state = self._now()
        if key_id in {state.active, state.lasting, state.staged}:
            raise ConfigurationError(
                f"The key {key_id} is in use.", "Rotate first; the lasting key stays for good."
            )
        keys = {name: key for name, key in state.keys.items() if name != key_id}
        return Keyring(keys, active=state.active, lasting=state.lasting, staged=state.staged)

    # --- purposes

    def digests(self, identifier: Identifier) -> tuple[tuple[str, bytes], ...]:
        """Return (key id, digest) of an identifier by every key, the active one first: for
        lookups.
        """
        state = self._now()
        return tuple((key_id, _digest(state, key_id, identifier)) for key_id in state.ids())

    def digest(self, identifier: Identifier) -> tuple[str, bytes]:
        """Return (key id, digest) of an identifier by the active key: for storing."""
        state = self._now()
        return state.active, _digest(state, state.active, identifier)

    def digest_with(self, key_id: str, identifier: Identifier) -> bytes:
        """Return the digest by one key; each kind has a key of its own."""
        return _digest(self._now(), key_id, identifier)

    def refusal_digests(self, identifier: Identifier) -> tuple[tuple[str, bytes], ...]:
        """Return (key id, digest) of a refused person's number by every key, the active one first.

        It cannot be matched with the digest by which an enrolled person is found.
        """
        state = self._now()
        purpose = f"refusal/{identifier.kind}"
        value = normalise_identifier(identifier.value)
        return tuple(
            (key_id, _mac(state.sub_key(key_id, purpose), value)) for key_id in state.ids()
        )

    def data_digest(self, data: str) -> bytes:
        """Return the digest of all that is stored of a person, by the active key: for storing.

        Keyed BLAKE2b (RFC 7693): a third of the time of HMAC, and asked for every row of a roster.
        """
        state = self._now()
        return _digest_data(state.sub_key(state.active, _DATA), data)

    def data_digests(self, texts: Sequence[str]) -> dict[bytes, int]:
        """Return the digests of several people's data by every key, each with its position."""
        state = self._now()
        keys = [state.sub_key(key_id, _DATA) for key_id in state.ids()]
        return {
            _digest_data(key, text): position for key in keys for position, text in enumerate(texts)
        }

    def patron_ref(self, identifier: str) -> str:
        """Return the 12 hex digits that stand for a patron in logs."""
        state = self._state
        return _mac(state.sub_key(state.lasting, "log-patron-ref"), identifier).hex()[:12]

    def pseudonym(self, identifier: str) -> str:
        """Return the 32 hex digits that stand for a person in the statistics; unlike ``patron_ref``
        of the same.
        """
        state = self._state
        return _mac(state.sub_key(state.lasting, "statistics"), identifier).hex()[:32]

    def number_lock(self, identifier: Identifier) -> int:
        """Return a number to lock while an identifier is given out, the same in every process
        whatever its active key; 64 bits, signed.
        """
        state = self._state
        purpose = f"number-lock/{identifier.kind}"
        digest = _mac(state.sub_key(state.lasting, purpose), normalise_identifier(identifier.value))
        return int.from_bytes(digest[:8], "big", signed=True)

    def payment_digest(self, description: str) -> str:
        """Return the 64 hex digits by which the same payment is recognised, in every process
        whatever its active key.
        """
        state = self._state
        return _mac(state.sub_key(state.lasting, "payment"), description).hex()

    def backup_mac(self, content: bytes) -> bytes:
        """Return the keyed hash that ties an archive to this installation."""
        state = self._state
        return hmac.digest(state.sub_key(state.lasting, "backup"), content, "sha256")

    def audit_mac(self, key_id: str, previous: bytes, entry: bytes) -> bytes:
        """Return the link that ties an audit entry to the one before; ``KeyError`` without key."""
        return hmac.digest(self._now().sub_key(key_id, "audit"), previous + entry, "sha256")

    # --- a person's key

    def new_person_key(self, person_id: str) -> tuple[str, bytes]:
        """Return (key id, wrapped key) of a new data key for one person."""
        return _wrap(self._now(), person_id, secrets.token_bytes(_KEY_BYTES))

    def rewrap(self, person_id: str, wrapped: bytes) -> tuple[str, bytes]:
        """Return the same data key wrapped by the active key."""
        data_key = self._unwrap(person_id, wrapped)
        return _wrap(self._state, person_id, data_key)

    def open_person(self, person_id: str, wrapped: bytes) -> PersonCipher:
        """Return what seals and opens one person's fields."""
        return PersonCipher(person_id, self._unwrap(person_id, wrapped))

    def _unwrap(self, person_id: str, wrapped: bytes) -> bytes:
        key_id = wrapped[1 : 1 + wrapped[0]].decode("ascii", "replace") if wrapped else ""
        if key_id not in self._now().keys:
            self.refresh()
        state = self._state
        if key_id not in state.keys:
            raise StorageUnavailable("the key of a sealed value is missing from the key file")
        return open_value(
            state.sub_key(key_id, "wrap"), wrapped, place_of("person_key", "wrapped", person_id)
        )


_Stamp = tuple[int, int, int]
_DATA = "personal-data"


def _stamp_of(path: Path) -> _Stamp:
    found = path.stat()
    return found.st_ctime_ns, found.st_ino, found.st_size  # ctime: a mended mode or owner too


def _digest(state: _Keys, key_id: str, identifier: Identifier) -> bytes:
    value = normalise_identifier(identifier.value)
    return _mac(state.sub_key(key_id, f"identifier/{identifier.kind}"), value)


def _digest_data(key: bytes, data: str) -> bytes:
    return hashlib.blake2b(data.encode(), key=key, digest_size=_KEY_BYTES).digest()


def _wrap(state: _Keys, person_id: str, data_key: bytes) -> tuple[str, bytes]:
    key = state.sub_key(state.active, "wrap")
    place = place_of("person_key", "wrapped", person_id)
    return state.active, seal_value(state.active, key, data_key, place)


def _new_key_id() -> str:
    return "k" + secrets.token_hex(4)


def _mac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")

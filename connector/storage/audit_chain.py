"""The chains that make the audit table tamper-evident: each entry is tied to the one before by a
keyed hash.

Nothing here reads or writes the table. Rules (decision 23) —

- a chain belongs to one process and to one transaction at a time; a few chains per process keep
  writers apart;
- a chain begins with its random id as the link before the first entry, and its sequence counts from
  1 without gaps;
- whoever alters, inserts, reorders or removes an entry inside a chain would need the installation's
  key to hide it.
"""

from __future__ import annotations

import json
import os
import queue
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

from connector.storage.crypto import Keyring

__all__ = ["AuditChain", "AuditChains", "link"]


def link(keyring: Keyring, key_id: str, previous: bytes, entry: Mapping[str, object]) -> bytes:
    """Return the keyed hash of an entry and of the link before it.

    Args:
        entry: the columns of the row except ``mac``; ``at`` as ISO 8601 text in UTC with
            microseconds.
    """
    canonical = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return keyring.audit_mac(key_id, previous, canonical.encode("ascii"))


class AuditChain:
    """One chain as its process continues it."""

    __slots__ = ("_keyring", "_previous", "_seq", "chain_id")

    def __init__(self, keyring: Keyring) -> None:
        self.chain_id = str(uuid.uuid4())
        self._keyring = keyring
        self._previous = self.chain_id.encode("ascii")
        self._seq = 0

    def next_entry(
        self,
        at: datetime,
        action: str,
        *,
        actor: str,
        subject: str,
        detail: Mapping[str, str | int],
        institution: str,
    ) -> dict[str, object]:
        """Return the next row of the chain."""
        self._seq += 1
        key_id = self._keyring.active
        entry: dict[str, object] = {
            "chain_id": self.chain_id,
            "seq": self._seq,
            "institution": institution,
            "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
            "action": action,
            "actor": actor,
            "subject": subject,
            "detail": json.dumps(detail, sort_keys=True, separators=(",", ":")),
            "key_id": key_id,
        }
        self._previous = link(self._keyring, key_id, self._previous, entry)
        return entry | {"at": at, "mac": self._previous}


class AuditChains:
    """The chains of this process; a forked child starts its own."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring
        self._idle: queue.SimpleQueue[AuditChain] = queue.SimpleQueue()
        self._pid = os.getpid()

    def take(self) -> AuditChain:
        """Return an idle chain, or a new one."""
        if self._pid != os.getpid():
            self._idle, self._pid = queue.SimpleQueue(), os.getpid()
        try:
            return self._idle.get_nowait()
        except queue.Empty:
            return AuditChain(self._keyring)

    def give_back(self, chain: AuditChain) -> None:
        """Take back a chain whose last entry is committed."""
        self._idle.put(chain)

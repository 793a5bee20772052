"""The terminals of a running server, which may change while it runs.

Nothing here reads settings or closes a connection. Rules: a change is seen whole or not at all;
what a connection may take over without a new login is decided here, and only here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from connector.domain.ids import TerminalId
from connector.sip2.terminal import Terminal

__all__ = ["TerminalChanges", "TerminalRegistry", "follow_change"]


@dataclass(frozen=True, slots=True)
class TerminalChanges:
    """Logins that were added, changed and removed."""

    added: tuple[TerminalId, ...]
    changed: tuple[TerminalId, ...]
    removed: tuple[TerminalId, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


class TerminalRegistry(Mapping[TerminalId, Terminal]):
    """Terminals by login; readers in any thread see all of a change or nothing of it."""

    __slots__ = ("_terminals",)

    def __init__(self, terminals: Mapping[TerminalId, Terminal]) -> None:
        self._terminals = dict(terminals)

    def __getitem__(self, terminal_id: TerminalId) -> Terminal:
        return self._terminals[terminal_id]

    def __iter__(self) -> Iterator[TerminalId]:
        return iter(self._terminals)

    def __len__(self) -> int:
        return len(self._terminals)

    def replace(self, terminals: Mapping[TerminalId, Terminal]) -> TerminalChanges:
        """Put others in their place; return what is different now."""
        before, self._terminals = self._terminals, dict(terminals)
        return TerminalChanges(
            added=tuple(sorted(terminals.keys() - before.keys())),
            changed=tuple(
                sorted(
                    login
                    for login in terminals.keys() & before.keys()
                    if terminals[login] != before[login]
                )
            ),
            removed=tuple(sorted(before.keys() - terminals.keys())),
        )


def follow_change(before: Terminal, after: Terminal | None) -> Terminal | None:
    """Return what a connection goes on as that has logged in as ``before``; None: it is closed.

    How bytes are read and written stays until the next login: encoding, delimiter, terminator,
    checksum, dialect. What is sent at all, and everything that is not of the wire, counts at once.
    Another password or library makes it another terminal.
    """
    if after is None or (before.password, before.institution) != (
        after.password,
        after.institution,
    ):
        return None
    wire = replace(
        before.wire,
        hidden_tags=after.wire.hidden_tags,
        allowed_tags=after.wire.allowed_tags,
        max_value_length=after.wire.max_value_length,
    )
    return replace(after, wire=wire)

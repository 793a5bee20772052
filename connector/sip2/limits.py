"""Who may connect, how often, and how fast a password may be guessed.

Nothing here touches a socket or reads a clock: moments are monotonic seconds handed in. Rules:

- every table is bounded, so that an attacker who varies addresses or logins cannot grow it;
- a throttled login is delayed, never reported as "locked", so that answers tell nothing about
  accounts;
- all methods are called on one event loop: there are no locks.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address

__all__ = ["ConnectionCounts", "LoginThrottle", "Network", "is_allowed", "normalise_address"]

Network = IPv4Network | IPv6Network


def normalise_address(address: str) -> str:
    """Return the address without its zone; IPv4 through an IPv6 socket becomes IPv4."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def is_allowed(address: str, networks: tuple[Network, ...]) -> bool:
    """Return whether the address lies in one of the networks; no networks allow every one."""
    if not networks:
        return True
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return any(parsed.version == network.version and parsed in network for network in networks)


class ConnectionCounts:
    """Open connections, in all and per address."""

    __slots__ = ("_by_address", "_max_per_address", "_max_total", "total")

    def __init__(self, *, max_total: int, max_per_address: int) -> None:
        self._max_total = max_total
        self._max_per_address = max_per_address
        self._by_address: dict[str, int] = {}
        self.total = 0

    def admit(self, address: str) -> str | None:
        """Count one more connection, or return ``total_limit`` or ``address_limit``."""
        if self.total >= self._max_total:
            return "total_limit"
        count = self._by_address.get(address, 0)
        if count >= self._max_per_address:
            return "address_limit"
        self.total += 1
        self._by_address[address] = count + 1
        return None

    def is_full(self, waiting: int) -> bool:
        """Say whether ``waiting`` more, not yet counted, are too many."""
        return self.total + waiting > self._max_total

    def release(self, address: str) -> None:
        """Forget one connection that ``admit`` had counted."""
        self.total -= 1
        count = self._by_address[address] - 1
        if count:
            self._by_address[address] = count
        else:
            del self._by_address[address]


@dataclass(slots=True)
class _Failures:
    count: int
    free_at: float


class LoginThrottle:
    """A delay that doubles with every failed login from one address under one name.

    Args:
        delay_s: after the first failure; then 2, 4 and 8 times as long. 0 switches the throttle
            off.
        forget_after_s: since the last failure.
        max_entries: the pair that failed longest ago is forgotten first.

    A kiosk with a mistyped password retries every few seconds for hours; that must stay cheap and
    must not lock out the other kiosks behind the same address, hence the pair.
    """

    __slots__ = ("_delay_s", "_entries", "_forget_after_s", "_max_entries")

    def __init__(
        self, *, delay_s: float, forget_after_s: float = 900.0, max_entries: int = 4096
    ) -> None:
        self._delay_s = delay_s
        self._forget_after_s = forget_after_s
        self._max_entries = max_entries
        self._entries: OrderedDict[tuple[str, str], _Failures] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def reserve(self, address: str, login: str, now: float) -> float | None:
        """Return how many seconds this attempt waits before the password is looked at.

        Returns:
            0.0 for a pair without failures; None when so many attempts wait already (from other
            connections) that this one is refused unseen.
        """
        entry = self._entries.get((address, login))
        if entry is None:
            return 0.0
        if now - entry.free_at > self._forget_after_s:
            del self._entries[address, login]
            return 0.0
        wait_s = max(0.0, entry.free_at - now)
        if wait_s > self._longest_s:
            return None
        entry.free_at = now + wait_s + self._penalty_s(entry.count)
        return wait_s

    def fail(self, address: str, login: str, now: float) -> float:
        """Count a failure and return after how many seconds it is answered."""
        if self._delay_s <= 0:
            return 0.0
        key = (address, login)
        entry = self._entries.get(key)
        if entry is None:
            while len(self._entries) >= self._max_entries:
                self._entries.popitem(last=False)
            entry = self._entries[key] = _Failures(0, now)
        entry.count += 1
        penalty_s = self._penalty_s(entry.count)
        entry.free_at = max(entry.free_at, now + penalty_s)
        self._entries.move_to_end(key)
        return penalty_s

    def succeed(self, address: str, login: str) -> None:
        """Forget the failures of the pair."""
        self._entries.pop((address, login), None)

    @property
    def _longest_s(self) -> float:
        return self._delay_s * 8

    def _penalty_s(self, failures: int) -> float:
        return min(self._delay_s * 2.0 ** min(failures - 1, 3), self._longest_s)

"""How a fake ILS takes a request: capability check, call log, scripted fault, then the effect.

Nothing here knows what a request does. Rules: one lock around every effect; waiting happens outside
the lock; an effect that lands later is applied before the next request, or by ``land()``.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, time, timedelta
from typing import TypeVar
from zoneinfo import ZoneInfo

from connector.domain.ids import Barcode, IlsPatronId, InstitutionId
from connector.errors import (
    AdapterAuthFailed,
    AdapterUnavailable,
    OutcomeUnknown,
    UnexpectedResponse,
    UnsupportedOperation,
)
from connector.ports.clock import Clock, utc_now
from connector.ports.ils import API_CAPABILITIES, Capability
from connector.testing.fake_stock import FakeStock
from connector.testing.faults import Call, Fault, FaultKind, Script

__all__ = ["FakeCore"]

T = TypeVar("T")
Refuse = Callable[[str, str], T]


class FakeCore:
    """State, script and clock of a fake ILS.

    Attributes:
        calls: every request that was sent to it, the failed ones included.
        stock: what it holds; tests may look and may change it.
        script: the faults to come.
    """

    name: str
    institution_id: InstitutionId
    capabilities: frozenset[Capability]

    def __init__(
        self,
        institution_id: str = "FAKE",
        *,
        name: str = "fake",
        capabilities: Iterable[Capability] = API_CAPABILITIES,
        zone: str = "Asia/Shanghai",
        now: Clock = utc_now,
        loan_days: int = 30,
        max_items: int = 20,
        max_renewals: int = 2,
        renews_on_checkout: bool = False,
    ) -> None:
        self.name = name
        self.institution_id = InstitutionId(institution_id)
        self.capabilities = frozenset(capabilities)
        self.zone = ZoneInfo(zone)
        self.now = now
        self.loan_days = loan_days
        self.max_items = max_items
        self.max_renewals = max_renewals
        self.renews_on_checkout = renews_on_checkout
        self.stock = FakeStock()
        self.script = Script()
        self.calls: list[Call] = []
        self._lock = threading.RLock()
        self._pending: list[tuple[datetime | None, Callable[[], object]]] = []
        self._down = False

    def fail(self, operation: str, *faults: Fault) -> None:
        """Script faults for the next calls of an operation (``*`` = any)."""
        with self._lock:
            self.script.add(operation, *faults)

    def set_down(self, *, down: bool = True) -> None:
        """Make every request fail with ``AdapterUnavailable``, or work again."""
        with self._lock:
            self._down = down

    def land(self) -> int:
        """Apply every effect that was to come later; return how many."""
        with self._lock:
            pending, self._pending = self._pending, []
            for _, effect in pending:
                effect()
            return len(pending)

    def count_calls(self, operation: str) -> int:
        """Return how often an operation was asked for."""
        with self._lock:
            return sum(call.operation == operation for call in self.calls)

    def end_of_day_after(self, moment: datetime, days: int) -> datetime:
        """Return the end of a day by this ILS's own clock, as UTC."""
        day = moment.astimezone(self.zone).date() + timedelta(days=days)
        return datetime.combine(day, time(23, 59, 59), tzinfo=self.zone).astimezone(UTC)

    def is_overdue(self, due: datetime, now: datetime) -> bool:
        """Say whether a loan is overdue by this ILS's own clock."""
        return now.astimezone(self.zone).date() > due.astimezone(self.zone).date()

    def perform(
        self,
        operation: Capability,
        effect: Callable[[], T],
        *,
        patron: IlsPatronId | None = None,
        barcode: Barcode | None = None,
        refuse: Refuse[T] | None = None,
    ) -> T:
        """Take one request; ``refuse`` makes an answer of "no" from code and message."""
        if operation not in self.capabilities:
            raise UnsupportedOperation(self.name, self.institution_id, operation.value)
        fault = self._take(operation.value, patron, barcode)
        fault.wait(after=False)
        with self._lock:
            self._land_due()
            result = self._apply(fault, effect, refuse)
        fault.wait(after=True)
        if isinstance(result, Exception):
            raise result
        return result

    def _take(self, operation: str, patron: IlsPatronId | None, barcode: Barcode | None) -> Fault:
        with self._lock:
            self.calls.append(Call(operation, patron, barcode))
            if self._down:
                return Fault(FaultKind.NOT_SENT, code="down")
            return self.script.take(operation)

    def _apply(
        self, fault: Fault, effect: Callable[[], T], refuse: Refuse[T] | None
    ) -> T | Exception:
        kind = fault.kind
        if kind is FaultKind.NONE:
            return effect()
        if kind is FaultKind.NOT_SENT:
            return AdapterUnavailable(self.name, self.institution_id, fault.code)
        if kind is FaultKind.AUTH_FAILED:
            return AdapterAuthFailed(self.name, self.institution_id, fault.code)
        if kind is FaultKind.UNEXPECTED:
            return UnexpectedResponse(self.name, self.institution_id, fault.code)
        if kind is FaultKind.DONE_NO_ANSWER:
            effect()
        elif kind in {FaultKind.DONE_LATER_NO_ANSWER, FaultKind.REFUSED_DONE_LATER}:
            lands_at = None if fault.lands_after is None else self.now() + fault.lands_after
            self._pending.append((lands_at, effect))
        if kind in {FaultKind.REFUSED, FaultKind.REFUSED_DONE_LATER}:
            if refuse is None:
                raise ValueError("a refusal was scripted for an operation that cannot refuse")
            return refuse(fault.code, fault.message)
        return OutcomeUnknown(self.name, self.institution_id, fault.kind.value)

    def _land_due(self) -> None:
        now = self.now()
        due = [entry for entry in self._pending if entry[0] is not None and entry[0] <= now]
        self._pending = [entry for entry in self._pending if entry not in due]
        for _, effect in due:
            effect()

    def ping(self) -> None:
        """Answer, unless it is down."""
        with self._lock:
            fault = Fault(FaultKind.NOT_SENT) if self._down else self.script.take("ping")
        if fault.kind is not FaultKind.NONE:
            raise AdapterUnavailable(self.name, self.institution_id, "down")

    def close(self) -> None:
        """Nothing to give back."""

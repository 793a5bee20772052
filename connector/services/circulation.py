"""The circulation service: checkout, checkin and renewal behind one door.

Nothing here has rules of its own; they are in ``checkout``, ``checkin``, ``renewal`` and ``facts``.
"""

from __future__ import annotations

from connector.domain.ids import Barcode
from connector.services.checkin import Checkin
from connector.services.checkout import Checkout
from connector.services.desk import CheckinAnswer, CirculationAnswer, CirculationDesk, Exchange
from connector.services.renewal import Renewal

__all__ = ["CirculationService"]


class CirculationService:
    """One instance serves all libraries of the process and is called from many threads."""

    def __init__(self, desk: CirculationDesk) -> None:
        self.desk = desk
        self._renewal = Renewal(desk)
        self._checkout = Checkout(desk, self._renewal)
        self._checkin = Checkin(desk)

    def checkout(self, exchange: Exchange) -> CirculationAnswer:
        """Lend an item."""
        return self._checkout.checkout(exchange)

    def checkin(self, exchange: Exchange) -> CheckinAnswer:
        """Take an item back, whoever brings it."""
        return self._checkin.checkin(exchange)

    def renew(self, exchange: Exchange) -> CirculationAnswer:
        """Renew one loan, at any library of the network."""
        return self._renewal.renew(exchange)

    def renew_all(
        self, exchange: Exchange
    ) -> tuple[tuple[Barcode, CirculationAnswer], ...] | CirculationAnswer:
        """Renew each loan of the patron by itself."""
        return self._renewal.renew_all(exchange)

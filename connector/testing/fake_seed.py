"""Patrons and items for the contract suite in a fake ILS that cannot make them through its port.

Nothing here asserts.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

from connector.domain.ids import Barcode, IlsPatronId
from connector.testing.fake_ils import FakeIls

__all__ = ["FakeSeed"]


class FakeSeed:
    """Makes patrons and items at the fake's own desk."""

    def __init__(self, ils: FakeIls) -> None:
        self.ils = ils

    def new_patron(
        self,
        *,
        pin: str | None = None,
        expires: date | None = None,
        identifiers: Mapping[str, str] | None = None,
    ) -> IlsPatronId:
        """Open an account."""
        number = self.ils.stock.next_id()
        return self.ils.new_patron(
            f"ZZ-P{number}",
            pin=pin,
            expires=expires,
            external_id=f"zz-{number}",
            name="契约测试",
            identifiers=dict(identifiers or {}),
        )

    def new_desk_patron(self, *, pin: str) -> IlsPatronId:
        """Open an account at the desk."""
        return self.ils.add_desk_patron(f"ZZ-P{self.ils.stock.next_id()}", name="契约测试", pin=pin)

    def external_id_of(self, patron: IlsPatronId) -> str:
        """Return the external id under which a patron was made."""
        return self.ils.stock.patrons[patron].external_id

    def new_item(self) -> Barcode:
        """Put an item on the shelf."""
        return self.ils.new_item(f"ZZ-B{self.ils.stock.next_id()}")

    def new_fee(self, patron: IlsPatronId, amount: Decimal) -> str:
        """Charge a fee."""
        return self.ils.charge_fee(patron, amount)

    def clean(self) -> None:
        """Nothing to remove: the fake is thrown away."""

"""What SIP2 cannot say: accounts, catalogue, loan rules, changes.

Nothing here does anything: each operation refuses before anything is sent. ``registration`` stands
in for accounts where the ILS has a dialect for them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NoReturn

from adapters.sip2.base import Sip2Base
from connector.domain.ids import Barcode, IlsPatronId
from connector.errors import UnsupportedOperation
from connector.ports.ils import (
    BibHit,
    Capability,
    Change,
    Holding,
    ItemInput,
    LoanRule,
    MarcDialect,
    PatronInput,
    PatronUpsert,
)

__all__ = ["BeyondSip2"]


class BeyondSip2(Sip2Base):
    """The rest of the port; every method raises ``UnsupportedOperation``."""

    def _refuse(self, capability: Capability) -> NoReturn:
        raise UnsupportedOperation(self.name, self.institution_id, capability.value)

    def find_patron(
        self, *, external_id: str | None = None, identifiers: Mapping[str, str] | None = None
    ) -> IlsPatronId | None:
        """Not possible: no external id is kept, and so nobody is found by one."""
        del external_id, identifiers
        self._refuse(Capability.FIND_PATRON)

    def upsert_patron(self, patron: PatronInput) -> PatronUpsert:
        """Not possible by the standard."""
        del patron
        self._refuse(Capability.UPSERT_PATRON)

    def close_patron(self, identifier: IlsPatronId) -> None:
        """Not possible."""
        del identifier
        self._refuse(Capability.CLOSE_PATRON)

    def change_due_date(self, barcode: Barcode, due: datetime) -> None:
        """Not possible."""
        del barcode, due
        self._refuse(Capability.CHANGE_DUE_DATE)

    def loan_rules(self) -> tuple[LoanRule, ...]:
        """Not possible."""
        self._refuse(Capability.LOAN_RULES)

    def fetch_changes(self, since: datetime) -> Iterator[Change]:
        """Not possible."""
        del since
        self._refuse(Capability.FETCH_CHANGES)

    def search_bibs(self, query: str, *, limit: int = 50) -> tuple[BibHit, ...]:
        """Not possible."""
        del query, limit
        self._refuse(Capability.SEARCH_BIBS)

    def fetch_holdings(self, bib_id: str) -> tuple[Holding, ...]:
        """Not possible."""
        del bib_id
        self._refuse(Capability.FETCH_HOLDINGS)

    def add_bib(self, record: bytes, dialect: MarcDialect) -> str:
        """Not possible."""
        del record, dialect
        self._refuse(Capability.ADD_BIB)

    def update_bib(self, bib_id: str, record: bytes, dialect: MarcDialect) -> None:
        """Not possible."""
        del bib_id, record, dialect
        self._refuse(Capability.UPDATE_BIB)

    def delete_bib(self, bib_id: str) -> None:
        """Not possible."""
        del bib_id
        self._refuse(Capability.DELETE_BIB)

    def add_item(self, bib_id: str, item: ItemInput) -> None:
        """Not possible."""
        del bib_id, item
        self._refuse(Capability.ADD_ITEM)

    def delete_item(self, barcode: Barcode) -> None:
        """Not possible."""
        del barcode
        self._refuse(Capability.DELETE_ITEM)

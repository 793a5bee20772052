"""Loans by SIP2: 11, 09, 29, and 17 with 63 to find out who has an item.

Nothing here repeats anything. Rules: 17 tells that an item is out, a patron's list whether that
patron has it; what the two do not tell is not told on (``SOMEBODY_ELSE``, None).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from adapters.sip2.base import Budget
from adapters.sip2.dates import BLANK_DATE
from adapters.sip2.patrons import Sip2Patrons
from connector.domain.ids import Barcode, IlsPatronId
from connector.domain.item import CirculationStatus, IlsItem
from connector.domain.loan import SOMEBODY_ELSE, IlsLoan
from connector.domain.patron import PatronFacts
from connector.errors import UnexpectedResponse
from connector.ports.ils import (
    Capability,
    CheckinResult,
    CheckoutResult,
    ExchangeContext,
)

__all__ = ["Sip2Circulation"]

_NOT_OUT = frozenset(
    {
        CirculationStatus.ON_ORDER,
        CirculationStatus.AVAILABLE,
        CirculationStatus.IN_PROCESS,
        CirculationStatus.HOLD_SHELF,
        CirculationStatus.RESHELVING,
        CirculationStatus.IN_TRANSIT,
        CirculationStatus.MISSING,
    }
)
_OUT = frozenset({CirculationStatus.CHARGED, CirculationStatus.CHARGED_NO_RECALL})
"""Of the others (recalled, claimed, lost, other) nobody knows: the patron's list decides."""


class Sip2Circulation(Sip2Patrons):
    """The ``Circulation`` part of the port."""

    def fetch_item(self, barcode: Barcode) -> IlsItem | None:
        """Return the item, or None when the ILS does not know it."""
        self.require(Capability.FETCH_ITEM)
        return self._read_item(barcode, self.budget())

    def _read_item(self, barcode: Barcode, budget: Budget) -> IlsItem | None:
        return self.answers.read_item(barcode, self.ask("17", budget, values={"AB": barcode}))

    def fetch_item_loan(
        self, barcode: Barcode, patron: IlsPatronId | None = None
    ) -> IlsLoan | None:
        """Return the open loan of an item, as far as this ILS tells.

        Raises:
            UnexpectedResponse: ``needs_patron``: the ILS has no item information.
        """
        self.require(Capability.FETCH_ITEM_LOAN)
        budget = self.budget()
        if Capability.FETCH_ITEM not in self.capabilities:
            if patron is None:
                raise UnexpectedResponse(self.name, self.institution_id, "needs_patron")
            return self._loan_by_list(barcode, self.read_patron(patron, budget), patron, None)
        item = self._read_item(barcode, budget)
        if item is not None and item.status in _NOT_OUT:
            return None
        if item is not None and item.borrower is not None:
            return IlsLoan(barcode, item.borrower, item.due, title=item.title)
        if patron is None or Capability.FETCH_PATRON not in self.capabilities:
            return _somebody(barcode, item)
        if item is not None and Capability.LIST_LOANS not in self.capabilities:
            return _somebody(barcode, item)
        return self._loan_by_list(barcode, self.read_patron(patron, budget), patron, item)

    def _loan_by_list(
        self, barcode: Barcode, facts: PatronFacts, patron: IlsPatronId, item: IlsItem | None
    ) -> IlsLoan | None:
        """Look the item up among the patron's loans.

        An ILS that knows neither the item nor the patron has lost its database, rather than both
        (Evergreen answers so): that is no proof that nothing is out.
        """
        own = {barcode.upper(), _own_barcode(item).upper() or barcode.upper()}
        listed = {loan.barcode.upper() for loan in facts.loans}
        if own & listed:
            return replace(_somebody(barcode, item), patron=patron)
        lists = Capability.LIST_LOANS in self.capabilities
        if not facts.valid or (lists and not facts.loans_complete):
            return _somebody(barcode, item)
        if any(_is_alike(one, other) for one in own for other in listed):
            return _somebody(barcode, item)
        if item is not None and item.status in _OUT:
            return IlsLoan(barcode, SOMEBODY_ELSE, item.due, title=item.title)
        return None

    def checkout(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Lend the item (11)."""
        self.require(Capability.CHECKOUT)
        return self._lend("11", patron, barcode, context, due)

    def renew(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Renew the loan (29)."""
        self.require(Capability.RENEW)
        return self._lend("29", patron, barcode, context, due)

    def _lend(
        self,
        code: str,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        due: datetime | None,
    ) -> CheckoutResult:
        fixed = {"no_block": _flag(context)}
        if due is not None and Capability.SET_DUE_DATE in self.capabilities:
            fixed["nb_due_date"] = self.dates.stamp(due)
        elif context.request is None or context.request.code != code:
            fixed["nb_due_date"] = BLANK_DATE
        values = {"AA": patron, "AB": barcode, **_fee_rule(context)}
        return self.answers.read_checkout(self.tell(code, context, fixed=fixed, values=values))

    def checkin(
        self, barcode: Barcode, context: ExchangeContext, *, returned_at: datetime | None = None
    ) -> CheckinResult:
        """Take the item back (09)."""
        self.require(Capability.CHECKIN)
        fixed = {
            "no_block": _flag(context),
            "return_date": self.dates.stamp(returned_at or context.at),
        }
        values = {"AB": barcode, "AP": self.requests.location_of(context), "AD": None}
        answer = self.tell("09", context, fixed=fixed, values=values)
        return self.answers.read_checkin(answer)

    def update_item_status(self, barcode: Barcode, properties: str) -> bool:
        """Store the item properties (19)."""
        self.require(Capability.UPDATE_ITEM_STATUS)
        message = self.requests.build("19", self.now(), values={"AB": barcode, "CH": properties})
        answer = self.exchange(message, timeout_s=self.budget().left_s, changes=True)
        return answer.fixed.get("item_properties_ok") == "1"


def _somebody(barcode: Barcode, item: IlsItem | None) -> IlsLoan:
    """Return that it may be out, with nobody named."""
    if item is None:
        return IlsLoan(barcode)
    return IlsLoan(barcode, due=item.due, title=item.title)


def _own_barcode(item: IlsItem | None) -> str:
    """Return the barcode as the ILS itself writes it (AB of 18)."""
    return item.native.get("AB").strip() if item is not None and item.native is not None else ""


def _is_alike(one: str, other: str) -> bool:
    """Say whether two barcodes may be one item, written with and without zeros or a prefix."""
    short, long = sorted((one.lstrip("0"), other.lstrip("0")), key=len)
    return bool(short) and long.endswith(short)


def _fee_rule(context: ExchangeContext) -> dict[str, str | None]:
    """Return BO: Y when the patron agreed; N where the terminal sent it, and else nothing."""
    if context.fee_acknowledged:
        return {"BO": "Y"}
    sent = context.request is not None and context.request.get("BO")
    return {"BO": "N" if sent else None}


def _flag(context: ExchangeContext) -> str:
    return "Y" if context.no_block else "N"

"""The port to a library system: what the core asks of an ILS, in the field's words.

Nothing here talks to an ILS; adapters do, in ``adapters/``. Rules: decisions 11, 14, 25, 26 —

- an adapter is plain synchronous code, called from a thread pool; it must be safe to call from
  several threads;
- there are no default bodies: what is not in ``capabilities`` raises ``UnsupportedOperation``;
- "no" is a result; ``AdapterUnavailable`` = nothing was sent; ``OutcomeUnknown`` = it was sent, and
  no answer came;
- an adapter never repeats a checkout, checkin, renewal or payment by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Literal, Protocol

from pydantic import BaseModel

from connector.domain.ids import Barcode, BranchId, IlsPatronId, InstitutionId, TerminalId
from connector.domain.item import IlsItem
from connector.domain.loan import IlsLoan
from connector.domain.patron import Fee, IlsHold, PatronFacts
from connector.domain.wire import WireMessage

__all__ = [
    "API_CAPABILITIES",
    "AdapterContext",
    "AdapterSpec",
    "AlertType",
    "BibHit",
    "BlockReason",
    "Capability",
    "Catalogue",
    "Change",
    "CheckinResult",
    "CheckoutResult",
    "Circulation",
    "ExchangeContext",
    "Fees",
    "FeePayment",
    "FeeResult",
    "Forwarding",
    "HoldRequest",
    "HoldResult",
    "Holding",
    "Holds",
    "IlsAdapter",
    "ItemInput",
    "LoanRule",
    "MarcDialect",
    "PatronInput",
    "PatronUpsert",
    "Patrons",
]

MarcDialect = Literal["marc21", "cnmarc"]


class Capability(StrEnum):
    """What an adapter can do; named like its method where there is one."""

    FETCH_PATRON = "fetch_patron"
    VERIFY_PIN = "verify_pin"
    FIND_PATRON = "find_patron"
    UPSERT_PATRON = "upsert_patron"
    ADOPT_PATRON = "adopt_patron"
    """``upsert_patron`` obeys ``adopt``."""
    BLOCK_PATRON = "block_patron"
    UNBLOCK_PATRON = "unblock_patron"
    CLOSE_PATRON = "close_patron"
    LIST_LOANS = "list_loans"
    """``fetch_patron`` gives every loan."""
    LOAN_DUE_DATES = "loan_due_dates"
    """``fetch_patron`` gives the due date of each loan, so that a renewal made elsewhere shows."""
    FETCH_ITEM = "fetch_item"
    FETCH_ITEM_LOAN = "fetch_item_loan"
    CHECKOUT = "checkout"
    CHECKIN = "checkin"
    RENEW = "renew"
    SET_DUE_DATE = "set_due_date"
    """``checkout`` and ``renew`` obey ``due``."""
    CHANGE_DUE_DATE = "change_due_date"
    UPDATE_ITEM_STATUS = "update_item_status"
    PLACE_HOLD = "place_hold"
    CANCEL_HOLD = "cancel_hold"
    LIST_HOLDS = "list_holds"
    PAY_FEE = "pay_fee"
    SEARCH_BIBS = "search_bibs"
    FETCH_HOLDINGS = "fetch_holdings"
    ADD_BIB = "add_bib"
    UPDATE_BIB = "update_bib"
    DELETE_BIB = "delete_bib"
    ADD_ITEM = "add_item"
    DELETE_ITEM = "delete_item"
    LOAN_RULES = "loan_rules"
    FETCH_CHANGES = "fetch_changes"
    FORWARD = "forward"
    """The ILS speaks SIP2: a terminal's message can be handed on as it is."""


API_CAPABILITIES = frozenset(Capability) - {Capability.FORWARD}
"""Everything that an ILS with an API of its own can do; only one that speaks SIP2 forwards."""


class AlertType(StrEnum):
    """SIP2 CV alert types of a checkin."""

    UNKNOWN = "00"
    LOCAL_HOLD = "01"
    HOLD_OTHER_BRANCH = "02"
    ILL = "03"
    OTHER_BRANCH = "04"
    OTHER = "99"


class BlockReason(StrEnum):
    """Why a patron is blocked; kept by the adapter, so that exactly this block is undone."""

    CARD_RETAINED = "card_retained"
    CARD_LOST = "card_lost"
    CONSENT_WITHDRAWN = "consent_withdrawn"
    CARD_EXCHANGED = "card_exchanged"
    CARD_CLOSING = "card_closing"
    """The pupil has left or his card has expired; undone when he comes back."""
    STAFF = "staff"


@dataclass(frozen=True, slots=True)
class ExchangeContext:
    """Where and when an exchange happens, and what the terminal said about it.

    Attributes:
        at: when the kiosk says it happened, already bounded; aware, UTC.
        pin: what the patron typed, passed on untouched; None when nothing was sent.
        fee_acknowledged: the patron agreed to the fee (BO).
        no_block: it has happened already and must be recorded (only where the terminal may;
            decision 14).
        timeout_s: how long the adapter may wait for its ILS.
        location: where the terminal stands, in the ILS's own words (CP, AP).
        register: the cash register that the ILS books payments of this terminal on.
        request: the terminal's own message, for an ILS that speaks SIP2: tags that mean nothing
            here go on with it. Patron, item, PIN and ``no_block`` are not taken from it.
    """

    at: datetime
    branch: BranchId | None = None
    terminal: TerminalId | None = None
    pin: str | None = field(default=None, repr=False)
    fee_acknowledged: bool = False
    no_block: bool = False
    timeout_s: float = 8.0
    location: str = ""
    register: str = ""
    request: WireMessage | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CheckoutResult:
    """The ILS's answer to a checkout or a renewal.

    Attributes:
        ok: False = the ILS refused; ``message`` holds its words.
        code: the ILS's own short code of a refusal, such as ``item_on_hold``.
        renewed: it was a renewal of an item that the patron had already.
        due: aware, UTC.
        fee: a fee that must be acknowledged first (``ok`` False), or that was charged.
        desensitize: whether the gate may let the item pass; None = the ILS does not say.
        native: the whole answer of an ILS that speaks SIP2.
    """

    ok: bool
    title: str = ""
    due: datetime | None = None
    renewed: bool = False
    code: str = ""
    message: str = field(default="", repr=False)
    media_type: str = ""
    magnetic: bool | None = None
    fee: Fee | None = None
    desensitize: bool | None = None
    native: WireMessage | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class CheckinResult:
    """The ILS's answer to a checkin.

    Attributes:
        was_on_loan: None when the ILS does not say.
        patron: who had it.
        hold_patron: who waits for it; shown only where the terminal may.
        resensitize: None = the ILS does not say.
        native: the whole answer of an ILS that speaks SIP2.
    """

    ok: bool
    title: str = ""
    was_on_loan: bool | None = None
    patron: IlsPatronId | None = None
    permanent_location: str = ""
    destination: str = ""
    collection: str = ""
    call_number: str = ""
    sort_bin: str = ""
    media_type: str = ""
    magnetic: bool | None = None
    alert: AlertType | None = None
    hold_patron: IlsPatronId | None = None
    hold_patron_name: str = field(default="", repr=False)
    code: str = ""
    message: str = field(default="", repr=False)
    properties: str = ""
    resensitize: bool | None = None
    native: WireMessage | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class HoldRequest:
    """A hold to place; ``hold_type`` is the SIP2 code (1 other, 2 any copy, 3 this copy, 4 any copy
    at the branch).
    """

    barcode: Barcode | None = None
    title: str = ""
    pickup: str = ""
    hold_type: str = "2"
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class HoldResult:
    """The ILS's answer to placing, changing or cancelling a hold; ``native``: as SIP2."""

    ok: bool
    available: bool = False
    hold_id: str = ""
    barcode: Barcode | None = None
    title: str = ""
    pickup: str = ""
    queue_position: int | None = None
    expires: datetime | None = None
    code: str = ""
    message: str = field(default="", repr=False)
    native: WireMessage | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class FeePayment:
    """A payment; codes are SIP2's. ``transaction_id`` makes it idempotent: the same one twice is
    paid once.
    """

    amount: Decimal
    currency: str
    fee_type: str
    payment_type: str
    fee_id: str = ""
    transaction_id: str = ""


@dataclass(frozen=True, slots=True)
class FeeResult:
    """The ILS's answer to a payment; ``native``: as SIP2."""

    ok: bool
    transaction_id: str = ""
    code: str = ""
    message: str = field(default="", repr=False)
    native: WireMessage | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class PatronInput:
    """A patron to create or change in the ILS.

    Attributes:
        external_id: our own id, kept by the ILS: a half-done create is recognised by it as ours.
        card: the card number that the ILS shall answer to.
        identifiers: further numbers that the ILS should find the patron by, kind → number (only
            where consented).
        pin: set once at creation; None leaves it alone.
        adopt: an account that is not ours becomes ours (A29): it gets the external id, the category
            and the expiry; its number, name, PIN, phone, blocks, loans and holds stay as they are,
            and whatever else is given here is left out. Repeating it changes nothing. Only with
            ADOPT_PATRON.
    """

    external_id: str
    card: IlsPatronId
    name: str = field(repr=False)
    category: str
    home_branch: str = ""
    birth_date: date | None = field(default=None, repr=False)
    expires: date | None = None
    phone: str = field(default="", repr=False)
    pin: str | None = field(default=None, repr=False)
    school: str = ""
    class_name: str = ""
    identifiers: Mapping[str, str] = field(default_factory=dict, repr=False)
    adopt: IlsPatronId | None = None


@dataclass(frozen=True, slots=True)
class PatronUpsert:
    """What became of ``upsert_patron``."""

    ils_patron: IlsPatronId
    created: bool


@dataclass(frozen=True, slots=True)
class ItemInput:
    """An item to add to a bib."""

    barcode: Barcode
    item_type: str = "book"
    location: str = ""
    branch: str = ""
    collection: str = ""
    call_number: str = ""
    price: Decimal | None = None
    unsuitable: bool = False


@dataclass(frozen=True, slots=True)
class BibHit:
    """One bib of a search; ``record`` is ISO 2709 in UTF-8."""

    bib_id: str
    title: str
    author: str = ""
    isbn: str = ""
    record: bytes = field(default=b"", repr=False)
    dialect: MarcDialect = "marc21"


@dataclass(frozen=True, slots=True)
class Holding:
    """One item of a bib; ``available`` is None when the ILS cannot say."""

    bib_id: str
    barcode: Barcode
    branch: str = ""
    location: str = ""
    call_number: str = ""
    available: bool | None = None
    due: datetime | None = None


@dataclass(frozen=True, slots=True)
class LoanRule:
    """One of the ILS's own loan rules, for the start-up check against the policy (scenario 31)."""

    category: str
    item_type: str
    loan_days: int | None = None
    max_items: int | None = None
    max_renewals: int | None = None
    renewal_days: int | None = None
    renewal_from: Literal["today", "due"] | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened in the ILS since a moment: ``checkout``, ``checkin`` or ``renew``."""

    kind: Literal["checkout", "checkin", "renew"]
    at: datetime
    barcode: Barcode
    patron: IlsPatronId | None = None
    due: datetime | None = None


class Patrons(Protocol):
    """Patrons of the ILS."""

    def fetch_patron(self, identifier: IlsPatronId, pin: str | None = None) -> PatronFacts:
        """Return everything about one patron in one read; unknown → ``valid`` False, never an
        exception.
        """
        ...

    def verify_pin(self, identifier: IlsPatronId, pin: str) -> bool:
        """Say whether the PIN is right."""
        ...

    def find_patron(
        self, *, external_id: str | None = None, identifiers: Mapping[str, str] | None = None
    ) -> IlsPatronId | None:
        """Return the account with our external id, or with any of these numbers (kind → number), or
        None.
        """
        ...

    def upsert_patron(self, patron: PatronInput) -> PatronUpsert:
        """Create the patron, or change the one with the same ``external_id``; never touch another
        account, except the one that ``adopt`` names. Another ``card`` gives the account a new
        number: loans and PIN stay, and the old number is nobody's (scenario 34).

        Raises:
            UnexpectedResponse: ``duplicate_card`` or ``duplicate_identifier``: another account has
                the number; ``not_ours``: the account to adopt is somebody else's, or there is one
                with this external id already.
            NotFound: there is no account to adopt.
            UnsupportedOperation: ``adopt`` was given without ADOPT_PATRON.
        """
        ...

    def block_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Block borrowing."""
        ...

    def unblock_patron(self, identifier: IlsPatronId, reason: BlockReason) -> None:
        """Undo exactly the block with this reason."""
        ...

    def close_patron(self, identifier: IlsPatronId) -> None:
        """Close the account; raises ``UnexpectedResponse`` with code ``has_loans`` while items are
        out.
        """
        ...


class Circulation(Protocol):
    """Loans of the ILS."""

    def fetch_item(self, barcode: Barcode) -> IlsItem | None:
        """Return the item, or None when the ILS does not know it."""
        ...

    def fetch_item_loan(
        self, barcode: Barcode, patron: IlsPatronId | None = None
    ) -> IlsLoan | None:
        """Return the open loan of an item, or None when it is not on loan.

        An ILS that tells only that ``patron`` has not got it answers with ``SOMEBODY_ELSE``.

        Args:
            patron: who is thought to have it; an ILS that cannot ask by item reads this patron's
                loans.
        """
        ...

    def checkout(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Lend the item. With SET_DUE_DATE, ``due`` (aware) is obeyed; otherwise the result tells
        the ILS's date.
        """
        ...

    def checkin(
        self, barcode: Barcode, context: ExchangeContext, *, returned_at: datetime | None = None
    ) -> CheckinResult:
        """Take the item back, dated ``returned_at``."""
        ...

    def renew(
        self,
        patron: IlsPatronId,
        barcode: Barcode,
        context: ExchangeContext,
        *,
        due: datetime | None = None,
    ) -> CheckoutResult:
        """Renew the loan."""
        ...

    def change_due_date(self, barcode: Barcode, due: datetime) -> None:
        """Correct the due date of an open loan."""
        ...

    def update_item_status(self, barcode: Barcode, properties: str) -> bool:
        """Store the terminal's item properties (SIP2 19, CH); False when the item is unknown."""
        ...

    def loan_rules(self) -> tuple[LoanRule, ...]:
        """Return the ILS's own rules for the start-up check."""
        ...

    def fetch_changes(self, since: datetime) -> Iterator[Change]:
        """Yield what happened since a moment, oldest first."""
        ...


class Holds(Protocol):
    """Holds of the ILS."""

    def place_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Place a hold, or change the pickup place of the patron's hold on the same title."""
        ...

    def cancel_hold(
        self, patron: IlsPatronId, request: HoldRequest, context: ExchangeContext
    ) -> HoldResult:
        """Cancel the patron's hold on this item or title."""
        ...

    def list_holds(self, patron: IlsPatronId) -> tuple[IlsHold, ...]:
        """Return the patron's holds."""
        ...


class Fees(Protocol):
    """Fees of the ILS."""

    def pay_fee(
        self, patron: IlsPatronId, payment: FeePayment, context: ExchangeContext
    ) -> FeeResult:
        """Record a payment; the same ``transaction_id`` again pays nothing and answers as the first
        time.
        """
        ...


class Forwarding(Protocol):
    """An ILS that speaks SIP2 itself."""

    def forward(self, message: WireMessage, context: ExchangeContext) -> WireMessage | None:
        """Hand a terminal's message on as it is and return the answer; None = the ILS takes no such
        message, and nothing was sent.

        Only for what changes no loan, or for people whom we did not enrol (decision 4).

        Raises:
            AdapterUnavailable: nothing was sent.
            OutcomeUnknown: it was sent, and no answer came.
        """
        ...


class Catalogue(Protocol):
    """Bibs and items of the ILS. Records are ISO 2709 in UTF-8."""

    def search_bibs(self, query: str, *, limit: int = 50) -> tuple[BibHit, ...]:
        """Return bibs whose title, author or ISBN has the words."""
        ...

    def fetch_holdings(self, bib_id: str) -> tuple[Holding, ...]:
        """Return the items of a bib."""
        ...

    def add_bib(self, record: bytes, dialect: MarcDialect) -> str:
        """Store a record and return its bib id."""
        ...

    def update_bib(self, bib_id: str, record: bytes, dialect: MarcDialect) -> None:
        """Replace a record."""
        ...

    def delete_bib(self, bib_id: str) -> None:
        """Remove a bib without items; ``UnexpectedResponse`` with code ``has_items`` otherwise."""
        ...

    def add_item(self, bib_id: str, item: ItemInput) -> None:
        """Add an item; ``UnexpectedResponse`` with code ``duplicate_barcode`` when the barcode is
        taken.
        """
        ...

    def delete_item(self, barcode: Barcode) -> None:
        """Remove an item; ``UnexpectedResponse`` with code ``on_loan`` while it is out."""
        ...


class IlsAdapter(Patrons, Circulation, Holds, Fees, Forwarding, Catalogue, Protocol):
    """One library's ILS.

    Attributes:
        name: the adapter's name, such as ``local``.
        institution_id: the library whose ILS it is.
        capabilities: what it can do with this ILS in this version.
    """

    name: str
    institution_id: InstitutionId
    capabilities: frozenset[Capability]

    def ping(self) -> None:
        """Return when the ILS answers; raise ``AdapterUnavailable`` or ``AdapterAuthFailed``
        otherwise.
        """
        ...

    def close(self) -> None:
        """Give back connections."""
        ...


@dataclass(frozen=True, slots=True)
class AdapterContext:
    """What a library gives its adapter besides the adapter's own settings.

    Attributes:
        timezone: IANA name.
        data_dir: folder for the adapter's own files.
        now: the clock; returns aware UTC.
    """

    institution_id: InstitutionId
    timezone: str
    data_dir: str
    now: Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class AdapterSpec:
    """How a plugin offers an adapter.

    Attributes:
        capabilities: what it can do at best; an instance may claim less.
        settings: pydantic model of the adapter's own settings table.
        build: makes the adapter of one library; it does no I/O that could block the start.
    """

    name: str
    version: str
    capabilities: frozenset[Capability]
    settings: type[BaseModel]
    build: Callable[[Any, AdapterContext], IlsAdapter]

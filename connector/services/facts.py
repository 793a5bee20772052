"""Facts of one exchange, read once: who was scanned, what the ILS and the ledger say, and what the
item is.

Nothing here decides or lends. Rules: decisions 4, 5, 9, 13 —

- at most one patron read and one item read per exchange; the results are handed down;
- open loans are the union of ledger and ILS by item: a loan that only the ILS knows is adopted; one
  that the ledger places in this ILS and that is missing there is confirmed by one item read before
  it is closed;
- a later due date or a higher renewal count in the ILS is a renewal;
- what an ILS that was away has not heard of yet is no difference: a loan that came back meanwhile
  is not adopted, and one made meanwhile is not gone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from connector.domain.barcodes import is_same_label
from connector.domain.circulation import Quota, is_overdue
from connector.domain.identity import normalise_scanned
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, ItemId, LoanId
from connector.domain.item import Classification, IlsItem, LanguageClass, Shelving, classify_item
from connector.domain.library import Library, resolve_owners
from connector.domain.loan import IlsLoan, Loan, LoanOrigin, LoanState
from connector.domain.patron import PatronFacts, PatronStanding
from connector.errors import AdapterError
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.decisions import Decider
from connector.ports.deferred import DeferredStore
from connector.ports.ils import Capability, IlsAdapter
from connector.ports.ledger import Adoption, Ledger, Place, Reconciliation, Renewed
from connector.ports.store import ItemFacts, ItemFactsStore, PatronRegister
from connector.services.unheard import Unheard, is_returned

__all__ = ["FactReader", "ItemView", "PatronView", "count_quota"]

_log = get_logger(__name__)

_CLOCK_SLACK = timedelta(minutes=1)
"""Due dates that differ by no more are the same."""
_CONFIRMED_STATES = frozenset({LoanState.OPEN, LoanState.DISPUTED})


@dataclass(frozen=True, slots=True)
class PatronView:
    """One enrolled patron in one exchange.

    Attributes:
        ils_patron: the identifier to use with this ILS.
        loans: unclosed loans in the whole network, after comparison with the ILS.
        uncounted: loans that the ILS counts but cannot list.
    """

    standing: PatronStanding
    facts: PatronFacts
    ils_patron: IlsPatronId
    loans: tuple[Loan, ...]
    uncounted: int = 0

    def find_loan(self, item: ItemId) -> Loan | None:
        """Return the patron's unclosed loan of an item."""
        return next((loan for loan in self.loans if loan.item == item), None)


@dataclass(frozen=True, slots=True)
class ItemView:
    """One item in one exchange.

    Attributes:
        record: None when the ILS does not know it.
        is_noted: something about it is in our own item facts, if only that its language is unknown.
    """

    item: ItemId
    record: IlsItem | None
    classification: Classification
    clc_class: str = ""
    is_noted: bool = False


def count_quota(
    view: PatronView, *, now: datetime, library: Library, without: ItemId | None = None
) -> Quota:
    """Count what takes a place, network-wide; ``without`` leaves one item out."""
    loans: Sequence[Loan] = view.loans
    if without is not None:
        loans = [loan for loan in loans if loan.item != without]
    return Quota(
        total=len(loans) + view.uncounted,
        foreign=sum(loan.language is LanguageClass.FOREIGN for loan in loans),
        overdue=sum(is_overdue(loan.due, now, library.zone) for loan in loans),
    )


class FactReader:
    """Reads and reconciles; one instance serves all libraries and threads."""

    def __init__(
        self,
        *,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        ledger: Ledger,
        people: PatronRegister,
        item_facts: ItemFactsStore,
        decider: Decider,
        now: Clock,
        deferred: DeferredStore | None = None,
    ) -> None:
        self.libraries = libraries
        self.adapters = adapters
        self.ledger = ledger
        self._people = people
        self._item_facts = item_facts
        self._decider = decider
        self._now = now
        self._unheard = Unheard(deferred)

    def resolve_patron(self, scanned: str, library: Library) -> PatronStanding | None:
        """Return the enrolled patron behind whatever was scanned, or None (decision 4).

        The number of his account in the library's ILS, which may be none of his cards, is his too.
        """
        text = scanned.strip()
        if not text:
            return None
        identifiers = list(normalise_scanned(text))
        identifiers.extend(self._decider.resolve_patron_identifier(text, library.code))
        known = self._people.resolve(identifiers, library.code)
        return known or self.find_by_account(IlsPatronId(text), library)

    def find_by_account(self, ils_patron: IlsPatronId, library: Library) -> PatronStanding | None:
        """Return the enrolled patron whose account the ILS named, or None."""
        return self._people.find_by_account(ils_patron, library.code)

    def read_patron(
        self,
        standing: PatronStanding,
        scanned: str,
        library: Library,
        place: Place,
        *,
        pin: str | None = None,
        origin: LoanOrigin = LoanOrigin.DESK,
    ) -> PatronView:
        """Read the patron from the ILS, compare with the ledger, write the differences.

        Nobody is asked about a dead number, nor about a child whose card is not open yet.

        Args:
            origin: where loans come from that only the ILS knows.

        Raises:
            AdapterError: the ILS cannot be asked; nothing was changed.
        """
        adapter = self.adapters[library.code]
        if not standing.is_known_to_ils:
            nobody = PatronFacts(IlsPatronId(scanned.strip()), self._now(), valid=False)
            return PatronView(standing, nobody, nobody.ils_patron, ())
        identifier = standing.ils_patron or IlsPatronId(scanned.strip())
        lists = Capability.LIST_LOANS in adapter.capabilities
        counted = () if lists else self.ledger.list_unclosed(standing.patron_id)
        if Capability.FETCH_PATRON in adapter.capabilities:
            facts = adapter.fetch_patron(identifier, pin)
        else:
            facts = PatronFacts(ils_patron=identifier, as_of=self._now(), loans_complete=False)
        loans = self.ledger.list_unclosed(standing.patron_id)
        if not facts.valid:
            return PatronView(standing, facts, identifier, loans)
        loans = self._reconcile(standing, facts, loans, library, place, origin=origin)
        uncounted = 0
        if not facts.loans_complete and facts.counts.charged:
            # Counted before the ILS was read: a loan made meanwhile is not taken off its count.
            before = loans if lists else counted
            uncounted = self._unheard.count_elsewhere(
                facts.counts.charged, before, standing.patron_id, library
            )
        return PatronView(standing, facts, facts.ils_patron, loans, uncounted)

    def resolve_item(self, scanned: str, library: Library) -> tuple[ItemId, ...]:
        """Return whose item the barcode may be; more than one means that nobody may guess."""
        return resolve_owners(scanned, library, self.libraries.values())

    def read_item(self, item: ItemId, library: Library) -> ItemView:
        """Read the item from the library's ILS and classify it; facts that were imported win over
        the ILS's.

        Written in another case or width, it is the same item where the ILS says so: it goes by the
        barcode that the ILS writes.
        """
        adapter = self.adapters[library.code]
        if Capability.FETCH_ITEM in adapter.capabilities:
            record = adapter.fetch_item(item.barcode)
        else:
            record = IlsItem(barcode=item.barcode)
        if record is not None and is_same_label(record.barcode, item.barcode):
            item = ItemId(item.owner, self._owner(item).barcodes.normalise(record.barcode))
        return self.classify(item, record)

    def classify(self, item: ItemId, record: IlsItem | None) -> ItemView:
        """Classify an item that was already read."""
        rules = self._owner(item).item_rules
        found = classify_item(record or IlsItem(barcode=item.barcode), rules)
        clc_class = record.clc_class if record is not None else ""
        known = self._item_facts.fetch_item_facts(item)
        if known is not None:
            clc_class = known.clc_class or clc_class
            if known.language is not LanguageClass.UNKNOWN:
                found = replace(found, language=known.language, source="facts")
            if known.shelving is not Shelving.UNKNOWN:
                found = replace(found, shelving=known.shelving)
        if found.language is LanguageClass.UNKNOWN:
            _log.info("item.language_assumed", institution=item.owner, kind=found.source)
        return ItemView(item, record, found, clc_class, is_noted=known is not None)

    def note_unknown_language(self, view: ItemView) -> None:
        """Keep that nobody knows the language: staff see it in ``onecard items list``."""
        if view.is_noted or view.classification.language is not LanguageClass.UNKNOWN:
            return
        self._item_facts.save_item_facts(
            [
                ItemFacts(
                    item=view.item,
                    language=LanguageClass.UNKNOWN,
                    shelving=Shelving.UNKNOWN,
                    source="assumed",
                    as_of=self._now(),
                )
            ]
        )

    def fetch_item_loan(self, loan: Loan) -> IlsLoan | None:
        """Ask the lending ILS who has the item of a loan now."""
        adapter = self.adapters[loan.lender]
        return adapter.fetch_item_loan(loan.item.barcode, loan.ils_patron)

    def _owner(self, item: ItemId) -> Library:
        return self.libraries[item.owner]

    def _reconcile(
        self,
        standing: PatronStanding,
        facts: PatronFacts,
        loans: tuple[Loan, ...],
        library: Library,
        place: Place,
        *,
        origin: LoanOrigin,
    ) -> tuple[Loan, ...]:
        rows = {loan.item: loan for loan in loans}
        listed = [(self._item_of(loan.barcode, library), loan) for loan in facts.loans]
        later = {
            item
            for item, ils_loan in listed
            if item in rows and _is_renewed(rows[item], ils_loan, library)
        }
        here = {item for item, row in rows.items() if row.lender == library.code}
        doubtful = (here ^ {item for item, _ in listed}) | later
        unheard = self._unheard.find(library, doubtful, at=facts.as_of)
        adopt: list[Adoption] = []
        renewed: list[Renewed] = []
        appeared: list[tuple[Loan, IlsLoan]] = []
        seen: set[ItemId] = set()
        for item, ils_loan in listed:
            seen.add(item)
            row = rows.get(item)
            if row is None:
                if not is_returned(unheard.get(item, ()), standing.patron_id, ils_loan):
                    adopt.append(self._adoption(item, ils_loan, library, origin))
            elif item in unheard:
                continue
            elif row.state is LoanState.UNKNOWN:
                appeared.append((row, ils_loan))
            elif item in later and row.state in _CONFIRMED_STATES:
                due_later = _is_due_later(row, ils_loan, library)
                renewals = max(ils_loan.renewals or 0, row.renewals + int(due_later))
                renewed.append(Renewed(row.loan_id, ils_loan.due, renewals))
        all_found = len(seen) == len(rows) and not adopt
        seen |= unheard.keys()
        gone = [] if all_found else self._find_gone(facts, loans, seen, library)
        for row, ils_loan in appeared:
            due = ils_loan.due or self._due_of(row.item, library)
            self.ledger.record_open(row.loan_id, place, due=due, disputed=True)
        if not (adopt or gone or renewed):
            return self.ledger.list_unclosed(standing.patron_id) if appeared else loans
        changes = Reconciliation(
            standing.patron_id,
            library.code,
            facts.ils_patron,
            facts.as_of,
            tuple(adopt),
            tuple(gone),
            tuple(renewed),
        )
        return self.ledger.reconcile(changes, place)

    def _find_gone(
        self, facts: PatronFacts, loans: Sequence[Loan], seen: set[ItemId], library: Library
    ) -> list[LoanId]:
        """Return ids of loans that the ILS no longer has; each is confirmed by one item read."""
        if not facts.loans_complete:
            return []
        missing = [
            loan
            for loan in loans
            if loan.lender == library.code
            and loan.state in _CONFIRMED_STATES
            and loan.item not in seen
            and (loan.opened_at or loan.asked_at) < facts.as_of
        ]
        return [loan.loan_id for loan in missing if self._is_gone(loan)]

    def _is_gone(self, loan: Loan) -> bool:
        if Capability.FETCH_ITEM_LOAN not in self.adapters[loan.lender].capabilities:
            return True
        try:
            now_with = self.fetch_item_loan(loan)
        except AdapterError:
            return False
        return now_with is None or (
            now_with.patron is not None and now_with.patron != loan.ils_patron
        )

    def _adoption(
        self, item: ItemId, ils_loan: IlsLoan, library: Library, origin: LoanOrigin
    ) -> Adoption:
        due = ils_loan.due
        try:
            view = self.read_item(item, library)
            language, clc_class = view.classification.language, view.clc_class
            if due is None and view.record is not None:
                due = view.record.due
        except AdapterError:
            language, clc_class = LanguageClass.UNKNOWN, ""
        return Adoption(
            item,
            language,
            due,
            ils_loan.renewals or 0,
            ils_loan.checked_out_at,
            origin=origin,
            clc_class=clc_class,
        )

    def _due_of(self, item: ItemId, library: Library) -> datetime | None:
        """Read a due date that the patron's list of loans does not give."""
        adapter = self.adapters[library.code]
        if Capability.FETCH_ITEM not in adapter.capabilities:
            return None
        try:
            record = adapter.fetch_item(item.barcode)
        except AdapterError:
            return None
        return None if record is None else record.due

    def _item_of(self, barcode: Barcode, library: Library) -> ItemId:
        """Return the item behind a barcode in one ILS's own list; there it is the local one if
        prefixes overlap.
        """
        owners = self.resolve_item(barcode, library)
        return (
            owners[0]
            if len(owners) == 1
            else ItemId(library.code, library.barcodes.normalise(barcode))
        )


def _is_due_later(row: Loan, ils_loan: IlsLoan, library: Library) -> bool:
    if row.due is None or ils_loan.due is None:
        return False
    return ils_loan.due - row.due > _CLOCK_SLACK and library.today(ils_loan.due) > library.today(
        row.due
    )


def _is_renewed(row: Loan, ils_loan: IlsLoan, library: Library) -> bool:
    return (ils_loan.renewals or 0) > row.renewals or _is_due_later(row, ils_loan, library)

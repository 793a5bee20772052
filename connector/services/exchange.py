"""Exchanging an older reader card for the student card (A29–A31, decision 21, scenarios 8 and 40).

Nothing here makes an account. Rules —

- nothing happens without a person of the staff, who has seen the older card and whose it is; a name
  that differs stops him once more;
- an account of the library's own ILS becomes the student card: number, PIN and loans stay, external
  id, category and expiry become ours; never a second account;
- another library's account gives way: its number resolves to the child, it lends nothing more, its
  loans count at once, and it is closed when the last is back;
- a deposit is refunded by the issuing library, and holds up nothing;
- every step may be repeated: what was done is found done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from connector.domain.consent import ConsentVerdict
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import IlsPatronId, InstitutionId, PatronId
from connector.domain.library import Library
from connector.domain.loan import LoanOrigin
from connector.domain.name_match import fold_name
from connector.domain.patron import EXCHANGED_ACCOUNT, PatronFacts
from connector.errors import (
    AdapterAuthFailed,
    AdapterError,
    AdapterUnavailable,
    ConfigurationError,
    NotFound,
    OutcomeUnknown,
    UnexpectedResponse,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, EnrolmentStore
from connector.ports.exchange import Exchange, ExchangeState, ExchangeStore
from connector.ports.ils import BlockReason, Capability, IlsAdapter, PatronInput
from connector.ports.ledger import Place
from connector.ports.schools import SchoolStore
from connector.ports.store import PatronRegister
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.consent_check import check_consent
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.facts import FactReader, PatronView
from connector.services.pupil_account import numbers_to_ask

__all__ = ["ExchangeReport", "ExchangeResult", "ExchangeService", "OlderCard"]

_log = get_logger(__name__)

_READ_AGAIN = timedelta(hours=1)
"""How often the issuer's ILS is read for books that came back at its own desk."""
_GIVE_UP_AFTER = 3
_WORKER = "worker"


@dataclass(frozen=True, slots=True)
class OlderCard:
    """An account that there is, as the staff look at it before they say yes.

    Attributes:
        is_same_name: None when one of the names is not known.
    """

    account: IlsPatronId = field(repr=False)
    facts: PatronFacts
    is_same_name: bool | None


@dataclass(frozen=True, slots=True)
class ExchangeResult:
    """What an exchange did.

    Attributes:
        loans: how many loans of the older account count now.
        by_hand: the staff have to set the category in the ILS, which cannot be told to.
        waits_for_ils: the issuer's ILS was away; the worker goes on.
    """

    exchange: Exchange
    loans: int
    by_hand: bool = False
    waits_for_ils: bool = False


@dataclass(frozen=True, slots=True)
class ExchangeReport:
    """What one sweep did to the exchanges that are open."""

    due: int = 0
    closed: int = 0
    waiting: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class ExchangeService:
    """Exchanges at every library of the process.

    Attributes:
        rules: by library.
        read_at: exchange id → when the issuer's ILS was last read, and whether books were out then
            as far as the ledger knew.
    """

    store: ExchangeStore
    enrolment: EnrolmentStore
    register: PatronRegister
    schools: SchoolStore
    tasks: TaskStore
    facts: FactReader
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    rules: Mapping[InstitutionId, EnrolmentRules]
    now: Clock
    read_at: dict[str, tuple[datetime, bool]] = field(default_factory=dict)

    # --- the library's own account becomes the student card

    def find_own(self, application: Application) -> OlderCard:
        """Return the account that the library's own ILS has of the child.

        Raises:
            NotFound: there is none (any more).
            AdapterError: the ILS cannot be asked.
        """
        adapter = self.adapters[application.institution]
        account = self._find_account(application, adapter)
        if account is None:
            raise NotFound("account of the child in the library system")
        return self._look_at(application, adapter, account)

    def adopt(
        self,
        application: Application,
        *,
        actor: str,
        deposit_held: bool = False,
        is_name_checked: bool = False,
    ) -> ExchangeResult:
        """Make the account that the library's ILS has of the child his student card.

        Args:
            is_name_checked: the staff know that it is the child's although the name differs.

        Raises:
            ConfigurationError: the application does not wait for it, its consent does not hold, or
                the name differs.
            NotFound: the ILS has no such account any more.
            StorageConflict: another person has the number.
        """
        if application.state is not ApplicationState.EXISTING_CARD:
            raise ConfigurationError(
                "This application does not wait for an exchange.",
                "Run onecard enrol activate first; it finds accounts that are there.",
            )
        self._require_consent(application)
        found = self.find_own(application)
        _require_name(found, is_checked=is_name_checked)
        institution, rules = application.institution, self.rules[application.institution]
        adapter = self.adapters[institution]
        member = self.schools.find_memberships([application.patron_id]).get(application.patron_id)
        by_id = {school.school_id: school for school in self.enrolment.list_schools(institution)}
        expires = rules.expiry_for(self.now(), member, by_id)
        can_adopt = Capability.ADOPT_PATRON in adapter.capabilities
        if can_adopt:
            adapter.upsert_patron(
                PatronInput(
                    external_id=application.patron_id,
                    card=found.account,
                    name="",
                    category=rules.category,
                    expires=expires,
                    adopt=found.account,
                )
            )
        if Capability.UNBLOCK_PATRON in adapter.capabilities:
            adapter.unblock_patron(found.account, BlockReason.CARD_EXCHANGED)
        exchange = self.store.save_adoption(
            application.application_id,
            found.account,
            deposit_held=deposit_held,
            expires=expires,
            actor=actor,
        )
        if exchange is None:
            raise ConfigurationError("The application has changed meanwhile.", "Look at it again.")
        self.tasks.finish_about(
            institution,
            TaskKind.EXISTING_CARD,
            about=application.application_id,
            outcome="exchanged",
            actor=actor,
        )
        view = self._read(application.patron_id, institution)
        loans = 0 if view is None else len(view.loans)
        _log.info("card.exchanged", institution=institution, mode="adopt", count=loans)
        return ExchangeResult(exchange, loans, by_hand=not can_adopt)

    # --- another library's account gives way

    def find_elsewhere(
        self, application: Application, old_card: str, issuer: InstitutionId
    ) -> OlderCard | None:
        """Return what the issuer's ILS says of an older card; None where it is none of ours.

        Raises:
            NotFound: the issuer's ILS does not know the card.
        """
        adapter = self.adapters.get(issuer)
        if adapter is None or Capability.FETCH_PATRON not in adapter.capabilities:
            return None
        return self._look_at(application, adapter, IlsPatronId(old_card))

    def replace(
        self,
        application: Application,
        old_card: str,
        issuer: InstitutionId,
        *,
        actor: str,
        deposit_held: bool = False,
        is_name_checked: bool = False,
    ) -> ExchangeResult:
        """Let an older card of another library give way to the student card, which is open already.

        Raises:
            ConfigurationError: the student card is not open, its consent does not hold, the issuer
                is the library itself, or the name differs.
            NotFound: the issuer's ILS does not know the card.
            StorageConflict: another person has the number, or the child has another account there.
        """
        if application.state is not ApplicationState.ACTIVE:
            raise ConfigurationError(
                "The student card is not open yet.", "Open it first: onecard enrol activate"
            )
        if issuer == application.institution:
            raise ConfigurationError(
                "The older card is this library's own.",
                "Leave --old-card and --issuer out: its account becomes the student card.",
            )
        self._require_consent(application)
        number = old_card.strip()
        found = self.find_elsewhere(application, number, issuer)
        account = IlsPatronId(number) if found is None else found.account
        if found is not None:
            _require_name(found, is_checked=is_name_checked)
        exchange = self.store.begin_replacement(
            application.patron_id,
            application.institution,
            issuer,
            account,
            numbers=(number, account),
            is_ours=issuer in self.libraries,
            deposit_held=deposit_held,
            actor=actor,
        )
        if exchange.state is not ExchangeState.BEGUN:
            return ExchangeResult(exchange, 0)
        try:
            loans = self._make_read_only(exchange)
        except AdapterError as err:
            _log.warning("exchange.waits", institution=issuer, error=type(err).__name__)
            return ExchangeResult(exchange, 0, waits_for_ils=True)
        _log.info("card.exchanged", institution=issuer, mode="replace", count=loans)
        return ExchangeResult(self.store.find_exchange(exchange.exchange_id) or exchange, loans)

    def sweep(self, institution: InstitutionId) -> ExchangeReport:
        """Go on with the older cards that a library has issued: block, compare, close.

        An ILS that is away is asked about three of them, and the rest waits for the next time.
        """
        exchanges = self.store.list_exchanges(
            institution, (ExchangeState.BEGUN, ExchangeState.READ_ONLY)
        )
        closed = waiting = failed = 0
        for exchange in exchanges:
            try:
                is_closed = self._carry_on(exchange)
            except AdapterError as err:
                failed += 1
                _log.warning(
                    "exchange.not_closed", institution=institution, error=type(err).__name__
                )
                is_away = isinstance(err, AdapterUnavailable | AdapterAuthFailed | OutcomeUnknown)
                if is_away and failed >= _GIVE_UP_AFTER:
                    break
            else:
                closed, waiting = closed + is_closed, waiting + (not is_closed)
        if closed or failed:
            _log.info("exchanges.swept", institution=institution, closed=closed, failed=failed)
        return ExchangeReport(len(exchanges), closed, waiting, failed)

    def _carry_on(self, exchange: Exchange) -> bool:
        """Do the next step of one exchange; say whether it is closed."""
        if exchange.state is ExchangeState.BEGUN:
            self._make_read_only(exchange)
        is_out = self._is_known_out(exchange)
        if not self._is_due(exchange, is_out=is_out):
            return False
        view = self._read(exchange.patron_id, exchange.issuer)
        self.read_at[exchange.exchange_id] = self.now(), is_out
        if view is not None and view.facts.valid:
            if view.uncounted or any(loan.lender == exchange.issuer for loan in view.loans):
                return False
            if not self._close_account(exchange):
                return False
        self.read_at.pop(exchange.exchange_id, None)
        return self.store.close_exchange(exchange.exchange_id, actor=_WORKER)

    def _is_known_out(self, exchange: Exchange) -> bool:
        loans = self.facts.ledger.list_unclosed(exchange.patron_id)
        return any(loan.lender == exchange.issuer for loan in loans)

    def _is_due(self, exchange: Exchange, *, is_out: bool) -> bool:
        """Say whether the issuer's ILS is to be read: the last book that we know of came back, or
        it has not been read for a while.
        """
        last = self.read_at.get(exchange.exchange_id)
        if last is None:
            return True
        read_at, was_out = last
        return (was_out and not is_out) or self.now() - read_at >= _READ_AGAIN

    def _make_read_only(self, exchange: Exchange) -> int:
        """Block the older account and take over its loans; return how many are out there."""
        adapter = self.adapters[exchange.issuer]
        if Capability.BLOCK_PATRON in adapter.capabilities:
            try:
                adapter.block_patron(exchange.old_account, BlockReason.CARD_EXCHANGED)
            except NotFound:
                _log.info("exchange.account_gone", institution=exchange.issuer)
        view = self._read(exchange.patron_id, exchange.issuer)
        self.store.note_read_only(exchange.exchange_id)
        if view is None:
            return 0
        return sum(loan.lender == exchange.issuer for loan in view.loans) + view.uncounted

    def _close_account(self, exchange: Exchange) -> bool:
        """Close the older account; where its ILS cannot be told to, the issuer's staff do it."""
        adapter = self.adapters[exchange.issuer]
        if Capability.CLOSE_PATRON not in adapter.capabilities:
            self.tasks.open_task(
                exchange.issuer,
                TaskKind.CLOSING_STUCK,
                about=exchange.exchange_id,
                patron_id=exchange.patron_id,
                detail={"exchange": exchange.exchange_id, "reason": "ils_cannot"},
                actor=_WORKER,
            )
            return True
        try:
            adapter.close_patron(exchange.old_account)
        except NotFound:
            return True
        except UnexpectedResponse as err:
            if err.code != "has_loans":
                raise
            return False
        return True

    # --- shared

    def _find_account(self, application: Application, adapter: IlsAdapter) -> IlsPatronId | None:
        known = self.register.fetch_personal(application.patron_id)
        numbers = numbers_to_ask(self.register, application, known)
        if Capability.FIND_PATRON in adapter.capabilities:
            ours = adapter.find_patron(external_id=application.patron_id)
            return ours or (adapter.find_patron(identifiers=numbers) if numbers else None)
        for number in numbers.values():
            facts = adapter.fetch_patron(IlsPatronId(number))
            if facts.valid:
                return facts.ils_patron
        return None

    def _look_at(
        self, application: Application, adapter: IlsAdapter, number: IlsPatronId
    ) -> OlderCard:
        facts = adapter.fetch_patron(number)
        if not facts.valid:
            raise NotFound("older card in the library system")
        known = fold_name(self.register.fetch_personal(application.patron_id).name)
        theirs = fold_name(facts.name)
        is_same = known == theirs if known and theirs else None
        return OlderCard(facts.ils_patron, facts, is_same)

    def _read(self, patron_id: PatronId, institution: InstitutionId) -> PatronView | None:
        """Compare ledger and ILS, so that loans made before count; None for who has no account."""
        standing = self.register.find_standing(patron_id, institution)
        if standing is None or standing.ils_patron is None:
            return None
        if institution != standing.home and standing.account_kind != EXCHANGED_ACCOUNT:
            return None
        library, now = self.libraries[institution], self.now()
        place = Place(institution=institution, at=now, local_date=library.today(now))
        return self.facts.read_patron(
            standing, standing.ils_patron, library, place, origin=LoanOrigin.MIGRATED
        )

    def _require_consent(self, application: Application) -> None:
        verdict = check_consent(
            application,
            store=self.enrolment,
            register=self.register,
            rules=self.rules[application.institution],
            now=self.now(),
        )
        if verdict is not ConsentVerdict.HOLDS:
            raise ConfigurationError(
                "The guardian's consent for the card does not hold.",
                "Record it first: onecard enrol consent",
            )


def _require_name(found: OlderCard, *, is_checked: bool) -> None:
    if found.is_same_name is False and not is_checked:
        raise ConfigurationError(
            "The older card is in another name.",
            "If it is the child's all the same, say so with --name-checked.",
        )

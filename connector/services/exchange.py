"""Exchanging an older reader card for the student card (A29–A31, decision 21, scenarios 8 and 40).

Nothing here makes an account; what follows by itself is in ``older_cards``. Rules —

- nothing happens without a person of the staff, who has seen the older card and whose it is; a name
  that differs stops him once more;
- an account of the library's own ILS becomes the student card: number, PIN and loans stay, external
  id, category and expiry become ours; never a second account;
- another library's account gives way: its number resolves to the child, and it lends nothing more;
- a deposit is refunded by the issuing library, and holds up nothing;
- every step may be repeated: what was done is found done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from connector.domain.consent import ConsentVerdict
from connector.domain.enrolment import ApplicationState
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.library import Library
from connector.domain.name_match import fold_name
from connector.domain.patron import PatronFacts
from connector.errors import (
    AdapterError,
    ConfigurationError,
    NotFound,
)
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import Application, EnrolmentStore
from connector.ports.exchange import Exchange, ExchangeState, ExchangeStore
from connector.ports.ils import BlockReason, Capability, IlsAdapter, PatronInput
from connector.ports.schools import SchoolStore
from connector.ports.store import PatronRegister
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.consent_check import check_consent
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.older_cards import OlderCards
from connector.services.pupil_account import numbers_to_ask

__all__ = ["ExchangeResult", "ExchangeService", "OlderCard"]

_log = get_logger(__name__)


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
class ExchangeService:
    """Exchanges at every library of the process.

    Attributes:
        rules: by library.
    """

    store: ExchangeStore
    enrolment: EnrolmentStore
    register: PatronRegister
    schools: SchoolStore
    tasks: TaskStore
    older: OlderCards
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    rules: Mapping[InstitutionId, EnrolmentRules]
    now: Clock

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
        view = self.older.read_account(application.patron_id, institution)
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
            loans = self.older.make_read_only(exchange)
        except AdapterError as err:
            _log.warning("exchange.waits", institution=issuer, error=type(err).__name__)
            return ExchangeResult(exchange, 0, waits_for_ils=True)
        _log.info("card.exchanged", institution=issuer, mode="replace", count=loans)
        return ExchangeResult(self.store.find_exchange(exchange.exchange_id) or exchange, loans)

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

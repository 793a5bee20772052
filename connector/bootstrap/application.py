"""Everything that is built, and building it once.

Nothing here says what a service is built from; ``parts`` does. Rules: whatever is built is closed
again by ``Application.close``; nothing listens and no thread runs until somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

from connector.bootstrap.edges import build_adapters, build_terminals, close_all, screen_messages
from connector.bootstrap.handoff_layout import build_handoff_layout
from connector.bootstrap.parts import Parts
from connector.domain.ids import InstitutionId
from connector.errors import ConnectorError
from connector.plugins.hookspecs import AppInfo
from connector.plugins.manager import Plugins, build_plugins
from connector.ports.clock import Clock, utc_now
from connector.ports.enrolment import Application as PupilApplication
from connector.ports.ils import IlsAdapter
from connector.services.account_expiry import AccountExpiry
from connector.services.away import AwayDesk, AwayWatch
from connector.services.campaigns import CampaignService
from connector.services.cards import CardService
from connector.services.circulation import CirculationService
from connector.services.classes import SchoolsService
from connector.services.closing import ClosingService
from connector.services.compliance import ComplianceService
from connector.services.consents import ConsentService
from connector.services.enrolment import EnrolmentService
from connector.services.exchange import ExchangeService
from connector.services.feeds import FeedService
from connector.services.figures import FigureService
from connector.services.handoff import HandoffService
from connector.services.lists import ListService
from connector.services.loan_rules import LoanRuleCheck
from connector.services.losses import LossService
from connector.services.modes import LibraryModes
from connector.services.observed import observe_adapters
from connector.services.older_cards import OlderCards
from connector.services.open_outcomes import OpenOutcomes
from connector.services.pacing import Pacing
from connector.services.patrons import PatronService
from connector.services.payments import PaymentService
from connector.services.privacy import PrivacyService
from connector.services.provisioning import ProvisioningService
from connector.services.replay import Replay
from connector.services.retention import RetentionService
from connector.services.safeguard import Safeguard
from connector.services.school_year import SchoolYearService
from connector.services.settlement import Settlement
from connector.services.transfers import TransferService
from connector.settings import Settings
from connector.sip2.gateway import Gateway
from connector.sip2.metrics import Sip2Metrics
from connector.sip2.pool import BoundedPool
from connector.sip2.screen import ScreenTexts
from connector.sip2.terminal_rules import TerminalRules
from connector.sip2.terminals import TerminalRegistry
from connector.storage.store import Store, open_store

__all__ = ["Application", "build"]


@dataclass(frozen=True, slots=True)
class Application:
    """Everything that is built, ready to be called.

    Attributes:
        libraries: with the mode that holds now.
        adapters: as they were built; the services have them watched, for ``metrics``.
        terminals: by login; they and the screen texts may change while the program runs.
    """

    settings: Settings
    store: Store
    plugins: Plugins
    libraries: LibraryModes
    adapters: Mapping[InstitutionId, IlsAdapter]
    terminals: TerminalRegistry
    terminal_rules: TerminalRules
    texts: ScreenTexts
    metrics: Sip2Metrics
    now: Clock

    # lending
    circulation: CirculationService
    patrons: PatronService
    settlement: Settlement
    open_outcomes: OpenOutcomes
    away: AwayDesk
    replay: Replay
    losses: LossService
    loan_rules: LoanRuleCheck
    gateway: Gateway

    # from a roster to a card, and back
    enrolment: EnrolmentService
    consents: ConsentService
    cards: CardService
    lists: ListService
    figures: FigureService
    closing: ClosingService
    exchanges: ExchangeService
    older_cards: OlderCards
    feeds: FeedService

    # schools and their year
    schools: SchoolsService
    school_year: SchoolYearService
    transfers: TransferService
    campaigns: CampaignService
    account_expiry: AccountExpiry

    # personal data
    privacy: PrivacyService
    retention: RetentionService
    compliance: ComplianceService
    safeguard: Safeguard

    @property
    def info(self) -> AppInfo:
        """What plugins may know."""
        return AppInfo(
            version=metadata.version("onecard-connector"),
            institutions=tuple(self.libraries),
            data_dir=str(self.settings.data_dir),
        )

    def provisioning(self, institution: InstitutionId) -> ProvisioningService:
        """Return the service that opens cards in one library's ILS."""
        enrolment = self.enrolment
        return ProvisioningService(
            adapter=self.adapters[institution],
            store=enrolment.store,
            register=enrolment.register,
            rules=enrolment.rules_of(institution),
            now=self.now,
            events=self.plugins.events,
            tasks=self.store.tasks,
            classes=self.store.schools,
            workers=self.settings.enrolment.provisioning_workers,
        )

    def handoff(
        self, institution: InstitutionId, applications: Sequence[PupilApplication], layout: str = ""
    ) -> HandoffService:
        """Return the service that opens these applications' cards by a file.

        Args:
            layout: instead of the one of the settings.

        Raises:
            ConfigurationError: the file has no columns, or no column for the card number.
        """
        opening = self.provisioning(institution).opening(Pacing(), applications)
        return HandoffService(opening, build_handoff_layout(self.settings, institution, layout))

    def pools(self, workers: int | None = None) -> dict[InstitutionId, BoundedPool]:
        """Return one bounded thread pool per library: a hanging ILS exhausts only its own.

        A request of every connection may wait in it, so that a fast ILS never refuses as busy.

        Args:
            workers: threads of each; the settings' number by default.
        """
        sip2 = self.settings.sip2
        workers = workers or sip2.workers
        return {
            code: BoundedPool(workers, queued=sip2.max_connections, name=f"ils-{code}")
            for code in self.libraries
        }

    def close(self) -> None:
        """Give back connections and files."""
        self.replay.close()
        close_all(self.adapters)
        self.store.close()


def build(
    settings: Settings,
    *,
    now: Clock = utc_now,
    adapters: Mapping[InstitutionId, IlsAdapter] | None = None,
    store: Store | None = None,
) -> Application:
    """Build everything from the settings.

    Args:
        adapters, store: ready-made parts instead of those that the settings name.

    Raises:
        ConfigurationError: the settings name something that is not there.
        StorageUnavailable: the database cannot be reached.
    """
    plugins = build_plugins(disabled=settings.plugins.disabled)
    configured = {library.code: library for library in settings.domain_libraries()}
    terminals = TerminalRegistry(build_terminals(settings, configured))
    texts = ScreenTexts(screen_messages(settings))
    if adapters is None:
        adapters = build_adapters(settings, plugins.ils_adapters(), now)
    if store is None:
        try:
            store = open_store(settings.store.url, settings.store.key_file, now=now)
        except ConnectorError:
            close_all(adapters)
            raise
    store.institutions.save(tuple(configured.values()))
    libraries = LibraryModes(configured, store.modes, now)
    metrics = Sip2Metrics()
    away = AwayDesk(libraries, store.deferred, now)
    part = Parts(
        settings,
        store=store,
        plugins=plugins,
        libraries=libraries,
        adapters=observe_adapters(adapters, AwayWatch(metrics, away)),
        now=now,
        away=away,
        watch=metrics,
    )
    circulation = CirculationService(part.desk)
    patrons = PatronService(part.desk, PaymentService(part.desk, store.payments))
    enrolment, closing, older_cards = part.enrolment(), part.closing, part.older_cards()
    safeguard = part.safeguard()
    rules = part.terminal_rules()
    retention = part.retention(enrolment, safeguard)
    return Application(
        settings=settings,
        store=store,
        plugins=plugins,
        libraries=libraries,
        adapters=adapters,
        terminals=terminals,
        terminal_rules=rules,
        texts=texts,
        metrics=metrics,
        now=now,
        circulation=circulation,
        patrons=patrons,
        settlement=part.settlement(),
        open_outcomes=part.open_outcomes(),
        away=away,
        replay=part.replay(terminals),
        losses=LossService(libraries, adapters, store.ledger, now),
        loan_rules=part.loan_rules(),
        gateway=part.gateway(
            terminals,
            circulation,
            patrons,
            part.registration(enrolment),
            texts=texts,
            rules=rules,
        ),
        enrolment=enrolment,
        consents=part.consents(),
        cards=part.cards(),
        lists=part.lists(),
        figures=FigureService(store.lists, store.enrolment, part.rules),
        closing=closing,
        exchanges=part.exchanges(older_cards),
        older_cards=older_cards,
        feeds=part.feeds(enrolment),
        schools=part.schools(),
        school_year=part.school_year(),
        transfers=part.transfers(),
        campaigns=CampaignService(store.schools, store.enrolment, libraries),
        account_expiry=part.account_expiry(),
        privacy=part.privacy(),
        retention=retention,
        compliance=part.compliance(retention),
        safeguard=safeguard,
    )

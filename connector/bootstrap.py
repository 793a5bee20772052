"""The only place that builds things: settings → storage, plugins, adapters, services, gateway.

Nothing here has rules of its own. Rules: whatever is built is closed again by
``Application.close``; nothing listens and no thread runs until somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib import metadata
from zoneinfo import ZoneInfo

from pydantic import ValidationError

from connector.domain.enrolment import StudentRecord
from connector.domain.ids import BranchId, InstitutionId, TerminalId
from connector.domain.library import Library
from connector.errors import ConfigurationError, ConnectorError
from connector.plugins.hookspecs import AppInfo, RowView
from connector.plugins.manager import Plugins, build_plugins
from connector.ports.clock import Clock, utc_now
from connector.ports.enrolment import School
from connector.ports.ils import AdapterContext, AdapterSpec, IlsAdapter
from connector.services.account_expiry import AccountExpiry
from connector.services.campaigns import CampaignService
from connector.services.cards import CardService
from connector.services.circulation import CirculationService
from connector.services.classes import SchoolsService
from connector.services.closing import ClosingService
from connector.services.compliance import ComplianceService
from connector.services.consents import ConsentService
from connector.services.desk import CirculationDesk
from connector.services.enrolment import EnrolmentService
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.exchange import ExchangeService
from connector.services.facts import FactReader
from connector.services.feeds import Feed, FeedService
from connector.services.lists import ListService
from connector.services.losses import LossService
from connector.services.patrons import PatronService
from connector.services.privacy import PrivacyService
from connector.services.provisioning import ProvisioningService
from connector.services.retention import RetentionService
from connector.services.roster import RowCheck
from connector.services.safeguard import Safeguard
from connector.services.school_year import SchoolYearService
from connector.services.settlement import Settlement
from connector.services.transfers import TransferService
from connector.settings import LibrarySettings, Settings, TerminalSettings
from connector.sip2.gateway import Gateway
from connector.sip2.pool import BoundedPool
from connector.sip2.profiles import check_profile
from connector.sip2.screen import ScreenTexts
from connector.sip2.terminal import (
    ChecksumPolicy,
    Permission,
    Terminal,
    TerminalKind,
    WireProfile,
)
from connector.storage.store import Store, open_store

__all__ = ["Application", "build", "build_adapter"]

_TERMINATORS = {"CR": "\r", "CRLF": "\r\n", "LF": "\n"}


@dataclass(frozen=True, slots=True)
class Application:
    """Everything that is built, ready to be called.

    Attributes:
        terminals: by login.
    """

    settings: Settings
    store: Store
    plugins: Plugins
    libraries: Mapping[InstitutionId, Library]
    adapters: Mapping[InstitutionId, IlsAdapter]
    terminals: Mapping[TerminalId, Terminal]
    circulation: CirculationService
    patrons: PatronService
    settlement: Settlement
    losses: LossService
    enrolment: EnrolmentService
    consents: ConsentService
    closing: ClosingService
    exchanges: ExchangeService
    schools: SchoolsService
    school_year: SchoolYearService
    transfers: TransferService
    campaigns: CampaignService
    account_expiry: AccountExpiry
    cards: CardService
    lists: ListService
    gateway: Gateway
    now: Clock

    @property
    def info(self) -> AppInfo:
        """What plugins may know."""
        return AppInfo(
            version=metadata.version("onecard-connector"),
            institutions=tuple(self.libraries),
            data_dir=str(self.settings.data_dir),
        )

    @property
    def feeds(self) -> FeedService:
        """The rosters that arrive in folders."""
        return FeedService(
            feeds=tuple(
                Feed(
                    institution=InstitutionId(feed.library),
                    name=feed.name,
                    folder=feed.folder,
                    stale_after=timedelta(days=feed.stale_after_days),
                    school=feed.school,
                    format=feed.format,
                    complete=feed.complete,
                )
                for feed in self.settings.enrolment.feeds
            ),
            enrolment=self.enrolment,
            store=self.store.feeds,
            tasks=self.store.tasks,
            now=self.now,
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

    @property
    def privacy(self) -> PrivacyService:
        """Copies and erasures of what is held about a person."""
        return PrivacyService(
            store=self.store.privacy,
            audit=self.store.audit,
            closing=self.closing,
            libraries=self.libraries,
            adapters=self.adapters,
            times=self.settings.privacy,
            now=self.now,
            texts_folder=self.settings.enrolment.consent_texts,
        )

    @property
    def retention(self) -> RetentionService:
        """What is removed when its time is over."""
        return RetentionService(
            store=self.store.privacy,
            audit=self.store.audit,
            enrolment=self.enrolment,
            libraries=tuple(self.libraries),
            times=self.settings.privacy,
            now=self.now,
            safeguard=self.safeguard,
        )

    @property
    def safeguard(self) -> Safeguard:
        """What holds the worker back before it removes or closes too much."""
        return Safeguard(
            store=self.store.privacy,
            tasks=self.store.tasks,
            libraries=tuple(self.libraries),
            percent=self.settings.privacy.hold_percent,
            now=self.now,
        )

    @property
    def compliance(self) -> ComplianceService:
        """The yearly report."""
        enrolment = self.settings.enrolment
        first = next(iter(self.libraries.values()))
        return ComplianceService(
            store=self.store.privacy,
            audit=self.store.audit,
            retention=self.retention,
            times=self.settings.privacy,
            terms=enrolment,
            stale_after={
                (feed.library or first.code, feed.name): timedelta(days=feed.stale_after_days)
                for feed in enrolment.feeds
            },
            zone=first.zone,
            now=self.now,
        )

    def pools(self, workers: int | None = None) -> dict[InstitutionId, BoundedPool]:
        """Return one bounded thread pool per library: a hanging ILS exhausts only its own.

        A request of every connection may wait in it, so that a fast ILS never refuses as busy.

        Args:
            workers: threads of each; the settings' number by default.
        """
        sip2 = self.settings.sip2
        workers = workers or sip2.workers
        connections = sip2.max_connections * (1 if sip2.tls is None else 2)  # per port
        return {
            code: BoundedPool(workers, queued=connections, name=f"ils-{code}")
            for code in self.libraries
        }

    def close(self) -> None:
        """Give back connections and files."""
        for adapter in self.adapters.values():
            adapter.close()
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
    libraries = {library.code: library for library in settings.domain_libraries()}
    terminals = {
        TerminalId(terminal.login): _terminal(terminal, libraries)
        for terminal in settings.sip2.terminals
    }
    if adapters is None:
        adapters = _build_adapters(settings, plugins.ils_adapters(), now)
    if store is None:
        try:
            store = open_store(settings.store.url, settings.store.key_file, now=now)
        except ConnectorError:
            _close_all(adapters)
            raise
    store.institutions.save(tuple(libraries.values()))
    facts = FactReader(
        libraries=libraries,
        adapters=adapters,
        ledger=store.ledger,
        people=store.people,
        item_facts=store.item_facts,
        decider=plugins.decider,
        now=now,
    )
    desk = CirculationDesk(
        facts=facts,
        libraries=libraries,
        adapters=adapters,
        ledger=store.ledger,
        decider=plugins.decider,
        events=plugins.events,
        now=now,
    )
    circulation, patrons = CirculationService(desk), PatronService(desk)
    gateway = Gateway(
        libraries=libraries,
        terminals=terminals,
        circulation=circulation,
        patrons=patrons,
        texts=ScreenTexts({str(k): v for k, v in settings.sip2.messages.items()}),
        now=now,
        answer_within_s=settings.sip2.answer_deadline_s,
        ils_timeout_s=settings.sip2.ils_deadline_s,
    )
    rules = {
        code: EnrolmentRules.from_settings(settings.enrolment, code, library.zone)
        for code, library in libraries.items()
    }
    closing = ClosingService(
        store=store.closings,
        register=store.people,
        facts=facts,
        libraries=libraries,
        adapters=adapters,
        tasks=store.tasks,
        now=now,
    )
    return Application(
        settings=settings,
        store=store,
        plugins=plugins,
        libraries=libraries,
        adapters=adapters,
        terminals=terminals,
        circulation=circulation,
        patrons=patrons,
        settlement=Settlement(
            libraries=libraries,
            adapters=adapters,
            ledger=store.ledger,
            now=now,
            apart=timedelta(seconds=settings.sip2.settle_apart_s),
        ),
        losses=LossService(libraries, adapters, store.ledger, now),
        enrolment=EnrolmentService(
            register=store.people,
            store=store.enrolment,
            rosters=store.rosters,
            schools=store.schools,
            tasks=store.tasks,
            closer=closing,
            audit=store.audit,
            rules=rules,
            now=now,
            checks=(_row_check(plugins),) if plugins.looks_at_rows else (),
        ),
        consents=ConsentService(
            register=store.people,
            store=store.enrolment,
            audit=store.audit,
            closing=closing,
            rules=rules,
            now=now,
            languages={code: library.language for code, library in libraries.items()},
            folder=settings.enrolment.consent_texts,
        ),
        closing=closing,
        exchanges=ExchangeService(
            store=store.exchanges,
            enrolment=store.enrolment,
            register=store.people,
            schools=store.schools,
            tasks=store.tasks,
            facts=facts,
            libraries=libraries,
            adapters=adapters,
            rules=rules,
            now=now,
        ),
        schools=SchoolsService(
            schools=store.schools,
            store=store.enrolment,
            audit=store.audit,
            libraries=libraries,
            now=now,
            liaison_deadline=settings.enrolment.liaison_deadline,
        ),
        school_year=SchoolYearService(
            schools=store.schools,
            store=store.enrolment,
            register=store.people,
            closing=closing,
            libraries=libraries,
            now=now,
            grace=timedelta(days=settings.enrolment.grace_days),
        ),
        transfers=TransferService(
            schools=store.schools,
            store=store.enrolment,
            tasks=store.tasks,
            libraries=libraries,
            now=now,
            grace=timedelta(days=settings.enrolment.grace_days),
        ),
        campaigns=CampaignService(store.schools, store.enrolment, libraries),
        account_expiry=AccountExpiry(
            schools=store.schools,
            register=store.people,
            adapters=adapters,
            categories={code: each.category for code, each in rules.items()},
        ),
        cards=CardService(
            register=store.people,
            cards=store.cards,
            enrolment=store.enrolment,
            adapters=adapters,
            rules=rules,
            now=now,
            free_physical=settings.enrolment.free_physical_cards,
        ),
        lists=ListService(
            lists=store.lists,
            store=store.enrolment,
            register=store.people,
            audit=store.audit,
            rules=rules,
            now=now,
        ),
        gateway=gateway,
        now=now,
    )


def _row_check(plugins: Plugins) -> RowCheck:
    """Return the plugins' say on a roster row."""

    def check(school: School, record: StudentRecord) -> Sequence[str]:
        values = {
            "name": record.name,
            "id_number": record.id_number.value if record.id_number else "",
            "student_no": record.student_no.value if record.student_no else "",
            "phone": record.phone,
            "guardian_name": record.guardian_name,
            "guardian_phone": record.guardian_phone,
            "class_name": record.class_name,
            "district": record.district,
        }
        return plugins.validate_enrolment_row(RowView(school.code, record.row, values))

    return check


def build_adapter(
    library: LibrarySettings,
    settings: Settings,
    specs: Mapping[str, AdapterSpec],
    now: Clock = utc_now,
) -> IlsAdapter:
    """Build the adapter of one library.

    Raises:
        ConfigurationError: there is no such adapter, or its own settings are wrong.
    """
    ils = settings.ils_of(library)
    spec = specs.get(ils.adapter)
    if spec is None:
        raise ConfigurationError(
            f"Library {library.code} uses the adapter {ils.adapter!r}, which is not installed.",
            f"Use one of: {', '.join(specs) or 'none is installed'}.",
        )
    try:
        options = spec.settings.model_validate(ils.options)
    except ValidationError as err:
        first = err.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(
            f"Library {library.code}, adapter {spec.name}: {where}: {first['msg']}.",
            f"See adapters/{spec.name}/README.md for its settings.",
        ) from None
    context = AdapterContext(
        institution_id=InstitutionId(library.code),
        timezone=library.timezone,
        data_dir=str(settings.data_dir),
        now=now,
    )
    return spec.build(options, context)


def _build_adapters(
    settings: Settings, specs: Mapping[str, AdapterSpec], now: Clock
) -> dict[InstitutionId, IlsAdapter]:
    built: dict[InstitutionId, IlsAdapter] = {}
    try:
        for library in settings.libraries:
            built[InstitutionId(library.code)] = build_adapter(library, settings, specs, now)
    except ConnectorError:
        _close_all(built)
        raise
    return built


def _close_all(adapters: Mapping[InstitutionId, IlsAdapter]) -> None:
    for adapter in adapters.values():
        adapter.close()


def _terminal(settings: TerminalSettings, libraries: Mapping[InstitutionId, Library]) -> Terminal:
    """Build one terminal; raises ``ConfigurationError`` naming one that nobody could talk to."""
    library = libraries[InstitutionId(settings.library)]
    wire = WireProfile(
        encoding=settings.encoding,
        delimiter=settings.delimiter,
        terminator=_TERMINATORS[settings.terminator],  # type: ignore[arg-type]
        checksum=ChecksumPolicy(settings.checksum),
        error_detection=settings.error_detection,
        dialect=settings.dialect,
        hidden_tags=settings.hidden_tags,
        allowed_tags=settings.allowed_tags,
        max_value_length=settings.max_value_length,
        answer_unknown=settings.answer_unknown,
    )
    try:
        check_profile(wire)
    except ConfigurationError as err:
        raise ConfigurationError(f"Terminal {settings.login}: {err.message}", err.remedy) from err
    return Terminal(
        terminal_id=TerminalId(settings.login),
        institution=library.code,
        password=settings.password,
        branch=BranchId(settings.branch) if settings.branch else None,
        location=settings.location,
        kind=TerminalKind(settings.kind.value),
        wire=wire,
        zone=ZoneInfo(settings.timezone) if settings.timezone else library.zone,
        language=settings.language or library.language,
        pin=settings.pin,
        permissions=frozenset(Permission(name) for name in settings.permissions),
        allow_from=settings.allow_from,
        mask_name=settings.mask_name,
        mask_id=settings.mask_id,
        charge_denied_at_limit=settings.charge_denied_at_limit,
    )

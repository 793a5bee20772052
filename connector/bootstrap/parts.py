"""What each service is built from, grouped as in ``Application``.

Nothing here is built twice or kept: ``application`` calls each method once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from connector.domain.enrolment import StudentRecord
from connector.domain.ids import InstitutionId, TerminalId
from connector.domain.library import Library
from connector.plugins.hookspecs import RowView
from connector.plugins.manager import Plugins
from connector.ports.clock import Clock
from connector.ports.enrolment import School
from connector.ports.ils import IlsAdapter
from connector.ports.watch import NOBODY, Watch
from connector.services.account_expiry import AccountExpiry
from connector.services.away import AwayDesk
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
from connector.services.loan_rules import LoanRuleCheck
from connector.services.lookup_limit import LookupLimit
from connector.services.older_cards import OlderCards
from connector.services.open_outcomes import OpenOutcomes
from connector.services.patrons import PatronService
from connector.services.pin_change import PinService
from connector.services.privacy import PrivacyService
from connector.services.registration import RegistrationService
from connector.services.replay import Replay
from connector.services.retention import RetentionService
from connector.services.roster import RowCheck
from connector.services.safeguard import Safeguard
from connector.services.school_year import SchoolYearService
from connector.services.settlement import Settlement
from connector.services.transfers import TransferService
from connector.settings import Settings
from connector.sip2.clocks import TerminalClocks
from connector.sip2.gateway import Gateway
from connector.sip2.pin_guard import PinGuard
from connector.sip2.screen import ScreenTexts
from connector.sip2.terminal import (
    Terminal,
)
from connector.sip2.terminal_rules import TerminalRules
from connector.storage.overview import Overview
from connector.storage.store import Store

__all__ = ["Parts"]


class Parts:
    """What services have in common, and a method that builds each."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        plugins: Plugins,
        libraries: Mapping[InstitutionId, Library],
        adapters: Mapping[InstitutionId, IlsAdapter],
        now: Clock,
        away: AwayDesk,
        watch: Watch = NOBODY,
    ) -> None:
        self.settings, self.store, self.plugins = settings, store, plugins
        self.libraries, self.adapters, self.now = libraries, adapters, now
        self.rules = {
            code: EnrolmentRules.from_settings(settings.enrolment, code, library.zone)
            for code, library in libraries.items()
        }
        self.grace = timedelta(days=settings.enrolment.grace_days)
        self.facts = FactReader(
            libraries=libraries,
            adapters=adapters,
            ledger=store.ledger,
            people=store.people,
            item_facts=store.item_facts,
            decider=plugins.decider,
            now=now,
            deferred=store.deferred,
        )
        self.desk = CirculationDesk(
            facts=self.facts,
            libraries=libraries,
            adapters=adapters,
            ledger=store.ledger,
            decider=plugins.decider,
            events=plugins.events,
            now=now,
            away=away,
            watch=watch,
        )
        self.closing = ClosingService(
            store=store.closings,
            register=store.people,
            facts=self.facts,
            libraries=libraries,
            adapters=adapters,
            tasks=store.tasks,
            now=now,
        )

    # --- lending

    def settlement(self) -> Settlement:
        """What finds out how checkouts ended that nobody answered for."""
        return Settlement(
            libraries=self.libraries,
            adapters=self.adapters,
            ledger=self.store.ledger,
            payments=self.store.payments,
            tasks=self.store.tasks,
            now=self.now,
            margin=self.desk.ask_margin,
            apart=timedelta(seconds=self.settings.sip2.settle_apart_s),
        )

    def replay(self, terminals: Mapping[TerminalId, Terminal]) -> Replay:
        """What tells an ILS that is back what happened meanwhile."""

        def location_of(terminal_id: TerminalId) -> str:
            terminal = terminals.get(terminal_id)
            return terminal.location if terminal is not None else ""

        return Replay(
            libraries=self.libraries,
            adapters=self.adapters,
            ledger=self.store.ledger,
            deferred=self.store.deferred,
            location_of=location_of,
            now=self.now,
            apart=timedelta(seconds=self.settings.sip2.settle_apart_s),
            timeout_s=self.settings.sip2.ils_deadline_s,
        )

    def loan_rules(self) -> LoanRuleCheck:
        """Whether each ILS lends as the policy says."""
        return LoanRuleCheck(
            libraries=self.libraries,
            adapters=self.adapters,
            due_dates=Overview(self.store.database),
            category=self.settings.enrolment.category,
            now=self.now,
        )

    def open_outcomes(self) -> OpenOutcomes:
        """What is not certain, and what a person has seen of it."""
        return OpenOutcomes(
            libraries=self.libraries,
            adapters=self.adapters,
            ledger=self.store.ledger,
            payments=self.store.payments,
            tasks=self.store.tasks,
            audit=self.store.audit,
            now=self.now,
            apart=timedelta(seconds=self.settings.sip2.settle_apart_s),
            margin=self.desk.ask_margin,
        )

    def gateway(
        self,
        terminals: Mapping[TerminalId, Terminal],
        circulation: CirculationService,
        patrons: PatronService,
        registration: RegistrationService,
        *,
        texts: ScreenTexts,
        rules: TerminalRules,
    ) -> Gateway:
        """What answers the SIP2 messages of every terminal."""
        sip2 = self.settings.sip2
        return Gateway(
            libraries=self.libraries,
            terminals=terminals,
            circulation=circulation,
            patrons=patrons,
            registration=registration,
            texts=texts,
            rules=rules,
            now=self.now,
            answer_within_s=sip2.answer_deadline_s,
            ils_timeout_s=sip2.ils_deadline_s,
        )

    def terminal_rules(self) -> TerminalRules:
        """What holds for every request of a terminal: its kind, its clock, PINs that were wrong."""
        sip2 = self.settings.sip2
        return TerminalRules(
            self.libraries,
            pins=PinGuard(attempts=sip2.pin_attempts, delay_s=sip2.pin_delay_s),
            clocks=TerminalClocks(self.store.terminal_clocks),
        )

    # --- from a roster to a card, and back

    def enrolment(self) -> EnrolmentService:
        """Rosters, and the steps of an application."""
        store, plugins = self.store, self.plugins
        return EnrolmentService(
            register=store.people,
            store=store.enrolment,
            rosters=store.rosters,
            schools=store.schools,
            tasks=store.tasks,
            closer=self.closing,
            audit=store.audit,
            rules=self.rules,
            now=self.now,
            checks=(_row_check(plugins),) if plugins.looks_at_rows else (),
        )

    def registration(self, enrolment: EnrolmentService) -> RegistrationService:
        """What registration machines may do."""
        return RegistrationService(
            enrolment=enrolment,
            libraries=self.libraries,
            adapters=self.adapters,
            now=self.now,
            limit=LookupLimit(self.now),
            pins=PinService(self.store.people, self.adapters),
        )

    def consents(self) -> ConsentService:
        """What guardians have said."""
        store = self.store
        return ConsentService(
            register=store.people,
            store=store.enrolment,
            audit=store.audit,
            closing=self.closing,
            rules=self.rules,
            now=self.now,
            languages={code: library.language for code, library in self.libraries.items()},
            folder=self.settings.enrolment.consent_texts,
        )

    def cards(self) -> CardService:
        """The numbers and cards of one person."""
        store = self.store
        return CardService(
            register=store.people,
            cards=store.cards,
            enrolment=store.enrolment,
            adapters=self.adapters,
            rules=self.rules,
            now=self.now,
            free_physical=self.settings.enrolment.free_physical_cards,
        )

    def lists(self) -> ListService:
        """Lists, figures and the log of a school."""
        store = self.store
        return ListService(
            lists=store.lists,
            store=store.enrolment,
            register=store.people,
            audit=store.audit,
            rules=self.rules,
            now=self.now,
        )

    def older_cards(self) -> OlderCards:
        """Older cards of other libraries, until they are closed."""
        store = self.store
        return OlderCards(
            store=store.exchanges,
            register=store.people,
            tasks=store.tasks,
            facts=self.facts,
            libraries=self.libraries,
            adapters=self.adapters,
            now=self.now,
        )

    def exchanges(self, older: OlderCards) -> ExchangeService:
        """The exchange of an older card."""
        store = self.store
        return ExchangeService(
            store=store.exchanges,
            enrolment=store.enrolment,
            register=store.people,
            schools=store.schools,
            tasks=store.tasks,
            older=older,
            libraries=self.libraries,
            adapters=self.adapters,
            rules=self.rules,
            now=self.now,
        )

    def feeds(self, enrolment: EnrolmentService) -> FeedService:
        """The rosters that arrive in folders."""
        feeds = tuple(
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
        )
        return FeedService(
            feeds=feeds,
            enrolment=enrolment,
            store=self.store.feeds,
            tasks=self.store.tasks,
            now=self.now,
        )

    # --- schools and their year

    def schools(self) -> SchoolsService:
        """Schools, grades, classes and liaisons."""
        store = self.store
        return SchoolsService(
            schools=store.schools,
            store=store.enrolment,
            audit=store.audit,
            libraries=self.libraries,
            now=self.now,
            liaison_deadline=self.settings.enrolment.liaison_deadline,
        )

    def school_year(self) -> SchoolYearService:
        """Promotion and the last day of cards."""
        store = self.store
        return SchoolYearService(
            schools=store.schools,
            store=store.enrolment,
            register=store.people,
            closing=self.closing,
            libraries=self.libraries,
            now=self.now,
            grace=self.grace,
        )

    def transfers(self) -> TransferService:
        """Who goes to another school or class."""
        store = self.store
        return TransferService(
            schools=store.schools,
            store=store.enrolment,
            tasks=store.tasks,
            libraries=self.libraries,
            now=self.now,
            grace=self.grace,
        )

    def account_expiry(self) -> AccountExpiry:
        """The last day of accounts in the ILSs."""
        return AccountExpiry(
            schools=self.store.schools,
            register=self.store.people,
            adapters=self.adapters,
            categories={code: each.category for code, each in self.rules.items()},
        )

    # --- personal data

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

    def safeguard(self) -> Safeguard:
        """What holds the worker back before it removes or closes too much."""
        return Safeguard(
            store=self.store.privacy,
            tasks=self.store.tasks,
            libraries=tuple(self.libraries),
            percent=self.settings.privacy.hold_percent,
            now=self.now,
        )

    def retention(self, enrolment: EnrolmentService, safeguard: Safeguard) -> RetentionService:
        """What is removed when its time is over."""
        return RetentionService(
            store=self.store.privacy,
            audit=self.store.audit,
            enrolment=enrolment,
            libraries=tuple(self.libraries),
            times=self.settings.privacy,
            now=self.now,
            safeguard=safeguard,
        )

    def compliance(self, retention: RetentionService) -> ComplianceService:
        """The yearly report."""
        enrolment = self.settings.enrolment
        first = next(iter(self.libraries.values()))
        return ComplianceService(
            store=self.store.privacy,
            audit=self.store.audit,
            retention=retention,
            times=self.settings.privacy,
            terms=enrolment,
            stale_after={
                (feed.library or first.code, feed.name): timedelta(days=feed.stale_after_days)
                for feed in enrolment.feeds
            },
            zone=first.zone,
            now=self.now,
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

"""The typed tables of ``onecard.toml``, and how they become values of the domain.

Nothing here opens a file; ``connector.settings.load`` does. What terminals mean on the wire belongs
to ``connector.sip2``, and an adapter's own table to the adapter, so both are passed on as they are.
Rules —

- an unknown key is an error, except in an adapter's own table, which its adapter checks;
- secrets come from a ``*_file`` or from a variable, never from the TOML;
- paths are relative to ``data_dir``, and that to the folder of the file.
"""

from __future__ import annotations

import re
from datetime import date, time
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from connector.domain.barcodes import CheckDigit
from connector.domain.handoff import COLUMNS_LAYOUT, HandoffField, choose_columns
from connector.domain.ids import BranchId, InstitutionId
from connector.domain.item import ItemRules, Shelving
from connector.domain.library import (
    AwayRules,
    BarcodeRule,
    Library,
    Mode,
    RuleMismatch,
    StoreFailure,
)
from connector.domain.patron import PinRule
from connector.domain.policy import LoanPolicy, RenewalBar

__all__ = [
    "Branch",
    "CardNumbers",
    "EnrolmentSettings",
    "FeedSettings",
    "HandoffSettings",
    "IlsSettings",
    "LibrarySettings",
    "LogSettings",
    "MetricsSettings",
    "PluginSettings",
    "PolicyTable",
    "PrivacySettings",
    "Sip2Settings",
    "StoreSettings",
    "Table",
    "TerminalSettings",
    "TlsSettings",
]

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
ITEM_ATTRIBUTES = frozenset(
    {"item_type", "permanent_location", "call_number", "barcode", "collection"}
)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as err:
        raise ValueError("is not the name of a time zone, such as Asia/Shanghai") from err
    return name


def _weekday(value: object) -> object:
    if isinstance(value, str) and value.lower() in WEEKDAYS:
        return WEEKDAYS.index(value.lower())
    return value


def _known_codec(name: str) -> str:
    try:
        "".encode(name)
    except LookupError as err:
        raise ValueError("is not a known encoding; try utf-8, gb18030, gbk, big5 or cp850") from err
    return name


def _attributes(rules: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    for name in rules:
        _attribute(name)
    return rules


def _attribute(name: str) -> str:
    if name not in ITEM_ATTRIBUTES:
        raise ValueError(f"is not one of {', '.join(sorted(ITEM_ATTRIBUTES))}")
    return name


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$")]
Zone = Annotated[str, AfterValidator(_known_zone)]
Weekday = Annotated[int, BeforeValidator(_weekday), Field(ge=0, le=6)]
Codec = Annotated[str, AfterValidator(_known_codec)]
Patterns = Annotated[dict[str, tuple[str, ...]], AfterValidator(_attributes)]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Z0-9]{2}$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Networks = tuple[IPv4Network | IPv6Network, ...]
ScreenMessages = dict[Literal["zh", "en"], dict[str, str]]
Seconds = Annotated[float, Field(gt=0)]


class Table(BaseModel):
    """A table of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Branch(Table):
    """A branch, lending point or book corner of a library."""

    code: Code
    name: str = ""


class BarcodeSettings(Table):
    """How a library's item barcodes are recognised, written and checked; see ``BarcodeRule``."""

    prefixes: tuple[str, ...] = ()
    strip_prefix: str = ""
    strip_isil: bool = False
    codabar: bool = False
    upper: bool = False
    digits: Annotated[int, Field(ge=0, le=64)] = 0
    check_digit: CheckDigit = CheckDigit.NONE
    strip_check_digit: bool = False

    @model_validator(mode="after")
    def _a_stripped_digit_is_known_by_the_length(self) -> Self:
        if self.strip_check_digit and not (self.digits and self.check_digit != CheckDigit.NONE):
            raise ValueError("strip_check_digit needs digits, and a check_digit")
        return self


class ShelvingRule(Table):
    """One pattern: items whose attribute matches stand there; the first match wins."""

    attribute: Annotated[str, AfterValidator(_attribute)]
    pattern: str
    shelving: Shelving


class ItemSettings(Table):
    """A library's own rules on language class and shelving (A26, A27)."""

    foreign: Patterns = {}
    chinese: Patterns = {}
    shelving: tuple[ShelvingRule, ...] = ()
    default_shelving: Shelving = Shelving.OPEN_SHELF
    minority_languages: frozenset[str] = ItemRules().minority_languages
    domestic_isbn_is_chinese: bool = False


class HandoffSettings(Table):
    """The file of new accounts for an ILS that no program may open accounts in.

    Attributes:
        layout: one that comes along, or ``columns`` for none but one's own.
        columns: header → field of the pupil, in order; instead of or after those of the layout.
        fixed: header → the same text in every row.
        date_format: as ``strftime`` takes it.
    """

    layout: str = COLUMNS_LAYOUT
    columns: dict[str, HandoffField] = {}
    fixed: dict[str, str] = {}
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = ","
    encoding: Codec = "utf-8"
    header: bool = True
    date_format: str = "%Y-%m-%d"

    @model_validator(mode="after")
    def _has_columns(self) -> Self:
        choose_columns(self.layout, self.columns, self.fixed)
        return self


class IlsSettings(BaseModel):
    """Which adapter talks to the library's ILS; every other key belongs to that adapter.

    Attributes:
        handoff: how accounts are opened where the adapter cannot.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    adapter: str = "local"
    handoff: HandoffSettings | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The adapter's own settings: keys beside ``adapter``, and a sub-table with its name."""
        extra = dict(self.model_extra or {})
        own = extra.pop(self.adapter, {})
        return extra | own if isinstance(own, dict) else extra | {self.adapter: own}


class AwaySettings(Table):
    """What kiosks may do while the library's ILS cannot be reached.

    Attributes:
        returns: take them, and tell the ILS when it is back; or refuse.
        checkouts: refuse; or permit enrolled patrons to borrow within the allowance.
        items: how many items one patron may borrow so.
        hours: after so long without the ILS nothing more is lent.
        say_online: 98 says on-line Y all the same, for kiosks that stop at N.
    """

    returns: Literal["queue", "refuse"] = "queue"
    checkouts: Literal["refuse", "permit"] = "refuse"
    items: Annotated[int, Field(ge=1)] = 2
    hours: Annotated[float, Field(gt=0)] = 24.0
    say_online: bool = False

    def to_rules(self) -> AwayRules:
        """Return the rules as the services see them."""
        return AwayRules(
            queue_returns=self.returns == "queue",
            lend=self.checkouts == "permit",
            items=self.items,
            hours=self.hours,
            say_online=self.say_online,
        )


class LibrarySettings(Table):
    """One library, with its ILS."""

    code: Code
    name: str
    isil: str = ""
    timezone: Zone = "Asia/Shanghai"
    language: Literal["zh", "en"] = "zh"
    mode: Mode = Mode.ENFORCE
    store_failure: StoreFailure = StoreFailure.CLOSED
    rule_mismatch: RuleMismatch = RuleMismatch.WARN
    branches: tuple[Branch, ...] = ()
    closed_dates: frozenset[date] = frozenset()
    closed_weekdays: frozenset[Weekday] = frozenset()
    closing_time: time | None = None
    barcodes: BarcodeSettings = BarcodeSettings()
    items: ItemSettings = ItemSettings()
    away: AwaySettings = AwaySettings()
    ils: IlsSettings | None = None

    def to_library(self, policies: tuple[LoanPolicy, ...]) -> Library:
        """Return the library as the rules see it."""
        rules = self.items
        return Library(
            code=InstitutionId(self.code),
            name=self.name,
            zone=ZoneInfo(self.timezone),
            isil=self.isil,
            language=self.language,
            mode=self.mode,
            store_failure=self.store_failure,
            rule_mismatch=self.rule_mismatch,
            closed_dates=self.closed_dates,
            closed_weekdays=self.closed_weekdays,
            closing_time=self.closing_time,
            barcodes=BarcodeRule(**self.barcodes.model_dump()),
            item_rules=ItemRules(
                foreign=rules.foreign,
                chinese=rules.chinese,
                shelving=tuple((r.attribute, r.pattern, r.shelving) for r in rules.shelving),
                default_shelving=rules.default_shelving,
                minority_languages=rules.minority_languages,
                domestic_isbn_is_chinese=rules.domestic_isbn_is_chinese,
            ),
            policies=policies,
            away=self.away.to_rules(),
        )

    def branch_ids(self) -> frozenset[BranchId]:
        """Return the codes of the branches."""
        return frozenset(BranchId(branch.code) for branch in self.branches)


class StoreSettings(Table):
    """Our own database and the file with its keys.

    Attributes:
        password_file: the password of the database user, for an URL without one.
    """

    url: str = Field(default="sqlite:///onecard.db", repr=False)
    password_file: Path | None = None
    key_file: Path = Path("onecard.key")


class TerminalKindName(StrEnum):
    """What stands there."""

    SELFCHECK = "selfcheck"
    BOOKDROP = "bookdrop"
    SORTER = "sorter"
    DESK = "desk"
    MOBILE = "mobile"


class TerminalSettings(Table):
    """One self-check machine, book drop, sorter or desk, named by its login.

    Attributes:
        library: code of its library; may be left out where there is only one.
        password: resolved from ``password_file`` or the variable; never in the file.
        password_env: the variable; empty = ``ONECARD_TERMINAL_<LOGIN>_PASSWORD``.
        register_id: the cash register or payment point that payments are told under.
        terminator: what ends the frames that we send.
        certificate: common name or SHA-256 fingerprint of the client certificate that it must
            show.
        max_connections: connections of this login, instead of ``max_connections_per_terminal``.
        school: code of the school whose pupils a registration machine enters.
        messages: language → reason → text, for this terminal alone.
        renewal_ok, magnetic: what a "yes" says there in 12 and 30, for kiosks that take success
            from ``NNY`` or ``YYY``.
    """

    login: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    library: str = ""
    password: str | None = Field(default=None, repr=False)
    password_file: Path | None = None
    password_env: str = ""
    branch: str = ""
    location: str = ""
    register_id: str = ""
    kind: TerminalKindName = TerminalKindName.SELFCHECK
    timezone: Zone | None = None
    language: Literal["zh", "en"] | None = None
    encoding: Codec = "utf-8"
    delimiter: Annotated[str, StringConstraints(min_length=1, max_length=1)] = "|"
    terminator: Literal["CR", "CRLF", "LF"] = "CR"
    checksum: Literal["strict", "log", "ignore"] = "strict"
    error_detection: Literal["auto", "always", "never"] = "auto"
    dialect: str = "standard"
    hidden_tags: frozenset[Tag] = frozenset()
    allowed_tags: frozenset[Tag] = frozenset()
    max_value_length: Annotated[int, Field(ge=0)] = 255
    answer_unknown: Literal["silence", "96"] = "silence"
    pin: PinRule = PinRule.IF_SENT
    permissions: frozenset[
        Literal[
            "block_patron",
            "enable_patron",
            "item_status",
            "offline_upload",
            "register_patrons",
            "find_by_id",
            "checkout",
            "renew",
            "patron",
            "hold",
            "fee",
        ]
    ] = frozenset()
    allow_from: Networks = ()
    certificate: str = ""
    max_connections: Annotated[int, Field(gt=0)] | None = None
    mask_name: bool = True
    mask_id: bool = False
    charge_denied_at_limit: bool = False
    school: str = ""
    messages: ScreenMessages = {}
    renewal_ok: Literal["as_it_is", "Y", "N"] = "as_it_is"
    magnetic: Literal["as_it_is", "Y", "N", "U"] = "as_it_is"

    @property
    def password_variable(self) -> str:
        """Name of the variable that may hold the password."""
        return (
            self.password_env
            or f"ONECARD_TERMINAL_{re.sub(r'[^A-Z0-9]+', '_', self.login.upper())}_PASSWORD"
        )


class TlsSettings(Table):
    """A second listener for kiosks that speak TLS.

    Attributes:
        client_ca_file: kiosks must show a certificate of this authority.
        allow_from: networks that may connect to it; empty = any.
    """

    port: Port = 6443
    cert_file: Path
    key_file: Path
    client_ca_file: Path | None = None
    allow_from: Networks = ()


class Sip2Settings(Table):
    """The SIP2 server and its terminals.

    Attributes:
        answer_deadline_s: a kiosk gets its answer within this time, whatever the ILS does.
        ils_deadline_s: how long an adapter may wait for its ILS; shorter than the answer's.
        workers: threads per ILS; a hanging ILS can exhaust only its own.
        settle_apart_s: how long two answers "not on loan" must lie apart before a checkout whose
            outcome nobody knows is given up (decision 7).
        messages: language → reason → text, instead of the shipped screen message.
        allow_from: networks that may connect to the plain port; empty = any.
        proxy_protocol: connections from ``proxy_allow_from`` must begin with a header of the PROXY
            protocol, version 2, and count as coming from the address that it names.
        max_connections_per_terminal: of one login; one more closes an idle older one.
        pin_attempts: wrong PINs of one card, after which the next ones are refused unseen for a
            while. 0 = off.
        pin_delay_s: the first such while; it doubles, up to a quarter of an hour.
        watch_settings: terminals, screen messages and allow-lists are taken over when the file
            changes; otherwise at SIGHUP only.
    """

    enabled: bool = True
    host: str = "127.0.0.1"
    port: Port = 6001
    login_timeout_s: Seconds = 60
    idle_timeout_s: Seconds = 900
    answer_deadline_s: Seconds = 10
    ils_deadline_s: Seconds = 8
    max_connections: Annotated[int, Field(gt=0)] = 500
    max_connections_per_address: Annotated[int, Field(gt=0)] = 100
    workers: Annotated[int, Field(gt=0, le=256)] = 8
    settle_apart_s: Annotated[float, Field(ge=60)] = 180
    tls: TlsSettings | None = None
    terminals: tuple[TerminalSettings, ...] = ()
    messages: ScreenMessages = {}
    allow_from: Networks = ()
    proxy_protocol: bool = False
    proxy_allow_from: Networks = ()
    max_connections_per_terminal: Annotated[int, Field(gt=0)] = 4
    pin_attempts: Annotated[int, Field(ge=0)] = 3
    pin_delay_s: Seconds = 30
    watch_settings: bool = True

    @model_validator(mode="after")
    def _who_may_name_addresses_is_known(self) -> Self:
        if self.proxy_protocol and not self.proxy_allow_from:
            raise ValueError("proxy_protocol needs proxy_allow_from, the networks of the balancer")
        return self

    @model_validator(mode="after")
    def _certificates_can_be_asked_for(self) -> Self:
        if self.tls is None or self.tls.client_ca_file is None:
            for terminal in self.terminals:
                if terminal.certificate:
                    raise ValueError(
                        f"the certificate of terminal {terminal.login} "
                        "needs [sip2.tls] with client_ca_file"
                    )
        return self


class PolicyTable(Table):
    """One version of a patron category's loan policy; the defaults are the student policy's."""

    effective_from: date
    author: str = ""
    version: str = ""
    max_items: Annotated[int, Field(ge=0)] = 8
    max_foreign_items: Annotated[int, Field(ge=0)] = 3
    loan_days: Annotated[int, Field(gt=0)] = 30
    max_renewals: Annotated[int, Field(ge=0)] = 1
    renewal_days: Annotated[int, Field(gt=0)] = 30
    no_renewal_when: frozenset[RenewalBar] = frozenset(RenewalBar)
    loanable_locations: Annotated[frozenset[Shelving], BeforeValidator(_one_or_many)] = frozenset(
        {Shelving.OPEN_SHELF}
    )
    collections: frozenset[str] = frozenset()
    overdue_bars: Literal["item", "card"] = "item"
    min_days_before_renewal: Annotated[int, Field(ge=0)] = 0
    closed_days: Literal["ignore", "extend"] = "ignore"
    lend_unsuitable: bool = False
    checkout_may_renew: bool = False

    def to_policy(self, category: str) -> LoanPolicy:
        """Return the policy as the rules see it; an unnamed version is category and date."""
        values = self.model_dump(exclude={"loanable_locations", "version"})
        version = self.version or f"{category}-{self.effective_from.isoformat()}"
        return LoanPolicy(
            category=category, version=version, loanable_shelving=self.loanable_locations, **values
        )


class CardNumbers(Table):
    """The range of card numbers that the library gives out: prefix, then ``digits`` digits."""

    prefix: str = "S"
    first: Annotated[int, Field(ge=0)] = 1
    last: Annotated[int, Field(ge=0)] = 99_999_999
    digits: Annotated[int, Field(ge=1, le=20)] = 8


class FeedSettings(Table):
    """Rosters that the school authority puts into a folder (A16).

    Attributes:
        library: code of the library; may be left out where there is only one.
        school: code of the school whose rosters they are; empty = the files name it
            (OneRoster orgs, or the file name before the first ``_`` or ``.``).
        complete: each file names every pupil, so that who is missing has left.
        stale_after_days: the alarm is raised when nothing has come for so long.
    """

    name: Code
    library: str = ""
    school: str = ""
    folder: Path
    format: Literal["roster", "oneroster"] = "roster"
    complete: bool = False
    stale_after_days: Annotated[int, Field(ge=1)] = 35


class EnrolmentSettings(Table):
    """Student cards: numbers, texts that guardians agreed to, and what schools do by default.

    Attributes:
        entry_mode, school_review: of a school that is added without saying; with
            ``school_review`` an individual application passes the school before it reaches the
            library (A08, A39).
        purge_unanswered_days: applications whose guardians have not answered are removed after this
            time (decision 20).
        districts: counties that the programme serves, as rosters write them; empty = any.
        ask_again_after_refusal: a roster may bring a child again whose guardian refused.
        numbers_for_ils: kinds of numbers that the ILS is given besides the card number, so that its
            own desk finds the pupil by them; empty = none.
        grace_days: how long after the end of his stage a pupil's card stays valid; ``valid_years``
            is used where his grade is not known.
        drop_percent: a complete roster that names fewer of a school's pupils than all but this
            many in a hundred closes nobody until a person has confirmed it (scenario 26).
        consent_at_fourteen: a guardian consents anew when the child turns 14 (scenario 7).
        consent_texts: folder with own texts, ``VERSION.zh.md`` and ``VERSION.en.md``, for
            versions that are not shipped.
        liaison_deadline: the day by which each school names its liaison (A21).
        free_physical_cards: how many physical cards are free of charge (A25).
        provisioning_workers: how many cards are opened at once.
        font_file: a font with Chinese characters for printed slips; looked for when not told.
        feeds: rosters that arrive in a folder.
    """

    category: str = "student"
    cards: CardNumbers = CardNumbers()
    consent_text_version: str = "2026-09"
    undertaking_version: str = "2026-09"
    valid_years: Annotated[int, Field(gt=0)] = 6
    purge_unanswered_days: Annotated[int, Field(gt=0)] = 180
    districts: frozenset[str] = frozenset()
    ask_again_after_refusal: bool = False
    numbers_for_ils: frozenset[str] = frozenset({"id_card"})
    entry_mode: Literal["batch", "individual", "both"] = "batch"
    school_review: bool = False
    grace_days: Annotated[int, Field(ge=0)] = 90
    drop_percent: Annotated[float, Field(ge=0, le=100)] = 5
    consent_at_fourteen: bool = False
    consent_texts: Path | None = None
    liaison_deadline: date | None = None
    free_physical_cards: Annotated[int, Field(ge=0)] = 1
    provisioning_workers: Annotated[int, Field(ge=1, le=32)] = 4
    font_file: Path | None = None
    feeds: tuple[FeedSettings, ...] = ()


class PrivacySettings(Table):
    """How long what is kept; ``onecard privacy retention`` removes what is older.

    Attributes:
        loan_history_days: a closed loan and its events name the person for this long.
        closed_person_days: a person whose account is closed is erased after this time.
        refusal_days: the digest of a refusal is kept for this long.
        audit_days: audit entries are kept for this long; three years at least (PIPL art. 56).
        outbox_days: messages that were delivered are kept for this long.
        task_days: tasks of the staff that are done are kept for this long.
        hold_percent: the worker removes or closes up to so many of a hundred by itself; a person
            has to run what is more.
    """

    loan_history_days: Annotated[int, Field(ge=1)] = 180
    closed_person_days: Annotated[int, Field(ge=1)] = 365
    refusal_days: Annotated[int, Field(ge=1)] = 1100
    audit_days: Annotated[int, Field(ge=1096)] = 3650
    outbox_days: Annotated[int, Field(ge=1)] = 90
    task_days: Annotated[int, Field(ge=1)] = 365
    hold_percent: Annotated[int, Field(ge=1, le=100)] = 40


class LogSettings(Table):
    """What is logged and how; ``auto`` = readable on a terminal, JSON elsewhere."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "console"] = "auto"


class MetricsSettings(Table):
    """Figures of the SIP2 server for Prometheus over HTTP at ``/metrics``."""

    enabled: bool = False
    host: str = "127.0.0.1"
    port: Port = 8080


class PluginSettings(Table):
    """Plugins are found by their entry points; those named here are left out."""

    disabled: frozenset[str] = frozenset()

"""Every hook that a plugin may implement: this file is the whole contract.

Nothing here calls a hook; ``connector.plugins.manager`` does. Rules —

- a plugin is a module or object whose functions carry ``@hookimpl``; it enters by the entry point
  group ``connector.plugins``, as the adapters that come with the project do;
- a hook may take fewer arguments than its specification, never others;
- register hooks run once at the start; decide hooks run inside an exchange and must be quick; event
  hooks run after the facts are committed, and one that raises is isolated and logged;
- no hook sees a name, an identity number or a PIN unless its arguments say so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pluggy

from connector.domain.circulation import Decision
from connector.domain.ids import InstitutionId
from connector.ports.clock import Clock
from connector.ports.decisions import DecisionRequest
from connector.ports.events import Event
from connector.ports.ils import AdapterSpec, IlsAdapter, PatronInput
from connector.ports.store import Identifier

if TYPE_CHECKING:
    import click

__all__ = [
    "PROJECT",
    "AppInfo",
    "DemoContext",
    "DemoIls",
    "DemoIlsContext",
    "DemoItem",
    "HealthCheck",
    "HealthResult",
    "HookSpecs",
    "RowView",
    "hookimpl",
    "hookspec",
]

PROJECT = "onecard"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class HealthResult:
    """What a health check found; ``remedy`` says what to change."""

    status: Literal["ok", "warn", "fail"]
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A check that ``onecard doctor`` runs; ``run`` may take seconds and may raise."""

    name: str
    run: Callable[[], HealthResult]


@dataclass(frozen=True, slots=True)
class AppInfo:
    """What a plugin may know about the running program."""

    version: str
    institutions: tuple[InstitutionId, ...]
    data_dir: str


@dataclass(frozen=True, slots=True)
class RowView:
    """One row of a roster as it will be stored.

    Attributes:
        values: column name → normalised text, personal data included: check it, do not keep or log
            it.
    """

    school: str
    position: int
    values: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DemoItem:
    """An item of the sample stock.

    Attributes:
        record: its bib as ISO 2709 in UTF-8.
        location: where it stands; ``closed`` items may not be lent.
    """

    barcode: str
    record: bytes = field(repr=False)
    dialect: Literal["marc21", "cnmarc"] = "marc21"
    location: str = "open"
    item_type: str = "book"
    collection: str = ""
    call_number: str = ""


@dataclass(frozen=True, slots=True)
class DemoContext:
    """What the demonstration asks of an adapter that can fill its own ILS.

    Attributes:
        adapter: the adapter of the library to fill; a plugin leaves the adapters of others alone.
    """

    institution: InstitutionId
    adapter: IlsAdapter
    items: Sequence[DemoItem]


@dataclass(frozen=True, slots=True)
class DemoIlsContext:
    """What the demonstration asks of a plugin that can start an ILS of its own.

    Attributes:
        encoding: of its SIP2; a Python codec name.
        folder: for its files.
        now: its clock, which the demonstration moves.
        items: what it has.
    """

    institution: InstitutionId
    timezone: str
    encoding: str
    folder: Path
    now: Clock
    items: Sequence[DemoItem]


@dataclass(frozen=True, slots=True)
class DemoIls:
    """A running ILS that can be reached only by SIP2, but for its own staff desk.

    Attributes:
        add_patron: opens an account, as its staff would.
        close: ends it.
    """

    host: str
    port: int
    login: str
    password: str = field(repr=False)
    add_patron: Callable[[PatronInput], object]
    close: Callable[[], None]


class HookSpecs:
    """The hooks. The first line of each says when it is called."""

    @hookspec
    def register_ils_adapters(self) -> Sequence[AdapterSpec]:  # type: ignore[empty-body]
        """Offer adapters for library systems, once at the start."""

    @hookspec
    def register_commands(self, cli: click.Group) -> None:
        """Add commands to the ``onecard`` command line, when it is built."""

    @hookspec
    def register_health_checks(self, app: AppInfo) -> Sequence[HealthCheck]:  # type: ignore[empty-body]
        """Offer checks to ``onecard doctor``."""

    @hookspec(firstresult=True)
    def resolve_patron_identifier(
        self, scanned: str, institution: InstitutionId
    ) -> Sequence[Identifier] | None:
        """Say what a scanned string stands for, such as a dynamic QR code; the first answer counts.

        None or nothing = not ours. The built-in readings (card, identity number) are tried as well.
        """

    @hookspec
    def narrow_decision(self, decision: Decision, request: DecisionRequest) -> Decision | None:
        """Refuse what the policy permits, inside each checkout and renewal.

        Return ``decision.refuse(Reason.PLUGIN_REFUSED, detail=…)``, or None to leave it. What would
        permit more than the policy, or change anything else, is ignored and logged; a plugin that
        raises is ignored and logged too.
        """

    @hookspec
    def validate_enrolment_row(  # type: ignore[empty-body]
        self, record: RowView
    ) -> Sequence[str]:
        """Return problem codes for a row of a roster; any code makes the row invalid."""

    @hookspec
    def track_event(self, event: Event) -> None:
        """Take an event after it is committed; it holds ids and codes only."""

    @hookspec
    def startup(self, app: AppInfo) -> None:
        """Begin, after everything is built and before anything is served."""

    @hookspec
    def shutdown(self, app: AppInfo) -> None:
        """End, after serving has stopped."""

    @hookspec
    def seed_demonstration(self, context: DemoContext) -> None:
        """Fill the demonstration's ILS with sample stock, if the adapter is this plugin's."""

    @hookspec(firstresult=True)
    def open_demonstration_ils(self, context: DemoIlsContext) -> DemoIls | None:
        """Start an ILS for the demonstration that is reached by SIP2; the first answer counts."""


HOOKS: Mapping[str, Any] = {
    name: function for name, function in vars(HookSpecs).items() if not name.startswith("_")
}
"""Hook name → specification."""

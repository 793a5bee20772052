"""Finds the plugins, checks them, and speaks for them to the core.

Nothing here is built at import: ``build_plugins`` is called by ``connector.bootstrap``. Rules —

- a plugin with a hook that does not exist, or with other arguments than specified, stops the start
  with its name;
- two plugins may not offer an adapter of the same name;
- a decision may only become stricter, whatever a plugin returns.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import pluggy

from connector.domain.circulation import Decision, Reason
from connector.domain.ids import InstitutionId
from connector.errors import ConfigurationError
from connector.log import get_logger
from connector.plugins.hookspecs import (
    HOOKS,
    PROJECT,
    AppInfo,
    DemoContext,
    DemoIls,
    DemoIlsContext,
    HealthCheck,
    HookSpecs,
    RowView,
)
from connector.plugins.notify import call_each, notify
from connector.ports.decisions import DecisionRequest
from connector.ports.events import Event
from connector.ports.ils import AdapterSpec
from connector.ports.store import Identifier

__all__ = ["GROUP", "PluginDecider", "PluginEvents", "PluginInfo", "Plugins", "build_plugins"]

GROUP = "connector.plugins"
"""Entry point group."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One loaded plugin, for ``onecard plugins list``."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]


class PluginDecider:
    """The plugins' say in a decision: ``connector.ports.decisions.Decider``."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

    def narrow_decision(self, decision: Decision, request: DecisionRequest) -> Decision:
        """Return the decision after every plugin has had a say; the first refusal stands."""
        if not decision.permitted:
            return decision
        arguments = {"decision": decision, "request": request}
        refusals = []
        for plugin, verdict in call_each(self._manager, "narrow_decision", arguments):
            if verdict is None or verdict == decision:
                continue
            if isinstance(verdict, Decision) and not verdict.permitted:
                refusals.append(
                    decision.refuse(
                        verdict.reason or Reason.PLUGIN_REFUSED,
                        limit=verdict.limit,
                        detail=verdict.detail or plugin,
                    )
                )
            else:
                _log.error("plugin.overstepped", plugin=plugin, hook="narrow_decision")
        return refusals[0] if refusals else decision

    def resolve_patron_identifier(
        self, scanned: str, institution: InstitutionId
    ) -> Sequence[Identifier]:
        """Return the first plugin's reading of a scanned string, or nothing."""
        arguments = {"scanned": scanned, "institution": institution}
        for _, found in call_each(self._manager, "resolve_patron_identifier", arguments):
            if found:
                return tuple(found)
        return ()


class PluginEvents:
    """Hands committed events to the plugins: ``connector.ports.events.EventSink``."""

    def __init__(self, manager: pluggy.PluginManager) -> None:
        self._manager = manager

    def track(self, event: Event) -> None:
        """Hand on one event; never raises."""
        notify(self._manager, "track_event", event=event)


class Plugins:
    """All loaded plugins.

    Attributes:
        decider, events: what the services get.
    """

    def __init__(
        self, manager: pluggy.PluginManager, origins: Mapping[str, metadata.Distribution]
    ) -> None:
        self._manager = manager
        self._origins = origins
        self.decider = PluginDecider(manager)
        self.events = PluginEvents(manager)

    def ils_adapters(self) -> Mapping[str, AdapterSpec]:
        """Return every adapter by name; raises ``ConfigurationError`` for a name used twice."""
        found: dict[str, AdapterSpec] = {}
        for specs in self._manager.hook.register_ils_adapters():
            for spec in specs:
                if spec.name in found:
                    raise ConfigurationError(
                        f"Two plugins offer an adapter named {spec.name}.",
                        "Name one of them in [plugins] disabled.",
                    )
                found[spec.name] = spec
        return dict(sorted(found.items()))

    def health_checks(self, app: AppInfo) -> tuple[HealthCheck, ...]:
        """Return the plugins' own checks."""
        results = call_each(self._manager, "register_health_checks", {"app": app})
        return tuple(check for _, checks in results for check in checks)

    def register_commands(self, cli: Any) -> None:
        """Let plugins add commands."""
        notify(self._manager, "register_commands", cli=cli)

    @property
    def looks_at_rows(self) -> bool:
        """Whether any plugin has a say on roster rows."""
        return bool(self._manager.hook.validate_enrolment_row.get_hookimpls())

    def validate_enrolment_row(self, record: RowView) -> tuple[str, ...]:
        """Return the problem codes of every plugin."""
        results = call_each(self._manager, "validate_enrolment_row", {"record": record})
        return tuple(code for _, codes in results for code in codes)

    def startup(self, app: AppInfo) -> None:
        """Tell the plugins that everything is built."""
        notify(self._manager, "startup", app=app)

    def shutdown(self, app: AppInfo) -> None:
        """Tell the plugins that serving has stopped."""
        notify(self._manager, "shutdown", app=app)

    def seed_demonstration(self, context: DemoContext) -> None:
        """Let the owner of the adapter fill its ILS; what it raises goes through."""
        self._manager.hook.seed_demonstration(context=context)

    def open_demonstration_ils(self, context: DemoIlsContext) -> DemoIls | None:
        """Let a plugin start an ILS; None when none can. What it raises goes through."""
        found: DemoIls | None = self._manager.hook.open_demonstration_ils(context=context)
        return found

    def describe(self) -> tuple[PluginInfo, ...]:
        """Return what is loaded, by name."""
        infos = []
        for name, plugin in self._manager.list_name_plugin():
            if plugin is None:
                continue
            distribution = self._origins.get(name)
            hooks = tuple(sorted(call.name for call in self._manager.get_hookcallers(plugin) or ()))
            infos.append(
                PluginInfo(
                    name=name,
                    distribution=distribution.name if distribution else "",
                    version=distribution.version if distribution else "",
                    hooks=hooks,
                )
            )
        return tuple(sorted(infos, key=lambda info: info.name))


def build_plugins(
    *, extra: Mapping[str, Any] | None = None, disabled: Collection[str] = ()
) -> Plugins:
    """Load and check every plugin; raises ``ConfigurationError`` naming one that does not fit.

    Args:
        extra: name → plugin, besides those found by entry points.
        disabled: names to leave out.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(HookSpecs)
    entries = {entry.name: entry for entry in metadata.entry_points(group=GROUP)}
    names = entries.keys() | (extra or {}).keys()
    unknown = sorted(set(disabled) - names)
    if unknown:
        raise ConfigurationError(
            f"There is no plugin {unknown[0]} to switch off.", f"Known: {', '.join(sorted(names))}."
        )
    for name in disabled:
        manager.set_blocked(name)
    for name, entry in entries.items():
        if name not in disabled:
            _register(manager, name, _load(entry))
    for name, plugin in (extra or {}).items():
        _register(manager, name, plugin)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as err:
        raise _misfit(manager.get_name(err.plugin) or "", err) from err
    _refuse_wrappers(manager)
    origins = {name: entry.dist for name, entry in entries.items() if entry.dist is not None}
    return Plugins(manager, origins)


def _load(entry: metadata.EntryPoint) -> Any:
    try:
        return entry.load()
    except Exception as err:
        raise ConfigurationError(
            f"Plugin {entry.name} cannot be loaded ({type(err).__name__}).",
            f'Reinstall it, or add "{entry.name}" to [plugins] disabled.',
        ) from err


def _register(manager: pluggy.PluginManager, name: str, plugin: Any) -> None:
    try:
        manager.register(plugin, name)
    except pluggy.PluginValidationError as err:
        raise _misfit(name, err) from err


def _refuse_wrappers(manager: pluggy.PluginManager) -> None:
    """A hook around other plugins' hooks could widen a decision."""
    for hook in HOOKS:
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.wrapper or implementation.hookwrapper:
                raise ConfigurationError(
                    f"Plugin {implementation.plugin_name} wraps the hook {hook}.",
                    "Implement it without wrapper=True.",
                )


def _misfit(name: str, err: pluggy.PluginValidationError) -> ConfigurationError:
    return ConfigurationError(
        f"Plugin {name} does not fit this version: {_first_words(err)}.",
        f"Its hooks must be among: {', '.join(sorted(HOOKS))}.",
    )


def _first_words(err: pluggy.PluginValidationError) -> str:
    """Return pluggy's complaint without the plugin's repr, which may hold anything."""
    return str(err).splitlines()[-1].partition(" in plugin ")[0]

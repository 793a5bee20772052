"""Requests to the ILS: what a terminal sent, or nothing, with our own values put in.

Nothing here sends. Rules: where a terminal's message of the same code is at hand, its fixed part,
its unknown tags and their order go on; AO, AA, AB, AC, AD, AP, BO and every date are ours. A
terminal's AC is its password for us and never goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from adapters.sip2.dates import BLANK_DATE, Dates
from connector.domain.wire import WireMessage
from connector.ports.ils import ExchangeContext
from connector.sip2.codec import Message
from connector.sip2.spec import SPECS

__all__ = ["RequestRules", "Requests", "Values"]

Values = Mapping[str, str | None]
"""Tag → value; None takes the tag out."""


@dataclass(frozen=True, slots=True)
class RequestRules:
    """What the ILS wants in every request; see ``settings``."""

    institution: str
    echo_institution: bool = False
    location: str = ""
    terminal_password: str = field(default="", repr=False)
    language: str = "000"
    sends_pin: bool = True


class Requests:
    """Builds the requests to one ILS."""

    def __init__(self, rules: RequestRules, dates: Dates) -> None:
        self._rules = rules
        self._dates = dates

    def build(
        self,
        code: str,
        at: datetime,
        *,
        fixed: Mapping[str, str] | None = None,
        values: Values | None = None,
        context: ExchangeContext | None = None,
        pin: str | None = None,
    ) -> Message:
        """Return a request.

        Args:
            at: the transaction date.
            fixed, values: our own; they win over the terminal's.
            context: the exchange; its request is the base when it is of the same code.
            pin: what AD holds; None = no AD.
        """
        base = context.request if context is not None else None
        if base is not None and base.code != code:
            base = None
        dates = {one.name for one in SPECS[code].fixed if one.is_date}
        given = {} if base is None else dict(base.fixed)
        for name in dates & given.keys():
            given[name] = self._dates.restamp(given[name])
        if "language" not in given:
            given["language"] = self._rules.language
        given["transaction_date"] = self._dates.stamp(at)
        given |= fixed or {}
        set_values: dict[str, str | None] = {
            "AO": self._institution(base),
            "AC": self._rules.terminal_password or None,
            "AD": pin if self._rules.sends_pin else None,
        }
        set_values |= values or {}
        names = {one.name for one in SPECS[code].fixed}
        return Message(
            code,
            {name: value for name, value in given.items() if name in names},
            replace_fields(() if base is None else base.fields, set_values),
        )

    def adapt(self, message: WireMessage, context: ExchangeContext) -> Message:
        """Return a terminal's message as the ILS wants it: AO, AC, AP, CP and dates."""
        spec = SPECS[message.code]
        fixed = dict(message.fixed)
        for one in spec.fixed:
            if one.is_date and fixed.get(one.name, BLANK_DATE).strip():
                fixed[one.name] = self._dates.restamp(fixed[one.name])
        tags = {tag for tag, _ in message.fields}
        values: dict[str, str | None] = {"AC": self._rules.terminal_password or None}
        if "AO" in tags or "AO" in spec.required_set:
            values["AO"] = self._institution(message)
        if not self._rules.sends_pin:
            values["AD"] = None
        location = self.location_of(context)
        values |= {tag: location for tag in ("AP", "CP") if location and tag in tags | spec.tags}
        return Message(message.code, fixed, replace_fields(message.fields, values))

    def location_of(self, context: ExchangeContext | None) -> str:
        """Return where the terminal stands, in the ILS's words."""
        return (context.location if context is not None else "") or self._rules.location

    def _institution(self, base: WireMessage | None) -> str:
        echoed = base.get("AO") if base is not None and self._rules.echo_institution else ""
        return echoed or self._rules.institution


def replace_fields(fields: tuple[tuple[str, str], ...], values: Values) -> list[tuple[str, str]]:
    """Return the fields with some of them replaced where they stand, taken out, or added."""
    result = []
    left = {tag: value for tag, value in values.items() if value is not None}
    for tag, value in fields:
        if tag in left:
            result.append((tag, left.pop(tag)))
        elif tag not in values:
            result.append((tag, value))
    return [*result, *left.items()]

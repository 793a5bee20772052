"""A SIP2 message as plain values: what a terminal sent, or what an ILS that speaks SIP2 answered.

Nothing here parses; ``connector.sip2.codec`` does. It exists so that what the policy has no opinion
about passes between a terminal and such an ILS in order and with all repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["WireMessage"]


@dataclass(frozen=True, slots=True)
class WireMessage:
    """One message; never shown in a log, since it may hold a name or a PIN.

    Attributes:
        code: the two digits of the command id.
        fixed: values of the fixed part by the names of ``connector.sip2.spec``.
        fields: (tag, value) in the order of the wire, unknown tags and repeats included.
    """

    code: str
    fixed: Mapping[str, str] = field(default_factory=dict, repr=False)
    fields: tuple[tuple[str, str], ...] = field(default=(), repr=False)

    def get(self, tag: str) -> str:
        """Return the first value of ``tag``, or an empty text."""
        return next((value for name, value in self.fields if name == tag), "")

    def get_all(self, tag: str) -> tuple[str, ...]:
        """Return every value of ``tag``, in order."""
        return tuple(value for name, value in self.fields if name == tag)

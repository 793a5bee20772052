"""What the description of a SIP2 message consists of, and what reader and writer derive from it.

Nothing here names a message; the standard's are in ``spec``, vendors' in ``dialects``. Rules:
everything derived is computed once, when a description is made; ``plans`` alone grows, with the
orders of tags that are sent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["CODE_WIDTH", "DATE_WIDTH", "Fixed", "MessageSpec", "Plan"]

CODE_WIDTH: Final = 2
_DATE_PATTERN: Final = "[0-9]{8}[ A-Z0-9]{4}[0-9]{6}| {18}"
DATE_WIDTH: Final = 18


@dataclass(frozen=True, slots=True)
class Fixed:
    """One field of a fixed part.

    Attributes:
        length: characters.
        default: what stands there when the other side left it out or the caller gave none;
            ``length`` characters.
        pattern: what the resynchronising reader takes for this field, as a regular expression.
    """

    name: str
    length: int
    default: str = ""
    pattern: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "default", self.default.ljust(self.length)[: self.length])
        object.__setattr__(self, "pattern", self.pattern or f"[0-9YNU ]{{{self.length}}}")

    @property
    def is_date(self) -> bool:
        """True for the eighteen-character timestamps."""
        return self.length == DATE_WIDTH

    @property
    def is_number(self) -> bool:
        """True where only digits make sense, so that short values are filled with zeros on the
        left.
        """
        return self.default.isdigit() and self.length > 1 and not self.is_date

    def accepts(self, value: str) -> bool:
        """Say whether a value can stand here as it is."""
        pattern = _DATE_PATTERN if self.is_date else self.pattern
        return re.fullmatch(pattern, value, re.ASCII) is not None


class Plan(NamedTuple):
    """How the tagged fields of one message are sent.

    Attributes:
        template: ``%``-format of them all. order: which value stands where; empty: as given.
        blanks: values of the required tags that were missing.
    """

    template: str
    order: tuple[int, ...]
    blanks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One message.

    Attributes:
        answer: code of the reply; None for replies and for the two resend messages.
        required: tags that are always sent, even empty. optional: the other ones, in sending order.
        repeatable: tags that may occur more than once.
        end: offset of the first tagged field. legal: recognises and slices a legal frame's
            beginning. slices: (name, from, to) of the fixed part. lengths, defaults: of the fixed
            fields. pick: takes their values out of a dict.
        rank: sending position per tag. plans: by delimiter, whether the message keeps its own
            order, and tags. required_set, tags: as sets.
    """

    code: str
    name: str
    answer: str | None
    fixed: tuple[Fixed, ...] = ()
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    repeatable: frozenset[str] = frozenset()
    end: int = field(init=False)
    legal: re.Pattern[str] = field(init=False, repr=False, compare=False)
    slices: tuple[tuple[str, int, int], ...] = field(init=False)
    lengths: list[int] = field(init=False, repr=False, compare=False)
    defaults: dict[str, str] = field(init=False, repr=False, compare=False)
    rank: dict[str, int] = field(init=False, repr=False, compare=False)
    plans: dict[tuple[str, bool, tuple[str, ...]], Plan] = field(
        init=False, repr=False, compare=False
    )
    required_set: frozenset[str] = field(init=False)
    tags: frozenset[str] = field(init=False)
    pick: Callable[[Mapping[str, str]], tuple[str, ...]] = field(
        init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        slices = []
        at = CODE_WIDTH
        for one in self.fixed:
            slices.append((one.name, at, at + one.length))
            at += one.length
        order = (*self.required, *self.optional)
        put = object.__setattr__
        put(self, "end", at)
        put(self, "slices", tuple(slices))
        put(self, "lengths", [one.length for one in self.fixed])
        put(self, "legal", _legal(self.code, self.fixed))
        put(self, "defaults", {one.name: one.default for one in self.fixed})
        put(self, "rank", {tag: place for place, tag in enumerate(order)})
        put(self, "plans", {})
        put(self, "required_set", frozenset(self.required))
        put(self, "tags", frozenset(order))
        put(self, "pick", _picker(tuple(one.name for one in self.fixed)))


def _legal(code: str, fixed: tuple[Fixed, ...]) -> re.Pattern[str]:
    """Return what recognises and slices a legal frame's beginning; the fixed fields are its named
    groups.
    """
    groups = [f"(?P<{one.name}>{_DATE_PATTERN if one.is_date else one.pattern})" for one in fixed]
    return re.compile(f"{code}{''.join(groups)}(?=[A-Z][A-Z0-9]|\\Z)", re.ASCII)


def _picker(names: tuple[str, ...]) -> Callable[[Mapping[str, str]], tuple[str, ...]]:
    """Return a function that reads ``names`` from a mapping; KeyError where one is missing."""
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)

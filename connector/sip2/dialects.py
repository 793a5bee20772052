"""Dialects: vendors' messages beyond SIP2 2.00, as data, and the open registry of them.

Nothing here parses; ``codec`` looks the specifications up by ``WireProfile.dialect``. A plugin adds
its own with ``register_dialect``.

Rules: a dialect only adds messages, it never changes those of the standard. What is here was read
in public sources: the server side in ``DigitalPlatform/chord`` (dp2Capo), the client side in C#
drivers of kiosks for 图创 Interlib, 文华 and an ILAS back end. Nothing is claimed for products
whose traffic was not seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from connector.sip2.shapes import MessageSpec
from connector.sip2.spec import DATE, STANDARD_SPECS, register_spec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "CHINESE_KIOSK",
    "STANDARD",
    "Dialect",
    "dialect_names",
    "find_dialect",
    "register_dialect",
]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A named set of messages.

    Attributes:
        extra: messages beside the standard's.
        specs: everything that the dialect knows, by code. wire: the same by the two bytes on the
            wire.
    """

    name: str
    extra: tuple[MessageSpec, ...] = ()
    specs: Mapping[str, MessageSpec] = field(init=False, repr=False, compare=False)
    wire: Mapping[bytes, MessageSpec] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        specs = {**STANDARD_SPECS, **{spec.code: spec for spec in self.extra}}
        object.__setattr__(self, "specs", specs)
        object.__setattr__(
            self, "wire", {code.encode("ascii"): spec for code, spec in specs.items()}
        )


STANDARD: Final = Dialect("standard")

_SCREEN: Final = frozenset({"AF", "AG"})
CHINESE_KIOSK: Final = Dialect(
    "chinese-kiosk",
    (
        # 办证: XK 01 new with deposit, 11 new without, 02 change, 14 change of password (AD old, KD
        # new). The drivers put nothing, ``YN`` or ``YN`` and a second date before the tags: the
        # lenient reader takes the first date.
        MessageSpec(
            "81",
            "Patron Create Or Change",
            "82",
            (DATE,),
            ("AO", "AA"),
            (
                *("AD", "KD", "AE", "AM", "BP", "MP", "BE", "BD", "XO", "XT", "BV"),
                *("XM", "XH", "XN", "XF", "XD", "XE", "XK"),
            ),
        ),
        MessageSpec(
            "82",
            "Patron Create Or Change Response",
            None,
            (DATE,),
            ("AO", "AA", "XD", "OK", "XK"),
            ("AF", "AG"),
            _SCREEN,
        ),
        # Duplicate check: XK0 by card (AA), XK1 by identity number (XO). The answer's AC is 0 =
        # free, 1 = exists.
        MessageSpec("91", "Patron Duplicate Check", "92", (DATE,), ("AO",), ("AA", "XO", "XK")),
        MessageSpec(
            "92",
            "Patron Duplicate Check Response",
            None,
            (DATE,),
            ("AO", "AC"),
            ("AA", "XO", "XK", "AF", "AG"),
            _SCREEN,
        ),
        # Reader by identity card (XK13): OX holds the card numbers, separated by ``]]``.
        MessageSpec("85", "Patron By Identity Card", "86", (DATE,), ("AO", "XO"), ("XK",)),
        MessageSpec(
            "86",
            "Patron By Identity Card Response",
            None,
            (DATE,),
            ("AO", "OX"),
            ("AA", "AE", "XK", "AF", "AG"),
            _SCREEN,
        ),
    ),
)

_dialects: dict[str, Dialect] = {}


def register_dialect(dialect: Dialect) -> None:
    """Make a dialect available to terminals by its name.

    Raises:
        ValueError: the name is taken by another dialect, or a message belongs to the standard.
    """
    if _dialects.get(dialect.name, dialect) != dialect:
        msg = f"dialect {dialect.name} is already registered"
        raise ValueError(msg)
    for spec in dialect.extra:
        register_spec(spec)
    _dialects[dialect.name] = dialect


def find_dialect(name: str) -> Dialect:
    """Return a dialect; the standard when the name is not registered (settings are checked with
    ``dialect_names``).
    """
    return _dialects.get(name, STANDARD)


def dialect_names() -> tuple[str, ...]:
    """Return the names that a terminal's settings may use, sorted."""
    return tuple(sorted(_dialects))


register_dialect(STANDARD)
register_dialect(CHINESE_KIOSK)

"""What a wire profile must be, so that frames can be cut, read and built with it.

Nothing here reads settings; ``bootstrap`` asks, terminal by terminal. Rules:

- the dialect is registered;
- ASCII is itself in the encoding, because command ids, fixed parts, tags, delimiters and checksums
  are cut out of the bytes (not so: utf-16, utf-7, EBCDIC);
- no character is written with ASCII bytes or escapes alone, because those shift a state, which ends
  with the value but not with the frame (not so: hz, iso2022-jp, unicode_escape);
- the delimiter is an ASCII punctuation mark, so that it is no part of a tag, a date or a flag.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, TypeVar

from connector.errors import ConfigurationError
from connector.sip2.dialects import dialect_names
from connector.sip2.terminal import ChecksumPolicy, WireProfile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from connector.sip2.terminal import Terminal

__all__ = ["check_profile", "profile_before_login"]

_T = TypeVar("_T")
_LENIENT_FIRST: Final = (ChecksumPolicy.IGNORE, ChecksumPolicy.LOG, ChecksumPolicy.STRICT)
_ASCII: Final = bytes(range(0x20, 0x7F))
_SAMPLES: Final = "éя中張あ가"
_ENCODING_REMEDY: Final = "Use utf-8, gb18030, gbk, big5 or cp850."


def check_profile(profile: WireProfile) -> None:
    """Accept a profile that the codec can work with.

    Raises:
        ConfigurationError: encoding, delimiter or dialect is none of these; it says which to use.
    """
    if profile.dialect not in dialect_names():
        raise ConfigurationError(
            f"The dialect {profile.dialect!r} is not registered.",
            f"Use one of: {', '.join(dialect_names())}.",
        )
    bar = profile.delimiter
    if len(bar) != 1 or not "!" <= bar <= "~" or bar.isalnum():
        raise ConfigurationError(
            f"The delimiter {bar!r} cannot separate fields.",
            "Use one ASCII punctuation mark; the standard's is |.",
        )
    try:
        plain = _is_plain(profile.encoding)
    except (LookupError, UnicodeError) as err:
        raise ConfigurationError(
            f"The encoding {profile.encoding!r} is not known here.", _ENCODING_REMEDY
        ) from err
    if not plain:
        raise ConfigurationError(
            f"The encoding {profile.encoding!r} does not write ASCII as itself, or shifts states.",
            _ENCODING_REMEDY,
        )


def profile_before_login(terminals: Iterable[Terminal]) -> WireProfile:
    """Return how to understand a kiosk of which nobody knows yet which one it is.

    What all terminals have in common, and the most lenient checksum policy of any: a kiosk with
    constants for checksums would be asked to repeat its login for ever. What a login opens is
    guarded by its password.
    """
    profiles = [terminal.wire for terminal in terminals]
    policies = {profile.checksum for profile in profiles}
    common = WireProfile()
    return replace(
        common,
        encoding=_common({profile.encoding for profile in profiles}, common.encoding),
        delimiter=_common({profile.delimiter for profile in profiles}, common.delimiter),
        terminator=_common({profile.terminator for profile in profiles}, common.terminator),
        checksum=next((policy for policy in _LENIENT_FIRST if policy in policies), common.checksum),
    )


def _common(values: set[_T], default: _T) -> _T:
    return next(iter(values)) if len(values) == 1 else default


def _is_plain(encoding: str) -> bool:
    """Is ASCII itself in this encoding, and nothing else made of it?"""
    ascii_text = _ASCII.decode("ascii")
    return (
        ascii_text.encode(encoding, "replace") == _ASCII
        and _ASCII.decode(encoding, "replace") == ascii_text
        and not any(_is_escaped(one.encode(encoding, "ignore")) for one in _SAMPLES)
    )


def _is_escaped(written: bytes) -> bool:
    return bool(written) and written.isascii()

"""The texts that guardians sign: consent by scope, and the undertaking to keep the rules (A22).

Nothing here records an answer. Rules —

- a text is a Markdown file ``VERSION.LANGUAGE.md`` (``VERSION.undertaking.LANGUAGE.md``) with a
  head of ``key: value`` lines between two lines ``---``: ``scopes`` (of a consent), and
  ``supersedes``: ``widens`` where it agrees to more than every version before it, else ``none``;
- a text that was signed once is never changed: a new wording is a new version. The digest that is
  kept with a consent shows it;
- the library's own folder comes first, then the texts that are shipped.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path

from connector.domain.enrolment import ConsentScope
from connector.errors import ConfigurationError

__all__ = ["ConsentText", "TextKind", "list_versions", "list_widening", "load_text"]

_SHIPPED = Path(__file__).with_suffix("")
_NAME = re.compile(
    r"(?P<version>[0-9A-Za-z][0-9A-Za-z_-]{0,31})(?P<undertaking>\.undertaking)?\.(?P<language>[a-z]{2})\.md"
)
_LARGEST_BYTES = 200_000


class TextKind(StrEnum):
    """What a text is."""

    CONSENT = "consent"
    UNDERTAKING = "undertaking"


@dataclass(frozen=True, slots=True)
class ConsentText:
    """One text in one language.

    Attributes:
        scopes: what it asks for, one by one; empty of an undertaking.
        widens: it agrees to more than every version before it.
        digest: SHA-256 of the file, in hex.
    """

    version: str
    language: str
    text: str = field(repr=False)
    digest: str
    kind: TextKind = TextKind.CONSENT
    scopes: frozenset[ConsentScope] = frozenset()
    widens: bool = False


def load_text(
    version: str,
    language: str,
    folder: Path | None = None,
    *,
    kind: TextKind = TextKind.CONSENT,
) -> ConsentText:
    """Return a text.

    Args:
        folder: the library's own texts.

    Raises:
        ConfigurationError: there is no such version or language, or the file is not a text.
    """
    texts = _find_texts(folder, kind)
    if version not in texts:
        known = ", ".join(sorted(texts)) or "none"
        raise ConfigurationError(
            f"There is no {kind.value} text of version {version}; known: {known}.",
            "Correct the version in [enrolment], or put the text into the folder consent_texts.",
        )
    files = texts[version]
    if language not in files:
        raise ConfigurationError(
            f"The {kind.value} text {version} is not there in {language}.",
            f"There is: {', '.join(sorted(files))}.",
        )
    file = files[language]
    return _read(file, version, language, kind, _stamp(file))


def list_versions(
    folder: Path | None = None, *, kind: TextKind = TextKind.CONSENT
) -> Mapping[str, tuple[str, ...]]:
    """Return the languages of each version, oldest version first."""
    texts = _find_texts(folder, kind)
    return {version: tuple(sorted(texts[version])) for version in sorted(texts)}


def list_widening(folder: Path | None = None) -> tuple[str, ...]:
    """Return the versions that agree to more than those before them, in any language.

    Raises:
        ConfigurationError: a file is not a text, or the folder is not there.
    """
    return tuple(
        version
        for version, languages in list_versions(folder).items()
        if any(load_text(version, language, folder).widens for language in languages)
    )


def _find_texts(folder: Path | None, kind: TextKind) -> dict[str, dict[str, Path]]:
    found: dict[str, dict[str, Path]] = {}
    if folder is not None and not folder.is_dir():
        raise ConfigurationError(
            f"The folder {folder} of consent texts is not there.",
            "Correct consent_texts in [enrolment].",
        )
    own = _files(folder, kind) if folder is not None else ()
    for version, language, file in own:
        found.setdefault(version, {})[language] = file
    shipped = [entry for entry in _files(_SHIPPED, kind) if entry[0] not in found]
    for version, language, file in shipped:  # a version is one whole: never half own, half shipped
        found.setdefault(version, {})[language] = file
    return found


def _files(folder: Path, kind: TextKind) -> Iterator[tuple[str, str, Path]]:
    for file in sorted(folder.iterdir()):
        match = _NAME.fullmatch(file.name)
        if match and bool(match["undertaking"]) is (kind is TextKind.UNDERTAKING):
            yield match["version"], match["language"], file


def _stamp(file: Path) -> int:
    return file.stat().st_mtime_ns


@lru_cache(maxsize=64)
def _read(file: Path, version: str, language: str, kind: TextKind, stamp: int) -> ConsentText:
    del stamp  # a file that was changed is read again
    if file.stat().st_size > _LARGEST_BYTES:
        raise _not_a_text(file, "it is larger than 200 kB")
    try:
        whole = file.read_text(encoding="utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as err:
        raise _not_a_text(file, "it is not UTF-8") from err
    head, body = _split(file, whole)
    supersedes = head.get("supersedes", "none")
    if supersedes not in {"none", "widens"}:
        raise _not_a_text(file, "supersedes is neither none nor widens")
    return ConsentText(
        version=version,
        language=language,
        text=body.strip() + "\n",
        digest=hashlib.sha256(whole.encode()).hexdigest(),
        kind=kind,
        scopes=_scopes(file, head, kind),
        widens=supersedes == "widens",
    )


def _split(file: Path, whole: str) -> tuple[dict[str, str], str]:
    parts = whole.removeprefix("\ufeff").split("---\n", 2)
    if len(parts) != 3 or parts[0].strip():
        raise _not_a_text(file, "it does not begin with a head between two lines ---")
    head = {
        key.strip(): value.strip()
        for key, colon, value in (line.partition(":") for line in parts[1].splitlines())
        if colon
    }
    return head, parts[2]


def _scopes(file: Path, head: Mapping[str, str], kind: TextKind) -> frozenset[ConsentScope]:
    if kind is TextKind.UNDERTAKING:
        return frozenset()
    names = [name.strip() for name in head.get("scopes", "").split(",") if name.strip()]
    try:
        scopes = frozenset(ConsentScope(name) for name in names)
    except ValueError as err:
        known = ", ".join(scope.value for scope in ConsentScope)
        raise _not_a_text(file, f"scopes takes {known}") from err
    if not scopes:
        raise _not_a_text(file, "it names no scopes")
    return scopes


def _not_a_text(file: Path, why: str) -> ConfigurationError:
    return ConfigurationError(f"{file.name} cannot be used as a text: {why}.", "Correct the file.")

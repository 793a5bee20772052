"""Fonts with Chinese characters for printed slips: where they are found, and what they can write.

Nothing here prints. Rules: no font comes with the program; the one of ``[enrolment] font_file`` is
first, then those of the system, then that of the optional extra ``fonts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path

from fontTools.ttLib import TTCollection, TTFont, TTLibError

from connector.errors import ConfigurationError

__all__ = ["Font", "find_fonts"]

_FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("~/.local/share/fonts"),
    Path("~/.fonts"),
)
_NAMES = (
    "NotoSansCJK-Regular.ttc",
    "NotoSansCJKsc-Regular.otf",
    "NotoSansSC-Regular.*tf",
    "SourceHanSansCN-Regular.otf",
    "SourceHanSansSC-Regular.otf",
    "wqy-microhei.ttc",
    "wqy-zenhei.ttc",
    "uming.ttc",
    "gbsn00lp.ttf",
)
"""Of Debian's fonts-noto-cjk, fonts-wqy-microhei, fonts-wqy-zenhei, fonts-arphic-*, and others."""
_PACKAGE = "pylopdf_fonts_zh_cn"
_MAINLAND = (" SC", " CN")
_PROBE = "图书馆读者卡密码"
_REMEDY = (
    "Run: apt install fonts-wqy-microhei; or install the extra 'fonts' of this program with pip;"
    " or set [enrolment] font_file."
)


@dataclass(frozen=True, slots=True)
class Font:
    """One face of a font file.

    Attributes:
        face: number of the face within a collection.
        characters: code points that it can write.
    """

    path: Path
    face: int
    characters: frozenset[int] = field(repr=False)

    def can_write(self, text: str) -> bool:
        """Say whether it has a glyph for each character."""
        return all(ord(char) in self.characters for char in text)


def find_fonts(font_file: Path | None = None) -> tuple[Font, ...]:
    """Return fonts to print Chinese with: the best first, then one that may know rarer characters.

    Raises:
        ConfigurationError: there is none, or ``font_file`` cannot be used.
    """
    if font_file is not None and _load(font_file) is None:
        raise ConfigurationError(
            f"{font_file} is no font with Chinese characters.", "Correct [enrolment] font_file."
        )
    found: list[Font] = []
    for path in ([font_file] if font_file is not None else []) + list(_candidates()):
        font = _load(path)
        if font is not None:
            found.append(font)
        if len(found) == 2:
            break
    if not found:
        raise ConfigurationError("No font with Chinese characters was found.", _REMEDY)
    return tuple(found)


def _candidates() -> Iterator[Path]:
    folders = [folder.expanduser() for folder in _FOLDERS]
    for name in _NAMES:
        for folder in folders:
            yield from sorted(folder.rglob(name))
    spec = find_spec(_PACKAGE)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        yield Path(place) / "NotoSansSC-Regular.otf"


def _load(path: Path) -> Font | None:
    try:
        with path.open("rb") as file:
            if path.suffix.lower() != ".ttc":
                return _face(path, 0, TTFont(file, lazy=True))
            faces = TTCollection(file, lazy=True).fonts
            number = _mainland_face(faces)
            return _face(path, number, faces[number])
    except (OSError, TTLibError, KeyError):
        return None


def _face(path: Path, number: int, font: TTFont) -> Font | None:
    face = Font(path, number, frozenset(font.getBestCmap() or ()))
    return face if face.can_write(_PROBE) else None


def _mainland_face(fonts: Iterable[TTFont]) -> int:
    for number, font in enumerate(fonts):
        name = font["name"].getBestFamilyName() or ""
        if name.endswith(_MAINLAND):
            return number
    return 0

"""PIN slips on paper: one sealed PDF of a school class, eight slips to a page (decision 15).

Nothing here writes a file or knows where names come from. Rules —

- a PDF opens with its passphrase only (AES-256); its properties hold no name and no number;
- a slip names the pupil in full, since it must reach the right child;
- a character that no font has is printed as 〓: the caller says which rows have one.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import segno
from fpdf import FPDF
from fpdf.enums import EncryptionMethod

from connector.enrolment.fonts import Font

__all__ = ["PER_PAGE", "Slip", "can_print", "new_passphrase", "render_slips"]

PER_PAGE = 8
_COLUMNS, _ROWS = 2, 4
_WIDTH, _HEIGHT = 105.0, 74.25
"""Millimetres of a slip: an eighth of A4."""
_MARGIN = 8.0
_QR = 23.0
_GAP = 5.0
"""Around the codes stays white what their standards ask for: four modules, ten narrow bars."""
_BARCODE_WIDTH, _BARCODE_HEIGHT = 60.0, 8.0
_GETA = "〓"
_GROUPS, _GROUP = 5, 4
_LEGIBLE = "23456789ABCDEFGHJKMNPQRSTUVWXYZ"
_HOW_ZH = (
    "借书：在自助借还机上扫条码、二维码或刷身份证，输入密码。密码请勿告诉他人，可在图书馆修改。"
)
_HOW_EN = (
    "To borrow: scan the barcode, the QR code or your ID card at a self-check machine, "
    "type the PIN. Tell it to nobody."
)
_NO_PIN_ZH, _NO_PIN_EN = "请到图书馆服务台设置", "ask at the desk"


@dataclass(frozen=True, slots=True)
class Slip:
    """What one pupil is handed.

    Attributes:
        row: row of the roster.
        pin: empty where nobody knows it; the desk sets a new one then.
    """

    library: str
    school: str
    class_name: str
    row: int | None
    name: str = field(repr=False)
    card: str
    pin: str = field(repr=False)


def new_passphrase() -> str:
    """Return twenty random characters in groups of four, none of which is mistaken for another."""
    groups = ("".join(secrets.choice(_LEGIBLE) for _ in range(_GROUP)) for _ in range(_GROUPS))
    return "-".join(groups)


def can_print(text: str, fonts: Sequence[Font]) -> bool:
    """Say whether each character is in one of the fonts."""
    return all(any(font.can_write(char) for font in fonts) for char in text if not char.isspace())


def render_slips(slips: Sequence[Slip], fonts: Sequence[Font], *, passphrase: str) -> bytes:
    """Return the slips as a PDF of A4 pages that opens with the passphrase.

    Args:
        fonts: the first writes what it can, the others what is left.
    """
    return _Sheet(fonts).render(slips, passphrase)


class _Sheet:
    """One PDF under way."""

    def __init__(self, fonts: Sequence[Font]) -> None:
        self._fonts = fonts

    @cached_property
    def _pdf(self) -> FPDF:
        pdf = FPDF(format="A4")
        pdf.set_auto_page_break(auto=False)
        pdf.set_margin(0)
        for number, font in enumerate(self._fonts):
            pdf.add_font(f"f{number}", fname=str(font.path), collection_font_number=font.face)
        pdf.set_title("PIN slips")
        pdf.set_lang("zh-CN")
        return pdf

    def render(self, slips: Sequence[Slip], passphrase: str) -> bytes:
        pdf = self._pdf
        pdf.set_encryption(
            owner_password=secrets.token_hex(24),
            user_password=passphrase,
            encryption_method=EncryptionMethod.AES_256,
        )
        for number, slip in enumerate(slips):
            place = number % PER_PAGE
            if place == 0:
                pdf.add_page()
                self._cut_lines()
            self._slip(slip, place % _COLUMNS * _WIDTH, place // _COLUMNS * _HEIGHT)
        return bytes(pdf.output())

    def _cut_lines(self) -> None:
        pdf = self._pdf
        pdf.set_draw_color(150)
        pdf.set_line_width(0.2)
        pdf.set_dash_pattern(dash=1.5, gap=1.5)
        pdf.line(_WIDTH, 0, _WIDTH, _HEIGHT * _ROWS)
        for row in range(1, _ROWS):
            pdf.line(0, _HEIGHT * row, _WIDTH * _COLUMNS, _HEIGHT * row)
        pdf.set_dash_pattern()
        pdf.set_draw_color(0)

    def _slip(self, slip: Slip, left: float, top: float) -> None:
        x, width = left + _MARGIN, _WIDTH - 2 * _MARGIN
        column = width - _QR - _GAP
        number = "" if slip.row is None else f"  ·  第 {slip.row} 行 Row {slip.row}"
        self._line(x, top + 9, width, 11, slip.library)
        self._line(x, top + 14, width, 9, f"{slip.school}  {slip.class_name}{number}")
        self._pdf.set_line_width(0.3)
        self._pdf.line(x, top + 16.5, x + width, top + 16.5)
        self._line(x, top + 25.5, column, 19, slip.name)
        self._label(x, top + 31.5, "读者卡号 Card number")
        self._line(x, top + 37.5, column, 15, _spaced(slip.card))
        self._barcode(x, top + 40, slip.card)
        self._label(x, top + 55, "密码 PIN")
        if slip.pin:
            self._line(x + 15, top + 56, column - 15, 18, " ".join(slip.pin))
        else:
            self._line(x + 15, top + 56, width - 15, 11, f"{_NO_PIN_ZH} / {_NO_PIN_EN}")
        self._qr(x + width - _QR, top + 21, slip.card)
        self._line(x, top + 62.5, width, 7, _HOW_ZH)
        self._line(x, top + 66.5, width, 6.2, _HOW_EN)

    def _label(self, x: float, y: float, text: str) -> None:
        self._pdf.set_text_color(90)
        self._line(x, y, _WIDTH, 7, text)
        self._pdf.set_text_color(0)

    def _line(self, x: float, y: float, width: float, size: float, text: str) -> None:
        """Write one line whose base line is ``y``, smaller where it would be too wide."""
        runs = self._runs(text)
        for _ in range(2):
            wide = sum(self._use(font, size).get_string_width(part) for font, part in runs)
            if wide <= width:
                break
            size *= 0.99 * width / wide
        for font, part in runs:
            pdf = self._use(font, size)
            pdf.text(x, y, part)
            x += pdf.get_string_width(part)

    def _use(self, font: int, size: float) -> FPDF:
        self._pdf.set_font(f"f{font}", size=size)
        return self._pdf

    def _runs(self, text: str) -> list[tuple[int, str]]:
        """Return the text in parts, each with the number of a font that can write it."""
        runs: list[tuple[int, str]] = []
        for wanted in text:
            fits = (n for n, font in enumerate(self._fonts) if font.can_write(wanted))
            font, char = next(fits, None), wanted
            if font is None:
                font, char = 0, _GETA if self._fonts[0].can_write(_GETA) else "?"
            if runs and runs[-1][0] == font:
                runs[-1] = (font, runs[-1][1] + char)
            else:
                runs.append((font, char))
        return runs

    def _barcode(self, x: float, y: float, card: str) -> None:
        """Draw Code 39, which needs no check character and which every scanner reads."""
        wide = min(1.05, _BARCODE_WIDTH / ((len(card) + 2) * (3 + 7 / 3)))
        self._pdf.code39(f"*{card}*", x=x, y=y, w=wide, h=_BARCODE_HEIGHT)

    def _qr(self, x: float, y: float, card: str) -> None:
        matrix = segno.make(card, error="m", micro=False).matrix
        side = _QR / len(matrix)
        self._pdf.set_fill_color(0)
        for row, modules in enumerate(matrix):
            start: int | None = None
            for column, dark in enumerate([*modules, 0]):
                if dark and start is None:
                    start = column
                elif not dark and start is not None:
                    self._pdf.rect(
                        x + start * side, y + row * side, (column - start) * side, side, style="F"
                    )
                    start = None


def _spaced(card: str) -> str:
    """Return a card number in groups, its digits by fours from the end, as people read it out."""
    digits = card.lstrip("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    head = len(digits) % 4
    head += 4 if head == 1 else 0
    groups = [card[: len(card) - len(digits)], digits[:head]]
    groups += [digits[at : at + 4] for at in range(head, len(digits), 4)]
    return " ".join(filter(None, groups))

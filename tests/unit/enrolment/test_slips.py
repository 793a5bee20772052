"""PIN slips: sealed, eight to a page, the right name on each; looked at as a picture."""

import io
from dataclasses import replace
from pathlib import Path

import pypdfium2
import pytest
import zxingcpp
from PIL import Image

from connector.domain.online_card import is_online_card
from connector.enrolment.fonts import find_fonts
from connector.enrolment.slips import Slip, can_print, new_passphrase, render_slips
from connector.enrolment.tokens import draw_token, new_token
from connector.errors import ConfigurationError

try:
    FONTS = find_fonts()
except ConfigurationError as none:
    pytest.skip(str(none), allow_module_level=True)

SLIP = Slip("县图书馆", "第一小学", "三年级2班", 2, "张小明", "FD0000018", "482913")
PASSPHRASE = "AB23-CD45"


def render(slips, fonts=FONTS):
    return render_slips(slips, fonts, passphrase=PASSPHRASE)


def text_of(pdf, page=0):
    return pypdfium2.PdfDocument(pdf, password=PASSPHRASE)[page].get_textpage().get_text_range()


def test_nobody_opens_the_slips_without_the_passphrase():
    pdf = render([SLIP])
    for wrong in (None, "", "AB23-CD46"):
        with pytest.raises(pypdfium2.PdfiumError):
            pypdfium2.PdfDocument(pdf, password=wrong)
    assert b"/AESV3" in pdf
    for secret in ("张小明", "482913", "FD0000018"):
        for encoding in ("utf-8", "utf-16-be"):
            assert secret.encode(encoding) not in pdf


def test_eight_slips_are_a_page_and_each_has_its_own_pin():
    slips = [
        replace(SLIP, row=n, name=f"张{c}", pin=f"90{n:04}")
        for n, c in enumerate("天地人你我他日月风", 2)
    ]
    pdf = render(slips)
    assert len(pypdfium2.PdfDocument(pdf, password=PASSPHRASE)) == 2
    texts = [text_of(pdf), text_of(pdf, 1)]
    for n, slip in enumerate(slips):
        assert slip.name in texts[n // 8]
        assert " ".join(slip.pin) in texts[n // 8]
    assert texts[0].count("密码 PIN") == 8
    assert "张风" not in texts[0]


def test_name_and_qr_code_are_there_to_see():
    page = pypdfium2.PdfDocument(render([SLIP]), password=PASSPHRASE)[0]
    picture = page.render(scale=4).to_pil().convert("L")
    mm = picture.width / 210

    def ink(left, top, right, bottom):
        part = picture.crop(tuple(round(mm * edge) for edge in (left, top, right, bottom)))
        return sum(part.histogram()[:128]) / (part.width * part.height)

    assert ink(8, 19, 30, 27) > 0.05, "the name"
    assert 0.3 < ink(74, 21, 97, 44) < 0.7, "the QR code"
    assert 0.2 < ink(8, 40, 66, 48) < 0.8, "the barcode"
    assert ink(113, 19, 200, 60) == 0, "the next place on the page is empty"


def test_a_reader_reads_every_barcode_and_qr_code():
    cards = ["FD0000018", "0000000018", "ABCDEFGHIJKL9999999"] * 3
    slips = [replace(SLIP, card=card) for card in cards[:8]]
    page = pypdfium2.PdfDocument(render(slips), password=PASSPHRASE)[0]
    read = zxingcpp.read_barcodes(page.render(scale=300 / 72).to_pil())
    for kind in (zxingcpp.BarcodeFormat.QRCode, zxingcpp.BarcodeFormat.Code39):
        assert sorted(code.text for code in read if code.format == kind) == sorted(cards[:8])


def test_a_long_name_stays_left_of_the_qr_code():
    long = replace(SLIP, name="阿卜杜热合曼·买买提依明" * 2)
    page = pypdfium2.PdfDocument(render([long]), password=PASSPHRASE)[0]
    boxes = page.get_textpage()
    right = max(boxes.get_charbox(n)[2] for n in range(boxes.count_chars()))
    assert right / 72 * 25.4 < 97.5
    assert long.name in text_of(render([long]))


def test_where_nobody_knows_the_pin_the_slip_says_where_to_ask():
    assert "ask at the desk" in text_of(render([replace(SLIP, pin="")]))


def test_a_character_that_no_font_has_is_told_beforehand_and_marked(recwarn, caplog):
    unknown = "\U0010fffd"
    assert can_print("张小明 · Card", FONTS)
    assert not can_print(f"张{unknown}", FONTS)
    text = text_of(render([replace(SLIP, name=f"张{unknown}")]))
    assert "张〓" in text
    assert not recwarn.list
    assert not caplog.records


def test_the_text_of_a_slip_is_not_in_its_repr():
    assert "张小明" not in repr(SLIP)
    assert "482913" not in repr(SLIP)


def test_a_file_that_is_no_chinese_font_is_refused(tmp_path):
    file = tmp_path / "font.ttf"
    file.write_bytes(b"nothing")
    for path in (file, tmp_path / "missing.ttf", Path(__file__)):
        with pytest.raises(ConfigurationError, match="font_file"):
            find_fonts(path)


def test_the_font_of_the_settings_is_the_first():
    given = FONTS[-1].path
    assert find_fonts(given)[0].path == given


def test_without_a_font_the_remedy_is_one_line(monkeypatch):
    monkeypatch.setattr("connector.enrolment.fonts._candidates", lambda: iter(()))
    with pytest.raises(ConfigurationError) as refused:
        find_fonts()
    assert "apt install" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_passphrases_differ_and_can_be_read_out():
    made = {new_passphrase() for _ in range(50)}
    assert len(made) == 50
    assert all(len(each) == 24 and not set(each) & set("01IOLl") for each in made)


def test_an_online_card_is_drawn_without_its_text():
    token = new_token()
    picture = Image.open(io.BytesIO(draw_token(token, "png")))
    (code,) = zxingcpp.read_barcodes(picture)
    assert (code.text, is_online_card(code.text)) == (token, True)
    assert token.encode() not in draw_token(token, "svg")
    assert new_token() != token

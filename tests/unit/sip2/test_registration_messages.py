"""What a registration machine's 81 becomes, whichever driver wrote it, and what of it is shown to who watches."""

from __future__ import annotations

from datetime import date

import pytest

from connector.sip2.codec import Message, decode
from connector.sip2.dialects import CHINESE_KIOSK
from connector.sip2.handlers.registration import read_cells
from connector.sip2.tags import MASK, describe_fields
from connector.sip2.terminal import WireProfile
from tests.support.id_numbers import id_number

TODAY = date(2026, 11, 21)
NUMBER = id_number(7)
LONG, SHORT = "20261121    100000", "20261121100000"
TAIL = f"AA13800001234|AD123456|AE 欧阳瑋 |AM丰都一小|BD笼子路7号|XO{NUMBER}|XM1|XH20150301|XK11|"
HEADS = {
    "date": f"81{LONG}AO|",
    "date with zone": "8120261121   Z100000AO|",
    "flags and date": f"81YN{LONG}AO|",
    "flags and two dates": f"81YN{LONG}{LONG}AO|",
    "flags and two short dates": f"81YN{SHORT}    {SHORT}    AO|",
    "short date": f"81{SHORT}AO|",
    "delimiter after the date": f"81{LONG}|AO|",
    "nothing": "81AO|",
}


def read(text: str, *, encoding: str = "gbk") -> Message:
    profile = WireProfile(encoding=encoding, dialect=CHINESE_KIOSK.name)
    message = decode(text.encode(encoding), profile).message
    assert message is not None
    return message


@pytest.mark.parametrize("head", HEADS.values(), ids=HEADS)
@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "utf-8"])
def test_every_driver_shape_gives_the_same_pupil(head: str, encoding: str) -> None:
    message = read(f"{head}{TAIL}MP13900001234|AY3AZEDB7", encoding=encoding)
    assert read_cells(message, TODAY) == {
        "name": "欧阳瑋",
        "id_number": NUMBER,
        "phone": "13900001234",
    }


@pytest.mark.parametrize(
    ("tags", "phone"),
    [("MP139|BP023|", "139"), ("MP|BP023|", "023"), ("BP023|", "023"), ("", "")],
)
def test_the_mobile_phone_comes_first(tags: str, phone: str) -> None:
    assert read_cells(read(f"81{LONG}AO|{TAIL}{tags}"), TODAY)["phone"] == phone


def test_a_student_number_may_stand_for_the_identity_number() -> None:
    message = read(f"81{LONG}AO|AE丁一一|XOG{NUMBER}|XK11|")
    assert read_cells(message, TODAY) == {"name": "丁一一", "student_no": f"G{NUMBER}", "phone": ""}


def test_who_watches_sees_nobody() -> None:
    message = read(f"81{LONG}AOLIB|{TAIL}MP13900001234|BP02386543210|KD654321|AC99|")
    shown = {tag: value for tag, _, value in describe_fields(message)}
    assert shown.pop("AO") == "LIB"
    assert shown.pop("XK") == "11"
    assert set(shown.values()) == {MASK}
    told = {tag for tag, _, value in describe_fields(message, show=True) if value}
    assert {"BP", "MP", "XO", "AD", "KD"} <= told


def test_answers_are_masked_too() -> None:
    for text in (f"92{LONG}AO|AC1|XO{NUMBER}|AAc1|", f"86{LONG}AO|OXc1]]c2|AE丁一一|"):
        shown = [value for _, _, value in describe_fields(read(text)) if value]
        assert set(shown) == {MASK}


def test_a_phone_of_a_63_is_no_phone() -> None:
    message = Message("63", {}, [("AO", ""), ("AA", "c1"), ("BP", "1"), ("BQ", "5")])
    shown = {tag: value for tag, _, value in describe_fields(message)}
    assert (shown["BP"], shown["AA"]) == ("1", MASK)

"""What a SIP2 ILS says on its way to a kiosk: whole for people whom we did not enrol, beside our answer for pupils."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.ports.ils import CheckoutResult
from connector.sip2.codec import Message
from connector.sip2.spec import BX_ORDER
from connector.sip2.terminal import WireProfile
from connector.testing.fake_ils import FakeIls, koha_a
from tests.support.passing_world import CODE, NO_DATE, PassingWorld
from tests.support.scripted_ils import answer as reply
from tests.support.scripted_ils import status
from tests.support.world import World

FREE = " " * 14
Make = Callable[..., PassingWorld]


@pytest.fixture
def make(make_world: Callable[..., World], tmp_path: Path) -> Iterator[Make]:
    made: list[PassingWorld] = []

    def build(**options: object) -> PassingWorld:
        one = PassingWorld(make_world, tmp_path, **options)  # type: ignore[arg-type]
        made.append(one)
        return one

    yield build
    for one in made:
        one.close()


@pytest.fixture
def library(make: Make) -> PassingWorld:
    return make(terminal="mask_name = false\npermissions = ['item_status']")


ODD = [("ZZ", "1"), ("AF", "first"), ("XQ", ""), ("ZZ", "2"), ("AG", "print"), ("AF", "second")]
"""Unknown tags, repeats, an empty one, screen messages before the required tags."""

PASSED = [
    ("24", "23019{now}AOK|AAA9|AC|", {"patron_status": FREE}, [("AA", "A9"), ("AE", "王小明")]),
    ("64", "63019{now}          AOK|AAA9|", {"patron_status": FREE}, [("AE", "王"), ("AA", "A9")]),
    ("12", "11NN{now}{no}AOK|AAA9|ABB1|AC|", {"ok": "1"}, [("AH", "morgen"), ("AB", "B1")]),
    ("12", "11NN{now}{no}AOK|AAA9|ABB1|AC|", {"ok": "0"}, [("BT", "06"), ("BV", "1,50")]),
    ("30", "29NN{now}{no}AOK|AAA9|ABB1|", {"ok": "1"}, [("AJ", "红楼梦"), ("AA", "A9")]),
    ("10", "09N{now}{now}AP|AOK|ABB1|AC|", {"ok": "1", "alert": "Y"}, [("CT", "X"), ("CV", "04")]),
    ("66", "65{now}AOK|AAA9|", {"ok": "1"}, [("BN", "B2"), ("BM", "B1"), ("BN", "B3")]),
    ("18", "17{now}AOK|ABB1|", {"circulation_status": "08"}, [("KC", "I2"), ("AB", "B1")]),
    ("16", "15+{now}AOK|AAA9|AJ红楼梦|", {"ok": "1"}, [("MA", "17"), ("BR", "2")]),
    ("38", "37{now}0100CNYBV1.00|AOK|AAA9|", {"payment_accepted": "Y"}, [("BK", "T1")]),
    ("20", "19{now}AOK|ABB1|CHtorn|AC|", {"item_properties_ok": "1"}, [("CH", "torn")]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "frame", "fixed", "fields"), PASSED)
def test_whatever_the_ils_says_of_others_comes_back_in_order_with_repeats(
    library: PassingWorld, code, frame, fixed, fields
) -> None:
    if code in {"12", "30"}:  # whose number it is, is asked first
        library.says("64", {"patron_status": FREE}, ("AA", "A9"), ("AE", "x"), ("BL", "Y"))
    library.says(code, {**fixed, "transaction_date": library.now}, *ODD, *fields, ("AO", "ILS"))
    said = library.raw(frame.format(now=library.now, no=NO_DATE))
    expected = "|".join(tag + value for tag, value in [*ODD, *fields, ("AO", "K")])
    assert said.startswith(code)
    assert f"{expected}|" in said


def test_what_a_required_tag_lacks_is_added_last(library: PassingWorld) -> None:
    library.ils.once("23", f"24{FREE}019{library.now}ZZ1|AE王小明|\r".encode())
    said = library.raw(f"23019{library.now}AOK|AAA9|AC|")
    assert said == f"24{FREE}019{library.now}ZZ1|AE王小明|AOK|AAA9|"


def test_the_request_goes_on_with_every_tag(library: PassingWorld) -> None:
    library.raw(f"63019{library.now}     Y    AOK|AAA9|ACterminal|AD13 57|BP2|BQ3|ZZ1|ZZ2|")
    sent = library.ils.last("63")
    assert sent.fixed["summary"] == "     Y    "
    assert [sent.get(tag) for tag in ("AA", "AD", "BP", "BQ")] == ["A9", "13 57", "2", "3"]
    assert sent.get_all("ZZ") == ["1", "2"]
    assert sent.get("AO") == CODE, "what the library agreed on with its ILS"
    assert not sent.get("AC"), "the terminal's password is for us"
    assert library.ils.counts["63"] == 1


def test_a_public_screen_gets_no_personal_tag_and_no_terminal_a_password(make: Make) -> None:
    library = make()
    personal = [("PB", "20100101"), ("BD", "Street"), ("BE", "e"), ("BF", "1"), ("XO", "5002")]
    secret = [("AD", "1357"), ("AC", "x"), ("KD", "2468"), ("CO", "y")]
    fields = [("AA", "A9"), ("AE", "王小明"), *personal, *secret, ("PA", "20301231")]
    library.says("64", {"patron_status": FREE}, *fields)
    said = library.raw(f"63019{library.now}          AOK|AAA9|")
    assert said.endswith("AAA9|AE王*|PA20301231|AOK|")


def test_the_terminals_own_tags_are_hidden_all_the_same(make: Make) -> None:
    library = make(terminal="hidden_tags = ['ZZ']\nmask_name = false")
    library.says(
        "24", {"patron_status": FREE}, ("ZZ", "1"), ("AA", "A9"), ("AE", "王"), ("XX", "2")
    )
    assert library.raw(f"23019{library.now}AOK|AAA9|AC|").endswith("AAA9|AE王|XX2|AOK|")


def test_an_identity_number_is_masked_where_the_terminal_says_so(make: Make) -> None:
    library = make(terminal="mask_id = true")
    number = "500230201503010015"
    library.says("24", {"patron_status": FREE}, ("AA", number), ("AE", "王小明"))
    said = library.raw(f"23019{library.now}AOK|AA{number}|AC|")
    assert number not in said
    assert library.ils.last("23").get("AA") == number


def test_who_waits_is_told_to_staff_only(make: Make) -> None:
    waits = [("CY", "A7"), ("DA", "李四"), ("BF", "139")]
    public = make(terminal="mask_name = false")
    public.says("10", {"ok": "1", "alert": "Y"}, ("AB", "B1"), ("CV", "01"), *waits)
    assert public.raw(f"09N{public.now}{public.now}AP|AOK|ABB1|AC|").endswith("ABB1|CV01|AOK|AQ|")
    public.close()


def test_who_waits_is_told_to_staff(make: Make) -> None:
    waits = [("CY", "A7"), ("DA", "李四"), ("BF", "139")]
    desk = make(terminal="mask_name = false\nkind = 'desk'")
    desk.says("10", {"ok": "1", "alert": "Y"}, ("AB", "B1"), ("CV", "01"), *waits)
    said = desk.raw(f"09N{desk.now}{desk.now}AP|AOK|ABB1|AC|")
    assert said.endswith("ABB1|CV01|CYA7|DA李四|BF139|AOK|AQ|")


def test_whose_the_returned_book_was_is_not_told_of_a_pupil(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    for number in ("700123", "A9"):
        library.says("10", {"ok": "1"}, ("AB", "B1"), ("AA", number))
    frame = f"09N{library.now}{library.now}AP|AOK|ABB1|AC|"
    assert "AA" not in library.raw(frame)
    assert "|AAA9|" in library.raw(frame)


def test_a_vendors_tag_tells_no_pupils_number_either(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    about = [("AB", "B1"), ("AJ", "书"), ("AK", "700123x"), ("ZZ", "1")]
    for number in ("700123", "A9"):
        library.says("18", {"circulation_status": "04"}, *about, ("XP", number))
    frame = f"17{library.now}AOK|ABB1|"
    assert library.raw(frame).endswith("ABB1|AJ书|AK700123x|ZZ1|")
    assert library.raw(frame).endswith("|ZZ1|XPA9|")


def test_among_too_many_numbers_none_is_shown_unseen(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    many = [("XP", str(number)) for number in range(40)]
    library.says("18", {"circulation_status": "04"}, ("AB", "B1"), *many, ("XP", "700123"))
    said = library.raw(f"17{library.now}AOK|ABB1|")
    assert "|XP15|" in said
    assert "|XP16|" not in said
    assert "700123" not in said


@pytest.mark.parametrize("code", ["15", "65", "29", "11", "37", "23"])
def test_only_the_patron_who_was_looked_at_goes_on(library: PassingWorld, code: str) -> None:
    """Some systems take the last of two patrons."""
    library.enrol("S1", ils_number="700123")
    frames = {
        "15": "15+{now}AOK|AAA9|AAS1|AA700123|ABB1|ABB2|AD1|AD2|",
        "65": "65{now}AOK|AAA9|AAS1|AA700123|AD1|AD2|",
        "29": "29NN{now}{no}AOK|AAA9|AAS1|ABB1|ABB2|AD1|AD2|",
        "11": "11NN{now}{no}AOK|AAA9|AAS1|ABB1|ABB2|AC|AD1|AD2|",
        "37": "37{now}0100CNYBV1.00|AOK|AAA9|AAS1|AD1|AD2|",
        "23": "23019{now}AOK|AAA9|AAS1|AC|AD1|AD2|",
    }
    library.raw(frames[code].format(now=library.now, no=NO_DATE))
    sent = library.ils.last(code)
    assert [sent.get_all(tag) for tag in ("AA", "AD")] == [["A9"], ["1"]]
    assert sent.get_all("AB") in (["B1"], [])


# -- pupils ----------------------------------------------------------------------------------------

PUPIL = [("AA", "700123"), ("AE", "张小江"), ("BL", "Y")]


def counted(**counts: int) -> dict[str, str]:
    return {"patron_status": FREE} | {f"{name}_count": f"{n:04d}" for name, n in counts.items()}


def test_the_stricter_of_both_in_64(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    fixed = counted(hold=3, charged=1, fine=2, recall=1, unavailable_hold=4)
    fixed["patron_status"] = "   Y          "
    more = [("CB", "0005"), ("BZ", "0009"), ("AQ", "MAIN"), ("ZZ", "1"), ("AU", "B1"), ("AF", "嗨")]
    library.says("64", fixed, *PUPIL, *more, ("ZZ", "2"), ("PA", "20301231"))
    answer = library.kiosk.information("S1")
    assert answer.fixed["patron_status"] == "   Y          "
    names = ("hold", "overdue", "charged", "fine", "recall", "unavailable_hold")
    assert [int(answer.fixed[f"{name}_count"]) for name in names] == [3, 0, 1, 2, 1, 4]
    assert answer.get_all("CB") == ["0005"], "theirs is smaller"
    assert answer.get("AA") == "S1", "as scanned"
    assert [answer.get("BZ"), answer.get("AQ"), answer.get("PA")] == ["0009", "MAIN", "20301231"]
    assert answer.get_all("ZZ") == ["1", "2"]
    assert answer.get_all("AU") == ["B1"]
    assert answer.get_all("AF") == ["嗨"]
    assert library.ils.counts["63"] == 1


def test_our_limit_where_it_is_the_smaller_and_our_words_first(make: Make) -> None:
    library = make(policy="max_items = 2")
    library.enrol("S1", ils_number="700123")
    held = [("AU", "B1 书一"), ("AU", "B2"), ("CB", "0030"), ("AF", "欢迎")]
    for _ in range(2):
        library.says("64", counted(charged=2), *PUPIL, *held)
    answer = library.kiosk.information("S1")
    assert answer.fixed["patron_status"][5] == "Y"
    assert answer.get_all("CB") == ["0002"]
    assert answer.get_all("AF") == ["您已借满 2 册", "欢迎"]
    status = library.kiosk.ask("23", {"language": "019"}, ("AA", "S1"))
    assert status.code == "24"
    assert not any(status.has(tag) for tag in ("CB", "AU", "BZ"))


@pytest.mark.parametrize(("at", "tag"), [(0, "AS"), (3, "AV"), (4, "BU"), (5, "CD")])
def test_a_list_that_only_the_ils_has_comes_from_it(
    library: PassingWorld, at: int, tag: str
) -> None:
    library.enrol("S1", ils_number="700123")
    summary = "".join("Y" if n == at else " " for n in range(10))
    library.says("64", counted(hold=3), *PUPIL)
    library.says("64", counted(hold=3), *PUPIL, (tag, "one"), (tag, "two"), ("AU", "B1"))
    fixed = {"language": "000", "summary": summary}
    answer = library.kiosk.ask("63", fixed, ("AA", "S1"), ("BP", "2"), ("BQ", "3"))
    assert answer.get_all(tag) == ["one", "two"]
    assert not answer.has("AU")
    sent = library.ils.last("63")
    assert sent.fixed["summary"] == summary
    assert [sent.get(one) for one in ("AA", "BP", "BQ")] == ["700123", "2", "3"]
    assert not sent.has("AD")
    assert library.ils.counts["63"] == 2, "one read, and one more for the list"


@pytest.mark.parametrize(("rule", "told"), [("never", []), ("if_sent", ["2580", "2580"])])
def test_a_pin_goes_on_only_where_it_may_be_asked_for(
    make: Make, rule: str, told: list[str]
) -> None:
    library = make(terminal=f"pin = '{rule}'")
    library.enrol("S1", ils_number="700123")
    for _ in range(2):
        library.says("64", counted(), *PUPIL, ("CQ", "Y"))
    fixed = {"language": "000", "summary": "Y         "}
    library.kiosk.ask("63", fixed, ("AA", "S1"), ("AD", "2580"))
    assert [one.get("AD") for one in library.ils.seen if one.code == "63" and one.has("AD")] == told
    library.says("64", counted(), *PUPIL, ("CQ", "Y"))
    library.kiosk.ask("15", {"hold_mode": "+"}, ("AA", "S1"), ("AB", "B1"), ("AD", "2580"))
    assert library.ils.last("15").get_all("AD") == told[:1]


def test_a_wrong_pin_gets_no_second_read(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    library.says("64", counted(hold=1), *PUPIL, ("CQ", "N"))
    fixed = {"language": "000", "summary": "Y         "}
    answer = library.kiosk.ask("63", fixed, ("AA", "S1"), ("AD", "0000"))
    assert answer.get("CQ") == "N"
    assert library.ils.counts["63"] == 1


def test_a_number_that_only_the_ils_knows_shows_the_pupil(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    for _ in range(2):
        library.says("64", counted(), *PUPIL, ("CB", "0030"))
    answer = library.kiosk.information("OLD777")
    assert answer.get_all("CB") == ["0008"]


LENT = {"ok": "1", "renewal_ok": "N", "magnetic": "Y", "desensitize": "Y"}


def lend(library: PassingWorld, **fixed: str) -> Message:
    library.says("64", counted(), *PUPIL)
    library.says("18", {"circulation_status": "03"}, ("AB", "B1"), ("AJ", "城南旧事"))
    more = [
        ("BK", "T9"),
        ("CI", "N"),
        ("ZZ", "1"),
        ("AF", "请按时归还"),
        ("ZZ", "2"),
        ("AG", "小票"),
    ]
    book = [("AA", "700123"), ("AB", "B1"), ("AJ", "城南旧事"), ("AH", "2026-12-21 23:59:59")]
    library.says("12", LENT | fixed, *book, *more)
    return library.kiosk.checkout("S1", "B1")


def test_a_pupils_checkout_keeps_what_the_ils_added(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    answer = lend(library)
    assert (answer.fixed["ok"], answer.fixed["magnetic"], answer.fixed["desensitize"]) == (
        "1",
        "Y",
        "Y",
    )
    assert answer.get_all("AF") == ["借书成功，应还日期 2026-12-21", "请按时归还"]
    assert [answer.get(tag) for tag in ("BK", "CI", "AG")] == ["T9", "N", "小票"]
    assert answer.get_all("ZZ") == ["1", "2"]
    assert answer.get("AH") == "2026-12-21 23:59:59", "in the form that its kiosks know"
    assert (answer.get("AA"), answer.get("AB")) == ("S1", "B1")


@pytest.mark.parametrize("told", ["N", "U", "Y"])
def test_what_the_ils_says_of_the_gate(library: PassingWorld, told: str) -> None:
    library.enrol("S1", ils_number="700123")
    assert lend(library, desensitize=told).fixed["desensitize"] == ("N" if told == "N" else "Y")


def test_a_repeat_lets_the_book_through_the_gate(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    assert lend(library, desensitize="N").fixed["desensitize"] == "N"
    library.says("64", counted(charged=1), *PUPIL, ("AU", "B1"))
    library.says("18", {"circulation_status": "04"}, ("AB", "B1"), ("AJ", "城南旧事"))
    again = library.kiosk.checkout("S1", "B1")
    assert (again.fixed["ok"], again.fixed["desensitize"]) == ("1", "Y")
    assert library.ils.counts["11"] == 1


def test_a_refusal_of_the_ils_keeps_its_words_and_its_fee(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    fee = [("BT", "06"), ("BH", "CNY"), ("BV", "1.50"), ("ZZ", "1")]
    library.says("64", counted(), *PUPIL)
    library.says("18", {"circulation_status": "03"}, ("AB", "B1"), ("AJ", "城南旧事"))
    fixed = {"ok": "0", "desensitize": "Y"}
    library.says("12", fixed, ("AA", "700123"), ("AF", "需付费"), ("AF", "1.50 元"), *fee)
    answer = library.kiosk.checkout("S1", "B1")
    assert (answer.fixed["ok"], answer.fixed["desensitize"]) == ("0", "N")
    assert answer.get_all("AF") == ["需付费", "1.50 元"]
    assert [(tag, answer.get_all(tag)) for tag, _ in fee] == [(tag, [value]) for tag, value in fee]


def test_a_hold_of_a_pupil_passes_whole_in_his_name(library: PassingWorld) -> None:
    library.enrol("S1", ils_number="700123")
    library.says("16", {"ok": "1"}, ("ZZ", "1"), ("AA", "700123"), ("BR", "2"), ("AF", "好"))
    frame = f"15*{library.now}BW{library.now}|BSMAIN|BY2|AOK|AAS1|AJ红楼梦|MA77|BOY|"
    assert library.raw(frame).endswith("ZZ1|AAS1|BR2|AF好|AOK|")
    sent = library.ils.last("15")
    assert sent.fixed["hold_mode"] == "*"
    wanted = {"AA": "700123", "BS": "MAIN", "BY": "2", "AJ": "红楼梦", "MA": "77", "BO": "Y"}
    assert {tag: sent.get(tag) for tag in wanted} == wanted


# -- scanners, injection, items of others ----------------------------------------------------------


def test_blanks_around_what_was_scanned_are_cut_once_and_echoed(library: PassingWorld) -> None:
    library.says("18", {"circulation_status": "03"}, ("AB", "B1"), ("AJ", "书"))
    said = library.raw(f"17{library.now}AOK|AB \x07B1\t |")
    assert library.ils.last("17").get("AB") == "B1"
    assert "AB B1" in said, "as it came, without what would break the frame"
    library.raw(f"23019{library.now}AOK|AA\u3000A9 |AC|AD 12 |")
    assert library.ils.last("23").get("AA") == "A9"
    assert library.ils.last("23").get("AD") == " 12 ", "a PIN is nobody's to change"


def test_a_delimiter_in_a_value_does_not_make_a_field(make: Make) -> None:
    library = make(terminal="delimiter = '^'", profile=WireProfile(delimiter="^"))
    library.raw(f"17{library.now}AOK^ABB1|CHstolen^ZZa|ABB2^")
    sent = library.ils.last("17")
    assert sent.get_all("AB") == ["B1 CHstolen"]
    assert sent.get("ZZ") == "a ABB2"
    assert not sent.has("CH")


def test_an_item_of_another_library_is_asked_of_its_own_ils(make: Make) -> None:
    other = koha_a()
    other.new_item("C77", "远方的书")
    library = make(others={"KOHA-A": other})
    library.says("18", {"circulation_status": "01"}, ("AB", "C77"), ("AJ", ""))
    answer = library.kiosk.item("CN-KOHA-A:C77")
    assert (answer.get("AJ"), answer.get("BG"), answer.fixed["circulation_status"]) == (
        "远方的书",
        "KOHA-A",
        "03",
    )


def test_a_read_without_an_answer_is_an_ils_that_is_away(make: Make) -> None:
    library = make(answer_s=0.3)
    library.enrol("S1", ils_number="700123")
    library.ils.answers |= dict.fromkeys(("63", "17"), lambda _: b"")
    away = "图书馆系统暂时无法连接，请稍后再试"
    assert library.kiosk.information("S1").get("AF") == away
    assert library.kiosk.information("A9").get("AF") == away
    assert library.kiosk.item("B1").get("AF") == away
    assert library.kiosk.checkout("S1", "B1").get("AF") == away
    assert library.kiosk.renew("S1", "B1").get("AF") == away
    assert library.ils.counts["11"] == 0


# -- what this ILS does not do ---------------------------------------------------------------------


def test_an_ils_without_23_is_asked_by_63(make: Make) -> None:
    library = make(settings={"features": {"patron_status": False}}, terminal="mask_name = false")
    library.says("64", {"patron_status": FREE}, ("AA", "A9"), ("AE", "王小明"), ("BL", "Y"))
    answer = library.kiosk.ask("23", {"language": "019"}, ("AA", "A9"))
    assert (answer.code, answer.get("AE"), answer.get("BL")) == ("24", "王小明", "Y")
    assert library.ils.counts["23"] == 0


def test_an_ils_without_65_is_told_of_each_loan(make: Make) -> None:
    library = make()
    bx = "".join("N" if code == "65" else "Y" for code in BX_ORDER)
    library.ils.answers["99"] = lambda request: status(request, bx=bx)
    held = [("AA", "A9"), ("AE", "王小明"), ("BL", "Y"), ("AU", "B1"), ("AU", "B2")]
    library.ils.answers["63"] = lambda request: reply(
        request, dict(held), patron_status=FREE, charged_count="0001"
    )
    answer = library.kiosk.ask("65", {}, ("AA", "A9"))
    assert (answer.code, answer.get_all("BM")) == ("66", ["B2"])
    assert library.ils.counts["65"] == 0
    assert library.ils.counts["29"] == 1


# -- cards, modes, notes ---------------------------------------------------------------------------

KEEPS_CARDS = {"features": {"block_patron": True, "patron_enable": True}}
MAY_KEEP_CARDS = "permissions = ['block_patron', 'enable_patron']"


def test_a_card_is_kept_with_the_words_of_the_terminal(make: Make) -> None:
    library = make(settings=KEEPS_CARDS, terminal=MAY_KEEP_CARDS)
    library.enrol("S1", ils_number="700123")
    for card, number in (("A9", "A9"), ("S1", "700123")):
        fields = [("ZZ", "1"), ("AA", number), ("AE", "王小明"), ("BL", "Y"), ("AF", "已停用")]
        library.ils.once(
            "01", Message("24", {"patron_status": "YYYY          "}, fields, in_order=True)
        )
        library.says("64", {"patron_status": "YYYY          "}, *fields)
        answer = library.kiosk.ask("01", {"card_retained": "Y"}, ("AL", "拾到"), ("AA", card))
        assert answer.fixed["patron_status"].startswith("YYYY")
        assert (answer.get("AA"), answer.get("ZZ"), answer.get("AF")) == (card, "1", "已停用")
        sent = library.ils.last("01")
        assert (sent.get("AA"), sent.get("AL"), sent.fixed["card_retained"]) == (
            number,
            "拾到",
            "Y",
        )
    assert library.ils.counts["01"] == 2


def test_a_card_is_enabled_once(make: Make) -> None:
    library = make(settings=KEEPS_CARDS, terminal=MAY_KEEP_CARDS)
    library.enrol("S1", ils_number="700123")
    library.says("26", {"patron_status": FREE}, *PUPIL, ("ZZ", "1"))
    library.says("64", {"patron_status": FREE}, *PUPIL)
    answer = library.kiosk.ask("25", {}, ("AA", "S1"))
    assert (answer.code, answer.fixed["patron_status"], answer.get("ZZ")) == ("26", FREE, "1")
    assert library.ils.counts["25"] == 1


@pytest.mark.parametrize("mode", ["observe", "bypass"])
def test_a_pupil_where_the_policy_only_watches(make: Make, mode: str) -> None:
    library = make(modes={CODE: mode}, terminal="mask_name = false")
    library.enrol("S1")
    library.says(
        "64", {"patron_status": "YYYY          "}, ("ZZ", "1"), ("AA", "S1"), ("CB", "0030")
    )
    said = library.raw(f"63019{library.now}          AOK|AAS1|")
    assert said.startswith("64YYYY")
    assert said.endswith("ZZ1|AAS1|CB0030|AOK|AE|")


def test_renew_all_passes_whole_in_observe_mode_and_is_judged_and_learnt(make: Make) -> None:
    library = make(modes={CODE: "observe"}, policy="max_renewals = 0")
    library.enrol("S1")
    held = [("AA", "S1"), ("AE", "张小江"), ("BL", "Y"), ("AU", "B1")]
    library.says("64", counted(charged=1), *held)
    library.says("66", {"ok": "1", "renewed_count": "0001"}, ("ZZ", "1"), ("BM", "B1"), ("AO", "I"))
    said = library.raw(f"65{library.now}AOK|AAS1|")
    assert said.startswith("6610001")
    assert said.endswith("ZZ1|BMB1|AOK|")
    verbs = [row["verb"] for row in library.world.rows("event")]
    assert "would_refuse" in verbs
    assert [row["renewals"] for row in library.world.rows("loan")] == [1]
    assert library.ils.counts["29"] == 0


def test_what_an_adult_renews_is_noted_without_a_person(library: PassingWorld) -> None:
    library.says("64", {"patron_status": FREE}, ("AA", "A9"), ("BL", "Y"), ("AE", "x"))
    library.says("66", {"ok": "1", "renewed_count": "0002"}, ("BM", "B1"), ("BM", "B2"))
    library.raw(f"65{library.now}AOK|AAA9|")
    events = [row for row in library.world.rows("event") if row["verb"] == "renew"]
    assert sorted(str(row["barcode"]) for row in events) == ["B1", "B2"]
    assert all(row["person_id"] is None for row in events)


@pytest.mark.parametrize("card", ["A9", "S1"])
def test_a_greeting_does_not_tell_the_name_that_is_masked(make: Make, card: str) -> None:
    library = make()
    library.enrol("S1", ils_number="700123")
    greeting = [("AF", "欢迎，张小江！"), ("AG", "张小江 3册"), ("DJ", "张小江"), ("AF", "您好")]
    library.says("64", counted(), ("AA", card), ("AE", "张小江"), ("BL", "Y"), *greeting)
    answer = library.kiosk.information(card)
    assert "张小江" not in "".join(value for _, value in answer.fields)
    assert answer.get_all("AF") == ["欢迎，张*！", "您好"]
    assert (answer.get("AG"), answer.get("DJ")) == ("张* 3册", "张*")


class Greeting(FakeIls):
    """An ILS with an API that says something at a checkout."""

    def checkout(self, *args: Any, **options: Any) -> CheckoutResult:
        return replace(super().checkout(*args, **options), message="请按时归还")


def test_the_words_of_an_ils_with_an_api_stand_beside_ours(
    make_world: Callable[..., World],
) -> None:
    world = make_world(adapters={"KOHA-A": Greeting("KOHA-A", name="koha")})
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    answer = world.kiosk().checkout("S1", "B1")
    assert answer.get_all("AF") == ["借书成功，应还日期 2026-12-21", "请按时归还"]


def test_an_ils_that_lists_titles_lists_a_pupils_loans_itself(make: Make) -> None:
    library = make(settings={"charged_items": "titles"}, policy="max_items = 2")
    library.enrol("S1", ils_number="700123")
    held = [("AU", "城南旧事"), ("AU", "呼兰河传")]
    for _ in range(2):
        library.says("64", counted(charged=2), *PUPIL, *held)
    answer = library.kiosk.information("S1")
    assert answer.get_all("AU") == ["城南旧事", "呼兰河传"]
    assert (answer.fixed["charged_count"], answer.fixed["patron_status"][5]) == ("0002", "Y")


def test_barcodes_keep_the_words_that_the_ils_puts_beside_them(make: Make) -> None:
    library = make(settings={"charged_pattern": "^[0-9A-Z]+"})
    library.enrol("S1", ils_number="700123")
    library.says("64", counted(charged=2), *PUPIL, ("AU", "B2 呼兰河传"), ("AU", "B1 城南旧事"))
    answer = library.kiosk.information("S1")
    assert answer.get_all("AU") == ["B2 呼兰河传", "B1 城南旧事"]
    assert [row["barcode"] for row in library.world.rows("loan")] != []
    assert library.ils.counts["63"] == 1

"""What answers mean: those of a live Evergreen (frames as recorded), and shapes of other systems."""

from __future__ import annotations

import ast
import re
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from adapters.sip2.dates import Dates
from adapters.sip2.mapping import Answers
from adapters.sip2.reading import ReadingRules, read_amount
from connector.domain.item import CirculationStatus
from connector.domain.patron import PatronFlag
from connector.ports.ils import AlertType
from connector.sip2.codec import Message, decode
from connector.sip2.terminal import WireProfile

NEW_YORK = ZoneInfo("America/New_York")
NOW = datetime(2026, 11, 21, 19, 30, tzinfo=UTC)
TRANSCRIPTS = Path(__file__).resolve().parents[4] / "shared" / "data" / "evergreen"


def read(text, encoding="utf-8"):
    message = decode(text.encode(encoding), WireProfile(encoding=encoding)).message
    assert message is not None
    return message


def answers(**rules):
    return Answers(ReadingRules(currency="USD", **rules), Dates(NEW_YORK))


def patron(text, *, pin=None, **rules):
    return answers(**rules).read_patron("CARD", read(text), NOW, pin=pin)


GRACE = (
    "64  Y           00020261121    193047000000000002000000000000AOgapines|AAEGGOOD1|AEGrace  Good|"
    "BHUSD|BV0.0|BD1 Test St Testville, GA USA 30303|BEeggood1@example.org|BF555-0100|AQBR1|"
    "AUCONC4100061|AUCONC4100063|BLY|CQY|PA20310101|PB19900504|PCPatrons|PIFiltered|XI249|"
)
NOBODY = "64YYYY          00120261121    193039000000000000000000000000AOgapines|AANOSUCH|AE|BLN|"


def test_a_patron_with_two_loans():
    facts = patron(GRACE, pin="1234")
    assert (facts.ils_patron, facts.name, facts.valid, facts.pin_valid) == (
        "EGGOOD1",
        "Grace  Good",
        True,
        True,
    )
    assert facts.flags == {PatronFlag.RECALL_DENIED}
    assert (facts.counts.charged, facts.counts.overdue) == (2, 0)
    assert [(loan.barcode, loan.patron, loan.due) for loan in facts.loans] == [
        ("CONC4100061", "EGGOOD1", None),
        ("CONC4100063", "EGGOOD1", None),
    ]
    assert facts.loans_complete is True
    assert (facts.expires, facts.birth_date) == (date(2031, 1, 1), date(1990, 5, 4))
    assert (facts.category, facts.home_branch) == ("Patrons", "BR1")
    assert (facts.email, facts.phone) == ("eggood1@example.org", "555-0100")
    assert facts.fees == ()
    assert facts.as_of == NOW
    assert facts.native.get_all("AU") == ("CONC4100061", "CONC4100063")
    assert facts.native.get("XI") == "249"


def test_nothing_personal_in_a_repr():
    assert not re.search("Grace|example|Testville|0100|1990", repr(patron(GRACE)))


def test_an_unknown_patron():
    facts = patron(NOBODY)
    assert (facts.valid, facts.ils_patron, facts.loans) == (False, "CARD", ())


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        # Evergreen: expired, barred; no BL at all, but a name.
        ("64YYYY          00020261121    193041" + "0" * 24 + "AOg|AAEGEXP|AEEd|AFblocked|", True),
        ("64YYYY          00020261121    193041" + "0" * 24 + "AOg|AAX|AE|", False),
        ("64              00020261121    193041" + "0" * 24 + "AOg|AAX|AE|", True),
        ("64YYYYY         00020261121    193041" + "0" * 24 + "AOg|AAX|AE|BLY|", True),
        ("64              00020261121    193041" + "0" * 24 + "AOg|AAX|AEA|BLN|CQN|", False),
        # The mediator for a broken request: one flag, BL N.
        ("64Y             00020261121    193041" + "0" * 24 + "AE|AOg|BLN|CQN|", False),
    ],
)
def test_who_is_known(text, valid):
    assert patron(text).valid is valid


@pytest.mark.parametrize(
    ("cq", "pin", "verdict"),
    [
        ("CQY|", "1234", True),
        ("CQN|", "1234", False),
        ("", "1234", None),
        ("CQY|", "", False),
        ("CQN|", None, None),
        ("CQY|", None, None),
    ],
)
def test_pins(cq, pin, verdict):
    text = "24              00120261121    193042AOg|AAX|AEA|BLY|" + cq
    assert patron(text, pin=pin).pin_valid is verdict


def test_24_counts_and_lists_nothing():
    facts = patron("24  Y           00120261121    193042AOgapines|AAEGGOOD1|AEGrace  Good|BLY|")
    assert facts.counts.charged is None
    assert facts.loans_complete is False


COUNTED = "64              00020261121    193047%04d%04d%04d000000000000AOg|AAX|AEA|BLY|%s"


def charged(count, fields, **rules):
    return patron(COUNTED % (0, 0, count, fields), **rules)


def test_a_list_shorter_than_the_count_is_not_complete():
    assert charged(3, "AUB1|AUB2|").loans_complete is False
    assert charged(1, "AUB1|AUB2|").loans_complete is False
    assert charged(2, "AUB1|AUB1|").loans_complete is False
    assert charged(0, "").loans_complete is True


def test_several_barcodes_in_one_field():
    facts = charged(3, "AUB1,B2]]B3|", charged_separator=re.compile(r",|\]\]"))
    assert [loan.barcode for loan in facts.loans] == ["B1", "B2", "B3"]
    assert facts.loans_complete is True


def test_a_barcode_before_the_title():
    rule = re.compile(r"^(\S+)")
    facts = charged(2, "AUB1 红楼梦|AUB2 西游记|", charged_pattern=rule)
    assert [loan.barcode for loan in facts.loans] == ["B1", "B2"]
    assert facts.loans_complete is True


def test_titles_are_not_taken_for_barcodes():
    facts = charged(2, "AU红楼梦|AUThe Baroque concerto|")
    assert (facts.loans, facts.loans_complete) == ((), False)
    facts = charged(1, "AUHamlet|", lists_barcodes=False)
    assert (facts.loans, facts.loans_complete) == ((), False)


def test_blank_counts_are_not_told():
    text = "64              00020261121    193047" + " " * 24 + "AOg|AAX|AEA|BLY|AUB1|"
    facts = patron(text)
    assert facts.counts.charged is None
    assert facts.loans_complete is False


def test_money_limit_and_chinese_tags():
    facts = charged(0, "BHCNY|BV12,50|CB0008|XT少儿|XD20271231|")
    assert (facts.fee_total, facts.currency, facts.loan_limit) == (Decimal("12.50"), "CNY", 8)
    assert (facts.category, facts.expires) == ("少儿", date(2027, 12, 31))
    assert charged(0, "CB9999|").loan_limit is None


def test_a_checkout():
    text = (
        "121NNY20261121    193044AOgapines|AAEGGOOD1|ABCONC4100061|AJVictor book of concertos|"
        "AH2026-11-30 23:59:59|CK001|"
    )
    result = answers().read_checkout(read(text))
    assert (result.ok, result.renewed, result.code) == (True, False, "")
    assert result.due == datetime(2026, 12, 1, 4, 59, 59, tzinfo=UTC)
    assert (result.title, result.media_type) == ("Victor book of concertos", "001")
    assert (result.magnetic, result.desensitize, result.fee) == (False, True, None)


def refusal(fixed, said, more="", **rules):
    text = f"12{fixed}20261121    193044AOg|AAP|ABB|AJ|AH|{more}AF{said}|"
    return answers(**rules).read_checkout(read(text))


def test_a_refusal_has_the_words_of_the_ils_and_a_short_code():
    result = refusal("0NUN", "Patron Blocked")
    assert (result.ok, result.code, result.message) == (False, "refused", "Patron Blocked")
    assert (result.magnetic, result.desensitize, result.due) == (None, False, None)
    rules = {"refusal_codes": {re.compile("(?i)blocked"): "patron_blocked"}}
    assert refusal("0NUN", "Patron Blocked", **rules).code == "patron_blocked"


def test_a_refused_renewal_at_a_checkout_tells_who_has_the_item():
    assert refusal("0YUN", "Renewals not permitted").code == "already_charged"
    assert refusal("0YUN", "no", renews_on_checkout=False).code == "refused"


def test_a_checkout_that_was_a_renewal():
    assert refusal("1YNY", "ok").renewed is True
    assert refusal("1YNY", "ok", renews_on_checkout=False).renewed is False


def test_success_by_words():
    words = (re.compile("(?<!不)成功"),)
    assert refusal("0NNY", "借书成功", success_words=words).ok is True
    assert refusal("0NNY", "借书不成功", success_words=words).ok is False
    assert refusal("0NNY", "借书成功").ok is False


def test_a_fee_to_be_agreed_to():
    result = refusal("0NNN", "fee", more="BT06|BHUSD|BV2.50|")
    assert (result.fee.amount, result.fee.fee_type, result.fee.currency) == (
        Decimal("2.50"),
        "06",
        "USD",
    )
    assert refusal("0NNN", "fee", more="BV0.00|").fee is None


def test_a_renewal():
    text = (
        "301YNN20261121    193049AAEGGOOD1|ABCONC4100061|AJVictor|AH2026-11-30 23:59:59|AOgapines|"
    )
    result = answers().read_checkout(read(text))
    assert (result.ok, result.renewed, result.desensitize) == (True, True, False)
    text = "300NUN20261121    193049AAX|ABB|AJT|AH|AOg|AFItem not checked out|"
    assert (answers().read_checkout(read(text)).code) == "refused"


def test_a_checkin_with_a_hold_elsewhere():
    text = (
        "101YNY20261121    193617AOgapines|ABCONC4100062|AQBR1|AJA companion|CK001|"
        "CRScience Fiction|CSML 2533|CTBR1|CYEGGOOD2|DAGreg  Good|CV01|"
    )
    result = answers().read_checkin(read(text))
    assert (result.ok, result.alert, result.destination) == (True, AlertType.LOCAL_HOLD, "BR1")
    assert (result.hold_patron, result.hold_patron_name) == ("EGGOOD2", "Greg  Good")
    assert (result.collection, result.call_number) == ("Science Fiction", "ML 2533")
    assert (result.was_on_loan, result.patron, result.resensitize) == (None, None, True)
    assert "Greg" not in repr(result)


def test_a_checkin_says_who_had_it():
    text = "101YNN20261121    193050AOg|ABB|AQBR1|AJT|AAEGGOOD1|"
    result = answers().read_checkin(read(text))
    assert (result.was_on_loan, result.patron, result.alert) == (True, "EGGOOD1", None)


@pytest.mark.parametrize(
    ("alert", "cv", "wanted"),
    [
        ("N", "CV00|", None),
        ("Y", "", AlertType.UNKNOWN),
        ("Y", "CV04|", AlertType.OTHER_BRANCH),
        ("N", "CV01|", AlertType.LOCAL_HOLD),
        ("Y", "CV77|", AlertType.OTHER),
    ],
)
def test_alerts(alert, cv, wanted):
    text = f"101YN{alert}20261121    193050AOg|ABB|AQBR1|AJT|{cv}"
    assert answers().read_checkin(read(text)).alert is wanted


OUT = (
    "1804020120261121    193048ABCONC4100061|AJVictor|CK001|AQBR1|APBR2|BHUSD|BV0.00|BGBR1|"
    "AH2026-11-30 23:59:59|CSML 2533|CRMusic|CF1|"
)


def test_an_item_that_is_out():
    item = answers().read_item("CONC4100061", read(OUT))
    assert (item.status, item.title) == (CirculationStatus.CHARGED, "Victor")
    assert item.due == datetime(2026, 12, 1, 4, 59, 59, tzinfo=UTC)
    assert (item.permanent_location, item.current_location) == ("BR1", "BR2")
    assert (item.call_number, item.collection, item.hold_count) == ("ML 2533", "Music", 1)
    assert (item.borrower, item.languages, item.fee) == (None, (), Decimal(0))


def test_an_item_with_tags_of_the_settings():
    text = "1804020120261121    193048ABB|AJT|LAchi; ENG|ITbook|XP4711|AK978-7|KCI242|"
    rules = {"language_tag": "LA", "item_type_tag": "IT", "borrower_tag": "XP"}
    item = answers(**rules).read_item("B", read(text))
    assert (item.languages, item.item_type, item.borrower) == (("chi", "eng"), "book", "4711")
    assert (item.isbn, item.call_number) == ("978-7", "I242")


@pytest.mark.parametrize(
    ("rule", "status", "title", "known"),
    [
        ("no_title_and_other", "01", "", False),
        ("no_title_and_other", "01", "T", True),
        ("no_title_and_other", "03", "", True),
        ("no_title", "03", "", False),
        ("never", "01", "", True),
    ],
)
def test_an_unknown_item(rule, status, title, known):
    text = f"18{status}010120261121    193048ABNOITEM|AJ{title}|"
    found = answers(unknown_item=rule).read_item("NOITEM", read(text))
    assert (found is not None) is known


def test_a_status_that_does_not_exist():
    text = "1877010120261121    193048ABB|AJT|"
    assert answers().read_item("B", read(text)).status is CirculationStatus.OTHER


def test_holds_of_koha_and_of_evergreen():
    def holds(waiting, absent):
        return answers().read_holds(
            Message("64", {}, [("AS", value) for value in waiting]),
            Message("64", {}, [("CD", value) for value in absent]),
        )

    koha = holds(["A"], ["B"])
    evergreen = holds(["A", "B"], ["B"])
    assert koha == evergreen
    assert [(hold.title, hold.available) for hold in koha] == [("A", True), ("B", False)]


def test_a_hold_and_a_payment():
    text = "161Y20261121    193049BW20270101    000000|BR2|BSBR1|AOg|AAP|ABB|AJT|"
    hold = answers().read_hold(read(text))
    assert (hold.ok, hold.available, hold.queue_position, hold.pickup) == (True, True, 2, "BR1")
    assert hold.expires == datetime(2027, 1, 1, 5, tzinfo=UTC)
    paid = answers().read_payment(read("38Y20261121    193619AOgapines|AAEGGOOD2|BKtx1|"))
    assert (paid.ok, paid.transaction_id) == (True, "tx1")
    refused = answers().read_payment(
        read("38N20261121    193620AOg|AAX|AFOverpayment not allowed|")
    )
    assert (refused.ok, refused.message) == (False, "Overpayment not allowed")


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("7.50", "7.50"),
        ("7,50", "7.50"),
        ("1,234.50", "1234.50"),
        ("1.234,50", "1234.50"),
        ("CNY 5", "5"),
        ("¥0.10元", "0.10"),
        ("", None),
        ("free", None),
        ("1.2.3", None),
    ],
)
def test_amounts(text, amount):
    assert read_amount(text) == (None if amount is None else Decimal(amount))


def recorded():
    """Every answer that was recorded from a live Evergreen, by both of its SIP2 servers."""
    for path in sorted(TRANSCRIPTS.glob("sip2-*.txt")):
        for line in path.read_text("utf-8").splitlines():
            found = re.fullmatch(r"< (b(['\"]).*\2)", line)
            if found:
                raw = ast.literal_eval(found[1])
                yield from (part for part in raw.split(b"\r") if part[:2].isdigit())


@pytest.mark.skipif(not TRANSCRIPTS.exists(), reason="the recorded transcripts are not here")
def test_every_recorded_answer_is_read():
    read_as, seen = answers(), set()
    for raw in recorded():
        frame = decode(raw, WireProfile())
        message = frame.message
        seen.add(frame.code)
        match frame.code:
            case "12" | "30":
                result = read_as.read_checkout(message)
                assert result.ok == (result.due is not None)
                assert bool(result.code) is not result.ok
            case "10":
                read_as.read_checkin(message)
            case "18":
                item = read_as.read_item("B", message)
                assert (item is None) == (message.get("AJ") == "")
            case "24" | "26" | "64":
                facts = read_as.read_patron("CARD", message, NOW, pin="1234")
                assert facts.valid == bool(message.get("AE"))
                assert facts.valid is False or facts.ils_patron
            case "38":
                read_as.read_payment(message)
    assert seen >= {"10", "12", "18", "24", "26", "30", "36", "38", "64", "66", "94", "98"}

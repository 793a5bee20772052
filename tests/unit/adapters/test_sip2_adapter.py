"""The adapter to an ILS that speaks SIP2: what goes out, what comes back, what is claimed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import structlog

from adapters.sip2.adapter import build_adapter
from adapters.sip2.settings import Sip2Settings
from connector.domain.loan import SOMEBODY_ELSE
from connector.domain.wire import WireMessage
from connector.errors import (
    AdapterUnavailable,
    NotFound,
    OutcomeUnknown,
    UnexpectedResponse,
    UnsupportedOperation,
)
from connector.ports.ils import (
    AdapterContext,
    BlockReason,
    Capability,
    ExchangeContext,
    FeePayment,
    HoldRequest,
)
from connector.sip2.codec import Message
from connector.sip2.terminal import WireProfile
from tests.support.scripted_ils import SILENCE, ScriptedIls, answer, status

AT = datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
PATRON, ITEM = "P-4711", "B-0815"


class Bench:
    """One scripted ILS with one adapter in front of it."""

    def __init__(self, folder):
        self.folder = folder
        self.ils = None
        self.opened = []

    def open(self, profile=None, **settings):
        self.ils = ScriptedIls(profile)
        self.ils.__enter__()
        given = {"host": "127.0.0.1", "port": self.ils.port, "heartbeat_s": 0} | settings
        context = AdapterContext("LIB", "Asia/Shanghai", str(self.folder), lambda: AT)
        adapter = build_adapter(Sip2Settings(**given), context)
        self.opened.append((adapter, self.ils))
        return adapter

    def close(self):
        for adapter, ils in self.opened:
            adapter.close()
            ils.stop()


@pytest.fixture
def bench(tmp_path):
    one = Bench(tmp_path)
    yield one
    one.close()


def context(**more):
    return ExchangeContext(at=AT, **more)


def item_is(bench, code, *, due="", title="红楼梦"):
    fields = {"AJ": title} | ({"AH": due} if due else {})
    bench.ils.answers["17"] = lambda request: answer(request, fields, circulation_status=code)


def patron_has(bench, *barcodes, count=None, valid="Y"):
    def make(request):
        found = answer(
            request,
            {"AE": "王小明" if valid == "Y" else "", "BL": valid},
            charged_count=f"{len(barcodes) if count is None else count:04d}",
        )
        found.fields += [("AU", barcode) for barcode in barcodes]
        return found

    bench.ils.answers["63"] = make


# -- loans -----------------------------------------------------------------------------------------


def test_a_checkout_on_the_wire(bench):
    adapter = bench.open(location="HALL", institution="MAIN")
    result = adapter.checkout(PATRON, ITEM, context(pin="1234"))
    assert (result.ok, result.title) == (True, "红楼梦")
    assert result.due == datetime(2026, 12, 21, 15, 59, 59, tzinfo=UTC)
    sent = bench.ils.last("11")
    assert sent.fixed == {
        "sc_renewal_policy": "N",
        "no_block": "N",
        "transaction_date": "20261121    120000",
        "nb_due_date": " " * 18,
    }
    assert dict(sent.fields) == {"AO": "MAIN", "AA": PATRON, "AB": ITEM, "AC": "", "AD": "1234"}


def test_what_has_happened_already_is_sent_as_that(bench):
    adapter = bench.open()
    kiosk = WireMessage("11", {"no_block": "N", "nb_due_date": "20261221    235959"}, ())
    adapter.checkout(PATRON, ITEM, context(no_block=True, request=kiosk))
    assert bench.ils.last("11").fixed["no_block"] == "Y"
    assert bench.ils.last("11").fixed["nb_due_date"] == "20261221    235959"


def test_a_terminal_cannot_say_by_itself_that_it_has_happened(bench):
    adapter = bench.open()
    adapter.checkout(PATRON, ITEM, context(request=WireMessage("11", {"no_block": "Y"}, ())))
    assert bench.ils.last("11").fixed["no_block"] == "N"


def test_our_due_date_goes_out_only_where_it_is_obeyed(bench):
    due = AT + timedelta(days=30)
    adapter = bench.open()
    adapter.checkout(PATRON, ITEM, context(), due=due)
    assert bench.ils.last("11").fixed["nb_due_date"] == " " * 18
    adapter = bench.open(obeys_due_date=True)
    adapter.renew(PATRON, ITEM, context(), due=due)
    assert bench.ils.last("29").fixed["nb_due_date"] == "20261221    120000"


def test_a_fee_that_was_agreed_to(bench):
    adapter = bench.open()
    adapter.checkout(PATRON, ITEM, context(fee_acknowledged=True))
    assert bench.ils.last("11").get("BO") == "Y"
    adapter.renew(PATRON, ITEM, context())
    assert not bench.ils.last("29").has("BO")


def test_a_checkin_on_the_wire(bench):
    adapter = bench.open(location="HALL")
    returned = AT - timedelta(hours=9)
    assert adapter.checkin(ITEM, context(), returned_at=returned).ok
    sent = bench.ils.last("09")
    assert sent.fixed["transaction_date"] == "20261121    120000"
    assert sent.fixed["return_date"] == "20261121    030000"
    assert sent.get("AP") == "HALL"
    adapter.checkin(ITEM, context(location="BRANCH", pin="1234"))
    assert bench.ils.last("09").get("AP") == "BRANCH"
    assert not bench.ils.last("09").has("AD")
    assert bench.ils.last("09").fixed["return_date"] == "20261121    120000"


@pytest.mark.parametrize("verb", ["checkout", "renew", "checkin"])
def test_no_answer_is_an_unknown_outcome_and_nothing_is_repeated(bench, verb):
    adapter = bench.open()
    code = {"checkout": "11", "renew": "29", "checkin": "09"}[verb]
    bench.ils.answers[code] = lambda _: SILENCE
    arguments = (ITEM,) if verb == "checkin" else (PATRON, ITEM)
    with pytest.raises(OutcomeUnknown):
        getattr(adapter, verb)(*arguments, context(timeout_s=0.2))
    assert bench.ils.counts[code] == 1


# -- who has an item -------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["02", "03", "06", "08", "09", "10", "13"])
def test_an_item_that_is_not_out_is_no_loan(bench, code):
    adapter = bench.open()
    item_is(bench, code)
    assert adapter.fetch_item_loan(ITEM, PATRON) is None
    assert bench.ils.counts["63"] == 0


@pytest.mark.parametrize("code", ["04", "05", "07", "11", "12", "01"])
def test_an_item_in_the_patrons_list_is_his(bench, code):
    adapter = bench.open()
    item_is(bench, code, due="2026-12-21 23:59:59")
    patron_has(bench, "B-1", ITEM)
    loan = adapter.fetch_item_loan(ITEM, PATRON)
    assert loan.patron == PATRON
    assert loan.due == datetime(2026, 12, 21, 15, 59, 59, tzinfo=UTC)
    assert loan.renewals is None


def test_an_item_that_is_out_and_not_in_his_list_is_somebody_elses(bench):
    adapter = bench.open()
    item_is(bench, "04")
    patron_has(bench, "B-1")
    assert adapter.fetch_item_loan(ITEM, PATRON).patron == SOMEBODY_ELSE


def test_the_systems_own_spelling_of_a_barcode_counts(bench):
    adapter = bench.open()
    bench.ils.answers["17"] = lambda request: answer(
        request, {"AB": "LIB-B-0815", "AJ": "T"}, circulation_status="04"
    )
    patron_has(bench, "lib-b-0815")
    assert adapter.fetch_item_loan(ITEM, PATRON).patron == PATRON


@pytest.mark.parametrize(
    ("asked", "listed"), [("815", "000815"), ("000815", "815"), ("815", "T815")]
)
def test_a_barcode_that_is_spelt_alike_proves_nothing(bench, asked, listed):
    adapter = bench.open()
    item_is(bench, "04")
    patron_has(bench, listed)
    assert adapter.fetch_item_loan(asked, PATRON).patron is None


def test_a_list_that_is_cut_proves_nothing(bench):
    adapter = bench.open()
    item_is(bench, "04")
    patron_has(bench, "B-1", count=30)
    assert adapter.fetch_item_loan(ITEM, PATRON).patron is None


@pytest.mark.parametrize("settings", [{"charged_items": "titles"}, {"charged_items": "none"}])
def test_without_lists_of_barcodes_nobody_is_named(bench, settings):
    adapter = bench.open(**settings)
    item_is(bench, "04")
    assert adapter.fetch_item_loan(ITEM, PATRON).patron is None
    assert adapter.fetch_item_loan(ITEM).patron is None
    assert bench.ils.counts["63"] == 0
    assert Capability.LIST_LOANS not in adapter.capabilities
    assert adapter.fetch_patron(PATRON).loans_complete is False


def test_an_ils_that_names_the_borrower(bench):
    adapter = bench.open(borrower_tag="XP")
    bench.ils.answers["17"] = lambda request: answer(
        request, {"AJ": "T", "XP": "OTHER"}, circulation_status="04"
    )
    assert adapter.fetch_item_loan(ITEM).patron == "OTHER"


def test_an_item_that_nobody_knows_is_not_out_if_the_patron_is_known(bench):
    adapter = bench.open()
    item_is(bench, "01", title="")
    patron_has(bench)
    assert adapter.fetch_item(ITEM) is None
    assert adapter.fetch_item_loan(ITEM, PATRON) is None


def test_an_ils_that_knows_neither_item_nor_patron_has_lost_its_database(bench):
    adapter = bench.open()
    item_is(bench, "01", title="")
    patron_has(bench, valid="N")
    assert adapter.fetch_item_loan(ITEM, PATRON).patron is None
    assert adapter.fetch_item_loan(ITEM).patron is None


def test_without_item_information_the_list_alone_tells(bench):
    adapter = bench.open(features={"item_information": False})
    assert Capability.FETCH_ITEM not in adapter.capabilities
    patron_has(bench, ITEM)
    assert adapter.fetch_item_loan(ITEM, PATRON).patron == PATRON
    patron_has(bench)
    assert adapter.fetch_item_loan(ITEM, PATRON) is None
    with pytest.raises(UnexpectedResponse):
        adapter.fetch_item_loan(ITEM)
    assert bench.ils.counts["17"] == 0


def test_one_question_in_two_messages_has_one_time(bench):
    adapter = bench.open(answer_s=0.4)
    bench.ils.answers["17"] = lambda request: (
        bench.ils.wait(0.3) or answer(request, {"AJ": "T"}, circulation_status="04")
    )
    bench.ils.answers["63"] = lambda _: SILENCE
    started = datetime.now(UTC)
    with pytest.raises(OutcomeUnknown):
        adapter.fetch_item_loan(ITEM, PATRON)
    assert datetime.now(UTC) - started < timedelta(seconds=0.65)


# -- patrons ---------------------------------------------------------------------------------------


def test_a_patron_is_asked_for_with_his_loans(bench):
    adapter = bench.open()
    patron_has(bench, "B-1", "B-2")
    facts = adapter.fetch_patron(PATRON, "1234")
    assert [loan.barcode for loan in facts.loans] == ["B-1", "B-2"]
    assert facts.as_of == AT
    sent = bench.ils.last("63")
    assert sent.fixed["summary"] == "  Y       "
    assert (sent.get("AA"), sent.get("AD")) == (PATRON, "1234")


def test_lists_that_are_cut_are_read_page_by_page(bench):
    adapter = bench.open(charged_paged=True)
    shelf = [f"B-{number}" for number in range(1, 24)]

    def page(request):
        begin = int(request.get("BP") or 1)
        found = answer(request, {"AE": "王", "BL": "Y"}, charged_count="0023")
        found.fields += [("AU", one) for one in shelf[begin - 1 : begin + 9]]
        return found

    bench.ils.answers["63"] = page
    facts = adapter.fetch_patron(PATRON)
    assert [loan.barcode for loan in facts.loans] == shelf
    assert facts.loans_complete is True
    assert [one.get("BP") for one in bench.ils.seen if one.code == "63"] == ["", "11", "21"]


def test_an_ils_that_ignores_pages_is_not_asked_for_ever(bench):
    adapter = bench.open(charged_paged=True)
    patron_has(bench, "B-1", "B-2", count=5)
    facts = adapter.fetch_patron(PATRON)
    assert facts.loans_complete is False
    assert bench.ils.counts["63"] == 2


def test_counts_that_were_not_sent_are_not_told(bench):
    adapter = bench.open()
    short = b"64              00020261121    120000AOLIB|AAP-4711|AEW|BLY|\r"
    bench.ils.once("63", short)
    facts = adapter.fetch_patron(PATRON)
    assert facts.valid
    assert facts.counts.charged is None
    assert facts.loans_complete is False


def test_with_patron_status_only_there_are_no_lists(bench):
    adapter = bench.open(features={"patron_information": False})
    facts = adapter.fetch_patron(PATRON)
    assert (facts.valid, facts.loans_complete, facts.name) == (True, False, "王小明")
    assert Capability.LIST_LOANS not in adapter.capabilities
    assert Capability.LIST_HOLDS not in adapter.capabilities
    assert bench.ils.counts["63"] == 0


def test_pins(bench):
    adapter = bench.open()
    bench.ils.answers["63"] = lambda request: answer(
        request, {"AE": "王", "BL": "Y", "CQ": "Y" if request.get("AD") == "1234" else "N"}
    )
    assert adapter.verify_pin(PATRON, "1234") is True
    assert adapter.verify_pin(PATRON, "9999") is False
    before = bench.ils.counts["63"]
    assert adapter.verify_pin(PATRON, "") is False
    assert bench.ils.counts["63"] == before


def test_pins_may_be_kept_from_the_ils(bench):
    adapter = bench.open(patron_pin="never")
    with pytest.raises(UnsupportedOperation):
        adapter.verify_pin(PATRON, "1234")
    assert adapter.fetch_patron(PATRON, "1234").pin_valid is None
    adapter.checkout(PATRON, ITEM, context(pin="1234"))
    assert b"1234" not in b"".join(bench.ils.raw)


def test_blocks_need_a_setting(bench):
    adapter = bench.open()
    with pytest.raises(UnsupportedOperation):
        adapter.block_patron(PATRON, BlockReason.STAFF)
    adapter = bench.open(features={"block_patron": True, "patron_enable": True})
    adapter.block_patron(PATRON, BlockReason.CONSENT_WITHDRAWN)
    sent = bench.ils.last("01")
    assert (sent.fixed["card_retained"], sent.get("AA")) == ("N", PATRON)
    assert "consent" not in sent.get("AL")
    adapter.block_patron(PATRON, BlockReason.CARD_RETAINED)
    assert bench.ils.last("01").fixed["card_retained"] == "Y"
    adapter.unblock_patron(PATRON, BlockReason.STAFF)
    assert bench.ils.counts["25"] == 1
    bench.ils.answers["01"] = lambda request: answer(request, {"BL": "N"})
    with pytest.raises(NotFound):
        adapter.block_patron(PATRON, BlockReason.STAFF)


# -- holds and fees --------------------------------------------------------------------------------


def test_holds_on_the_wire(bench):
    adapter = bench.open()
    request = HoldRequest(title="红楼梦", pickup="MAIN", expires=AT)
    assert adapter.place_hold(PATRON, request, context()).ok
    sent = bench.ils.last("15")
    assert sent.fixed["hold_mode"] == "+"
    assert dict(sent.fields) == {
        "AO": "LIB",
        "AA": PATRON,
        "AJ": "红楼梦",
        "BS": "MAIN",
        "BY": "2",
        "BW": "20261121    120000",
    }
    adapter.cancel_hold(PATRON, HoldRequest(ITEM), context())
    assert (bench.ils.last("15").fixed["hold_mode"], bench.ils.last("15").get("AB")) == ("-", ITEM)
    change = WireMessage("15", {"hold_mode": "*"}, ())
    adapter.place_hold(PATRON, request, context(request=change))
    assert bench.ils.last("15").fixed["hold_mode"] == "*"


def payment(transaction="T1"):
    return FeePayment(Decimal("2.5"), "CNY", "01", "00", "F9", transaction)


def test_a_payment_on_the_wire(bench):
    adapter = bench.open()
    assert adapter.pay_fee(PATRON, payment(), context()).ok
    sent = bench.ils.last("37")
    assert (sent.fixed["fee_type"], sent.fixed["payment_type"], sent.fixed["currency"]) == (
        "01",
        "00",
        "CNY",
    )
    assert (sent.get("BV"), sent.get("CG"), sent.get("BK")) == ("2.50", "F9", "T1")


def test_a_transaction_is_asked_for_once(bench):
    adapter = bench.open()
    first = adapter.pay_fee(PATRON, payment(), context())
    assert adapter.pay_fee(PATRON, payment(), context()) == first
    adapter.pay_fee("OTHER", payment(), context())
    adapter.pay_fee(PATRON, payment("T2"), context())
    assert bench.ils.counts["37"] == 3


def test_a_payment_without_an_answer_is_never_asked_for_again(bench):
    adapter = bench.open()
    bench.ils.once("37", None)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            adapter.pay_fee(PATRON, payment(), context())
    assert bench.ils.counts["37"] == 1


def test_a_payment_that_was_not_sent_or_refused_may_be_asked_for_again(bench):
    adapter = bench.open()
    bench.ils.once("37", *[b"96AZFEF6\r"] * 4)
    with pytest.raises(AdapterUnavailable):
        adapter.pay_fee(PATRON, payment(), context())
    bench.ils.once("37", lambda request: answer(request, payment_accepted="N"))
    assert adapter.pay_fee(PATRON, payment(), context()).ok is False
    assert adapter.pay_fee(PATRON, payment(), context()).ok is True


def test_payments_at_the_same_moment_are_one(bench):
    adapter = bench.open()
    gate = threading.Event()
    bench.ils.answers["37"] = lambda request: gate.wait(5) and answer(request, payment_accepted="Y")
    done = []
    thread = threading.Thread(
        target=lambda: done.append(adapter.pay_fee(PATRON, payment(), context()))
    )
    thread.start()
    while bench.ils.counts["37"] == 0:
        pass
    with pytest.raises(OutcomeUnknown):
        adapter.pay_fee(PATRON, payment(), context())
    gate.set()
    thread.join(5)
    assert done[0].ok
    assert bench.ils.counts["37"] == 1


# -- what is claimed -------------------------------------------------------------------------------


def test_bx_takes_away_what_the_ils_does_not_do(bench):
    adapter = bench.open()
    assert Capability.PLACE_HOLD in adapter.capabilities
    evergreen = "YYYYYYYYYYYNNNYY"
    bench.ils.answers["99"] = lambda request: status(request, bx=evergreen)
    adapter.ping()
    assert Capability.PLACE_HOLD not in adapter.capabilities
    assert Capability.UPDATE_ITEM_STATUS not in adapter.capabilities
    assert {Capability.CHECKOUT, Capability.PAY_FEE} <= adapter.capabilities
    with pytest.raises(UnsupportedOperation):
        adapter.place_hold(PATRON, HoldRequest(ITEM), context())
    assert adapter.status.get("BX") == evergreen


def test_bx_may_be_distrusted_and_may_be_short(bench):
    adapter = bench.open(trust_bx=False)
    before = adapter.capabilities
    bench.ils.answers["99"] = lambda request: status(request, bx="N" * 16)
    adapter.ping()
    assert adapter.capabilities == before
    adapter = bench.open()
    bench.ils.answers["99"] = lambda request: status(request, bx="")
    adapter.ping()
    assert adapter.capabilities == before


def test_what_bx_denied_for_63_is_read_by_23(bench):
    adapter = bench.open()
    bench.ils.answers["99"] = lambda request: status(request, bx="YYYYYYYNYYYYYYYY")
    adapter.ping()
    assert adapter.fetch_patron(PATRON).valid
    assert (bench.ils.counts["63"], bench.ils.counts["23"]) == (0, 1)


@pytest.mark.parametrize(
    ("feature", "capability"),
    [
        ("checkout", Capability.CHECKOUT),
        ("checkin", Capability.CHECKIN),
        ("renew", Capability.RENEW),
        ("hold", Capability.CANCEL_HOLD),
        ("fee_paid", Capability.PAY_FEE),
        ("item_status", Capability.UPDATE_ITEM_STATUS),
        ("item_information", Capability.FETCH_ITEM),
    ],
)
def test_features_can_be_switched_off(bench, feature, capability):
    assert capability in bench.open().capabilities
    assert capability not in bench.open(features={feature: False}).capabilities


def test_due_dates_in_lists_and_finding_by_our_id_are_never_claimed(bench):
    claimed = bench.open(obeys_due_date=True).capabilities
    assert not claimed & {
        Capability.LOAN_DUE_DATES,
        Capability.FIND_PATRON,
        Capability.SEARCH_BIBS,
        Capability.CHANGE_DUE_DATE,
    }


# -- handing on ------------------------------------------------------------------------------------


def test_a_message_is_handed_on_with_all_it_has(bench):
    adapter = bench.open()
    said = Message(
        "64", {}, [("AO", "THEIRS"), ("ZZ", "1"), ("AA", PATRON), ("AE", "王"), ("ZZ", "2")]
    )
    bench.ils.once("63", said)
    kiosk = WireMessage(
        "63",
        {"language": "019", "summary": "   Y      ", "transaction_date": "20261121    120000"},
        (("AO", "K"), ("AA", "scanned"), ("AC", "kiosk"), ("AD", "1"), ("XX", "a"), ("XX", "b")),
    )
    answered = adapter.forward(kiosk, context())
    sent = bench.ils.last("63")
    assert sent.fixed["summary"] == "   Y      "
    assert (sent.get("AO"), sent.get("AA"), sent.get("AD")) == ("LIB", "scanned", "1")
    assert sent.get_all("XX") == ["a", "b"]
    assert not sent.has("AC")
    assert answered.get("AO") == "THEIRS"
    assert answered.get_all("ZZ") == ("1", "2")


def test_only_reads_are_handed_on_twice(bench):
    adapter = bench.open(failures=50, features={"block_patron": True})
    for code, times in (("63", 2), ("17", 2), ("35", 1), ("65", 1), ("01", 1)):
        bench.ils.answers[code] = lambda _: None
        with pytest.raises(OutcomeUnknown):
            adapter.forward(WireMessage(code, {}, (("AA", "X"),)), context())
        assert bench.ils.counts[code] == times


@pytest.mark.parametrize("code", ["93", "97", "96", "12", "77"])
def test_what_belongs_to_one_connection_is_not_handed_on(bench, code):
    with pytest.raises(UnsupportedOperation):
        bench.open().forward(WireMessage(code), context())


def test_a_gbk_ils_with_bytes_that_look_like_a_delimiter(bench):
    profile = WireProfile(encoding="gbk")
    adapter = bench.open(profile, encoding="gbk")
    bench.ils.answers["63"] = lambda request: answer(request, {"AE": "東瑋駖", "BL": "Y"})
    facts = adapter.fetch_patron("読者東")
    assert facts.name == "東瑋駖"
    assert bench.ils.last("63").get("AA") == "読者東"


def test_no_log_line_and_no_error_holds_a_person(bench):
    adapter = bench.open(failures=1)
    bench.ils.answers["11"] = lambda _: b"12 AEZhang|\r"
    with structlog.testing.capture_logs() as logged, pytest.raises(OutcomeUnknown) as caught:
        adapter.checkout("SECRET-1", "SECRET-2", context(pin="9876", timeout_s=0.2))
    said = f"{caught.value!s} {caught.value.__cause__!r} {logged!r}"
    assert "ils.circuit_opened" in said
    for secret in ("SECRET", "9876", "Zhang"):
        assert secret not in said

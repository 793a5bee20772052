"""Acceptance scenarios of checkout: refusals, races, lost responses, aliases, pass-through, modes."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import date

import pytest

from connector.domain.ids import Barcode, IlsPatronId, PatronId
from connector.domain.item import LanguageClass
from connector.domain.loan import Loan, LoanOrigin, LoanState
from connector.ports.ils import Capability, ExchangeContext
from connector.sip2.codec import format_patron_status
from connector.storage.overview import Overview
from connector.testing.fake_ils import Fault, FaultKind
from tests.support.world import ID_NUMBER, World


def fill(world: World, patron: str, count: int, *, code: str = "KOHA-A", prefix: str = "F") -> None:
    """Lend ``count`` Chinese items at a kiosk."""
    kiosk = world.kiosk(code)
    barcodes = [f"{prefix}{code}{n}" for n in range(count)]
    world.add_items(code, *barcodes)
    for barcode in barcodes:
        assert kiosk.checkout(patron, barcode).fixed["ok"] == "1"


def facts_of(world: World, verb: str) -> list[dict[str, object]]:
    return [row for row in world.rows("circulation_fact") if row["verb"] == verb]


def events_of(world: World, verb: str) -> list[dict[str, object]]:
    return [row for row in world.rows("event") if row["verb"] == verb]


def loan_of(world: World, patron: PatronId, barcode: str) -> Loan:
    (loan,) = [
        loan
        for loan in world.app.store.ledger.list_unclosed(patron)
        if loan.item.barcode == barcode
    ]
    return loan


def test_s09_ils_refusal_is_passed_on_and_frees_the_place(world: World) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    world.ils("KOHA-A").fail(
        "checkout", Fault(FaultKind.REFUSED, code="item_on_hold", message="Item is on hold")
    )
    answer = world.kiosk().checkout("S1", "B1")
    assert (answer.fixed["ok"], answer.fixed["desensitize"]) == ("0", "N")
    assert answer.get("AF") == "Item is on hold"
    assert world.app.store.ledger.list_unclosed(patron) == ()
    assert facts_of(world, "checkout") == []
    refused = events_of(world, "refuse")
    assert [event["ils_verdict"] for event in refused] == ["item_on_hold"]
    assert all(event["policy_version"] for event in refused)


def test_s10_ninth_volume_is_refused_before_the_ils_hears_of_it(world: World) -> None:
    world.add_pupil("S1")
    fill(world, "S1", 8)
    world.add_items("KOHA-A", "NINTH")
    before = world.ils("KOHA-A").count_calls("checkout")
    answer = world.kiosk().checkout("S1", "NINTH")
    assert answer.fixed["ok"] == "0"
    assert "8" in answer.get("AF")
    assert world.ils("KOHA-A").count_calls("checkout") == before
    assert [event["reason"] for event in events_of(world, "refuse")] == ["item_limit"]


def test_s10_the_reason_is_in_the_language_of_the_request(world: World) -> None:
    world.add_pupil("S1")
    fill(world, "S1", 8)
    world.add_items("KOHA-A", "NINTH")
    kiosk = world.kiosk()
    kiosk.ask("63", {"language": "001", "summary": " " * 10}, ("AA", "S1"))
    assert kiosk.checkout("S1", "NINTH").get("AF") == "You may borrow 8 items and have them all"
    kiosk.ask("63", {"language": "019", "summary": " " * 10}, ("AA", "S1"))
    assert kiosk.checkout("S1", "NINTH").get("AF") == "最多可借 8 册，您已借满"


@pytest.mark.parametrize("round_number", range(5))
def test_s11_two_libraries_race_for_the_last_place(world: World, round_number: int) -> None:
    patron = world.add_pupil("S1", at=("KOHA-A", "FOLIO-B"))
    fill(world, "S1", 7)
    world.add_items("KOHA-A", "RA")
    world.add_items("FOLIO-B", "RB")
    kiosks = {"RA": world.kiosk("KOHA-A"), "RB": world.kiosk("FOLIO-B")}
    gate = threading.Barrier(2)

    def take(barcode: str) -> str:
        gate.wait()
        return kiosks[barcode].checkout("S1", barcode).fixed["ok"]

    with ThreadPoolExecutor(2) as pool:
        oks = list(pool.map(take, ["RA", "RB"]))
    assert sorted(oks) == ["0", "1"], round_number
    assert len(world.app.store.ledger.list_unclosed(patron)) == 8


def test_s11_a_crashed_attempt_frees_its_place_after_settlement(world: World) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    world.ils("KOHA-A").fail("checkout", Fault(FaultKind.NO_ANSWER))
    assert world.kiosk().checkout("S1", "B1").fixed["ok"] == "0"
    (row,) = world.app.store.ledger.list_unclosed(patron)
    assert row.state is LoanState.UNKNOWN
    world.app.settlement.run_once()
    world.clock.advance(seconds=100)
    world.app.settlement.run_once()
    assert len(world.app.store.ledger.list_unclosed(patron)) == 1, "released too early"
    world.clock.advance(seconds=100)
    world.app.settlement.run_once()
    assert world.app.store.ledger.list_unclosed(patron) == ()


def test_s12_lost_response_does_not_renew(world: World) -> None:
    """The ILS issued the loan, its answer was lost; the kiosk repeats 11."""
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils = world.ils("KOHA-A")
    ils.fail("checkout", Fault(FaultKind.DONE_NO_ANSWER))
    ils.fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0", "nothing is known yet"
    world.clock.advance(days=2)
    answer = kiosk.checkout("S1", "B1")
    assert (answer.fixed["ok"], answer.fixed["desensitize"]) == ("1", "Y")
    assert answer.get("AH")[:8] == "20261221", "the first due date"
    (row,) = world.app.store.ledger.list_unclosed(patron)
    assert (row.state, row.renewals) == (LoanState.OPEN, 0)
    assert ils.count_calls("checkout") == 1
    assert len(facts_of(world, "checkout")) == 1


def test_s12_repeat_after_the_kiosk_lost_our_answer(world: World) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    first = world.kiosk().checkout("S1", "B1")
    world.clock.advance(days=1)
    again = world.kiosk().checkout("S1", "B1")
    assert (again.fixed["ok"], again.fixed["renewal_ok"]) == ("1", "N")
    assert again.get("AH") == first.get("AH")
    (row,) = world.app.store.ledger.list_unclosed(patron)
    assert row.renewals == 0
    assert len(facts_of(world, "checkout")) == 1


def test_s12_concurrent_repeat_waits_for_the_first(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    gate = threading.Event()
    world.ils("KOHA-A").fail("checkout", Fault(gate=gate))
    kiosks = [world.kiosk(), world.kiosk()]
    with ThreadPoolExecutor(2) as pool:
        answers = [pool.submit(kiosk.checkout, "S1", "B1") for kiosk in kiosks]
        gate.set()
        oks = [answer.result().fixed["ok"] for answer in answers]
    assert oks == ["1", "1"]
    assert world.ils("KOHA-A").count_calls("checkout") == 1


def test_s13_child_left_without_the_book(world: World) -> None:
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils = world.ils("KOHA-A")
    ils.fail("checkout", Fault(FaultKind.DONE_NO_ANSWER))
    ils.fail("fetch_item_loan", Fault(FaultKind.NOT_SENT))
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    world.app.settlement.run_once()
    (row,) = world.app.store.ledger.list_unclosed(patron)
    assert row.state is LoanState.DISPUTED
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert world.app.store.ledger.list_unclosed(patron) == ()
    assert facts_of(world, "checkout") == []
    assert facts_of(world, "checkin") == []


def test_s13_late_outcome_is_disputed_not_told_as_yes(make_world) -> None:
    """The kiosk was told "no" at its deadline; the ILS says yes afterwards."""
    world: World = make_world(sip2="answer_deadline_s = 1.0\nils_deadline_s = 20.0")
    patron = world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    gate = threading.Event()
    world.ils("KOHA-A").fail("checkout", Fault(gate=gate))
    answer = world.kiosk().checkout("S1", "B1")
    assert answer.fixed["ok"] == "0"
    gate.set()
    for _ in range(200):
        (row,) = world.app.store.ledger.list_unclosed(patron)
        if row.state is not LoanState.ASKED:
            break
        threading.Event().wait(0.05)
    assert row.state is LoanState.DISPUTED


@pytest.mark.parametrize("patron", ["S1", "ADULT"])
def test_nothing_is_begun_after_the_kiosk_was_told_no(make_world, patron: str) -> None:
    """The facts came so late that "no" was said already: the ILS is not asked to lend."""
    world: World = make_world(sip2="answer_deadline_s = 1.0\nils_deadline_s = 20.0")
    world.add_pupil("S1")
    ils = world.ils("KOHA-A")
    ils.new_patron("ADULT")
    world.add_items("KOHA-A", "B1")
    gate = threading.Event()
    ils.fail("fetch_patron", Fault(gate=gate))
    assert world.kiosk().checkout(patron, "B1").fixed["ok"] == "0"
    gate.set()
    assert world.kiosk().item("B1").fixed["circulation_status"] == "03"
    world.server.stop()
    assert ils.count_calls("checkout") == 0
    assert world.rows("loan") == []


def test_s19_renewal_on_the_due_date_and_after_midnight(world: World) -> None:
    world.add_pupil("S1", at=("FOLIO-B",))
    world.add_items("FOLIO-B", "B1", "B2")
    world.clock.set_local("2026-11-21 10:00")
    kiosk = world.kiosk("FOLIO-B")
    dues = [kiosk.checkout("S1", barcode).get("AH")[:8] for barcode in ("B1", "B2")]
    assert len(set(dues)) == 1
    due = dues[0]
    world.clock.set_local(f"{due[:4]}-{due[4:6]}-{due[6:]} 23:58")
    on_the_day = kiosk.renew("S1", "B1")
    assert on_the_day.fixed["ok"] == "1"
    world.clock.advance(minutes=5)
    after = kiosk.renew("S1", "B2")
    assert after.fixed["ok"] == "0"
    assert "逾期" in after.get("AF")


def test_s19_new_due_date_is_that_local_day_plus_thirty(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    world.clock.set_local("2026-11-21 10:00")
    assert kiosk.checkout("S1", "B1").get("AH")[:8] == "20261221"
    world.clock.set_local("2026-12-21 23:58")
    assert kiosk.renew("S1", "B1").get("AH")[:8] == "20270120"


def test_s20_renewal_on_day_two_counts_from_today_and_only_once(world: World) -> None:
    world.add_pupil("S1", at=("KOHA-A", "FOLIO-B"))
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    kiosk.checkout("S1", "B1")
    world.clock.advance(days=2)
    answer = kiosk.renew("S1", "B1")
    assert (answer.fixed["ok"], answer.get("AH")[:8]) == ("1", "20261223")
    assert "2026-12-23" in answer.get("AF")
    for place in (kiosk, world.kiosk("FOLIO-B")):
        second = place.renew("S1", "B1")
        assert second.fixed["ok"] == "0"
        assert "已续借" in second.get("AF")


def test_s20_a_renewal_in_the_opac_counts(world: World) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    kiosk.checkout("S1", "B1")
    world.clock.advance(days=2)
    world.ils("KOHA-A").desk_renew("B1")
    assert kiosk.renew("S1", "B1").fixed["ok"] == "0"


@pytest.mark.parametrize(
    ("languages", "counts_as"),
    [
        ((), LanguageClass.UNKNOWN),
        (("chi",), LanguageClass.CHINESE),
        (("chi", "eng"), LanguageClass.CHINESE),
        (("tib",), LanguageClass.CHINESE),
        (("zxx",), LanguageClass.CHINESE),
        (("eng",), LanguageClass.FOREIGN),
    ],
)
def test_s22_what_counts_as_foreign(world: World, languages, counts_as: LanguageClass) -> None:
    patron = world.add_pupil("S1")
    kiosk = world.kiosk()
    world.add_items("KOHA-A", "E1", "E2", "E3", languages=("eng",))
    for barcode in ("E1", "E2", "E3"):
        assert kiosk.checkout("S1", barcode).fixed["ok"] == "1"
    world.add_items("KOHA-A", "X", languages=languages)
    answer = kiosk.checkout("S1", "X")
    if counts_as is LanguageClass.FOREIGN:
        assert answer.fixed["ok"] == "0"
        assert "外文" in answer.get("AF")
    else:
        assert answer.fixed["ok"] == "1"
        loan = loan_of(world, patron, "X")
        assert loan.language is counts_as
    tasks = [row["barcode"] for row in world.rows("item_facts") if row["language"] == "unknown"]
    assert tasks == (["X"] if counts_as is LanguageClass.UNKNOWN else [])


def test_s23_return_without_loan(world: World) -> None:
    world.add_items("KOHA-A", "B1")
    answer = world.kiosk().checkin("B1")
    assert answer.code == "10"
    assert answer.fixed["ok"] == "1"
    assert len(facts_of(world, "return_without_loan")) == 1
    assert [row["position"] for row in world.rows("item_position")] == ["at_owner"]
    assert world.rows("loan") == []


def test_s24_three_carriers_are_one_patron(world: World) -> None:
    world.add_pupil("S1", at=("KOHA-A", "FOLIO-B", "SIP-C"), id_number=ID_NUMBER, ssc="SSC998877")
    carriers = {"KOHA-A": ID_NUMBER, "FOLIO-B": "S1", "SIP-C": "SSC998877"}
    for code, carrier in carriers.items():
        world.add_items(code, f"B-{code}")
        assert world.kiosk(code).checkout(carrier, f"B-{code}").fixed["ok"] == "1"
    lists = [world.kiosk(code).charged(carrier) for code, carrier in carriers.items()]
    assert lists[0] == lists[1] == lists[2] == sorted(f"B-{code}" for code in carriers)


@pytest.mark.parametrize(
    ("values", "ok", "text"),
    [
        ({"location": "stack-2"}, "0", "非开架"),
        ({"location": "ref-1"}, "0", "馆内阅览"),
        ({"location": "open", "collection": "adult"}, "1", "成功"),
        ({"location": "open", "unsuitable": True}, "0", "请到服务台"),
    ],
)
def test_s36_what_may_be_lent(world: World, values, ok: str, text: str) -> None:
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1", **values)
    answer = world.kiosk().checkout("S1", "B1")
    assert answer.fixed["ok"] == ok
    assert text in answer.get("AF")
    assert "不适合" not in answer.get("AF"), "the reason code is for staff"


def test_a_stale_loan_ends_in_the_transaction_of_the_new_one(world: World) -> None:
    """The ILS shows that the item came back at the desk; the next pupil gets it."""
    first, second = world.add_pupil("S1"), world.add_pupil("S2")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(minutes=1)
    world.ils("KOHA-A").desk_checkin("B1")
    world.clock.advance(minutes=1)
    assert kiosk.checkout("S2", "B1").fixed["ok"] == "1"
    assert world.app.store.ledger.list_unclosed(first) == ()
    (loan,) = world.app.store.ledger.list_unclosed(second)
    assert loan.state is LoanState.OPEN
    assert len(events_of(world, "supersede")) == 1


def test_a_book_that_another_pupil_has_is_refused(world: World) -> None:
    first = world.add_pupil("S1")
    second = world.add_pupil("S2")
    world.add_items("KOHA-A", "B1")
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    world.clock.advance(minutes=1)
    assert kiosk.checkout("S2", "B1").fixed["ok"] == "0"
    assert len(world.app.store.ledger.list_unclosed(first)) == 1
    assert world.app.store.ledger.list_unclosed(second) == ()


def test_s38_desk_loans_are_adopted_and_count(world: World) -> None:
    patron = world.add_pupil("S1")
    ils = world.ils("KOHA-A")
    for n in range(7):
        ils.new_item(f"D{n}")
        ils.desk_checkout("S1", f"D{n}")
    world.add_items("KOHA-A", "K1", "K2")
    world.clock.advance(minutes=1)
    kiosk = world.kiosk()
    assert kiosk.checkout("S1", "K1").fixed["ok"] == "1"
    assert kiosk.checkout("S1", "K2").fixed["ok"] == "0"
    rows = world.app.store.ledger.list_unclosed(patron)
    assert sorted(row.origin for row in rows) == [LoanOrigin.DESK] * 7 + [LoanOrigin.GATEWAY]
    world.clock.advance(minutes=1)
    ils.desk_checkin("D3")
    world.clock.advance(minutes=1)
    assert kiosk.checkout("S1", "K2").fixed["ok"] == "1"


def test_s39_people_we_did_not_enrol_pass_through(world: World) -> None:
    ils = world.ils("KOHA-A")
    ils.new_patron("ADULT", name="成年读者", pin="9911")
    ils.new_patron("TEACHER", name="教师")
    kiosk = world.kiosk()
    world.add_items("KOHA-A", *(f"T{n}" for n in range(12)), languages=("eng",))
    for n in range(12):
        assert kiosk.checkout("TEACHER", f"T{n}").fixed["ok"] == "1", n
    world.add_items("KOHA-A", "A1")
    assert kiosk.checkout("ADULT", "A1", pin="9911").fixed["ok"] == "1"
    assert kiosk.renew("ADULT", "A1").fixed["ok"] == "1"
    unknown = kiosk.checkout("NOBODY", "A1")
    assert unknown.fixed["ok"] == "0"
    assert world.rows("person") == []
    assert {row["pseudonym"] for row in world.rows("circulation_fact")} == {""}


def test_s41_observe_changes_no_answer_and_lists_would_be_refusals(make_world) -> None:
    """The same session with and without the policy: byte for byte what the ILS says."""
    world: World = make_world(modes={"KOHA-A": "observe"})
    patron = world.add_pupil("S1", pin="2468")
    ils = world.ils("KOHA-A")
    ils.max_items = 10
    kiosk = world.kiosk()
    barcodes = [f"B{n}" for n in range(10)]
    world.add_items("KOHA-A", *barcodes)
    world.add_items("KOHA-A", "STACK", location="stack-1")
    ils.fail("checkout", Fault(FaultKind.REFUSED, code="closed", message="ILS says closed"))
    assert kiosk.checkout("S1", "B0").get("AF") == "ILS says closed"
    for barcode in barcodes:
        answer = kiosk.checkout("S1", barcode)
        assert (answer.fixed["ok"], answer.get("AF")) == ("1", ""), barcode
        assert answer.fixed["renewal_ok"] == "N"
    over = kiosk.checkout("S1", "STACK")
    assert over.fixed["ok"] == "0", "the ILS's own limit is ten"
    assert (
        over.get("AF")
        == ils.checkout(
            IlsPatronId("S1"), Barcode("STACK"), ExchangeContext(at=world.clock())
        ).message
    )
    assert len(world.app.store.ledger.list_unclosed(patron)) == 10
    world.clock.advance(days=1)
    for _ in range(2):
        renewed = kiosk.renew("S1", "B0")
        assert renewed.fixed["ok"] == ("1" if _ < ils.max_renewals else "0")
    answer = kiosk.information("S1")
    facts = ils.fetch_patron(IlsPatronId("S1"))
    assert answer.fixed["patron_status"] == format_patron_status(facts.flags)
    assert answer.fixed["charged_count"] == f"{facts.counts.charged:04d}"
    reasons = [event["reason"] for event in events_of(world, "would_refuse")]
    assert reasons == ["item_limit", "item_limit", "closed_stack", "renewal.renewed_already"]
    assert events_of(world, "refuse") == []
    counts = Overview(world.app.store.database).count_refusals(date(2026, 11, 1))
    assert {(count.verb, count.reason, count.count) for count in counts} == {
        ("would_refuse", "item_limit", 2),
        ("would_refuse", "closed_stack", 1),
        ("would_refuse", "renewal.renewed_already", 1),
    }


def test_s42_no_block_is_ignored_without_the_permission(world: World) -> None:
    world.add_pupil("S1")
    fill(world, "S1", 8)
    world.add_items("KOHA-A", "NINTH")
    assert world.kiosk().checkout_no_block("S1", "NINTH").fixed["ok"] == "0"


def test_s42_no_block_is_recorded_and_flagged_with_the_permission(make_world) -> None:
    world: World = make_world(terminal='permissions = ["offline_upload"]')
    patron = world.add_pupil("S1")
    fill(world, "S1", 8)
    world.add_items("KOHA-A", "NINTH")
    assert world.kiosk().checkout_no_block("S1", "NINTH").fixed["ok"] == "1"
    assert loan_of(world, patron, "NINTH").over_limit
    assert loan_of(world, patron, "NINTH").origin is LoanOrigin.OFFLINE
    assert not loan_of(world, patron, "FKOHA-A0").over_limit


def test_status_bits_tell_what_the_ils_can_do(world: World) -> None:
    """BX is computed from the capabilities of the library's adapter."""
    for code in ("KOHA-A", "SIP-C"):
        answer = world.kiosk(code).ask("99", {"status_code": "0", "protocol_version": "2.00"})
        capabilities = world.ils(code).capabilities
        assert answer.get("BX")[9] == ("Y" if Capability.PAY_FEE in capabilities else "N")
        assert answer.get("BX")[3] == "N", "01 needs the terminal's permission"

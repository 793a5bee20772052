"""Acceptance scenarios at libraries whose ILS is reachable by SIP2 alone: two sockets in every exchange."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.local.settings import RuleSettings
from connector.cli.serve import _check_loan_rules
from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, ItemId, PatronId
from connector.domain.item import LanguageClass, Shelving
from connector.domain.loan import LoanOrigin, LoanState
from connector.errors import ConfigurationError
from connector.ports.ils import Capability, ExchangeContext, HoldRequest
from connector.ports.store import ItemFacts
from tests.support.sip2_world import Library, Sip2World

MakeWorld = Callable[..., Sip2World]
LATE: dict[str, Any] = {"ils": {"answer_s": 0.6, "failures": 1000}}
SLOW_S = 1.2


@pytest.fixture
def make_sip2_world(tmp_path: Path, store_url: str) -> Iterator[MakeWorld]:
    made: list[Sip2World] = []

    def make(**options: Any) -> Sip2World:
        world = Sip2World(tmp_path, store_url, **options)
        made.append(world)
        return world

    yield make
    for world in made:
        world.close()


@pytest.fixture
def net(make_sip2_world: MakeWorld) -> Sip2World:
    return make_sip2_world()


def fill(net: Sip2World, patron: str, count: int, *, code: str = "SIP-A") -> list[str]:
    kiosk = net.kiosk(code)
    barcodes = [f"F{code}{number}" for number in range(count)]
    net.add_items(code, *barcodes)
    for barcode in barcodes:
        assert kiosk.checkout(patron, barcode).fixed["ok"] == "1"
    return barcodes


def stall_after_lending(site: Library) -> Callable[[], None]:
    """Let the ILS lend once and answer too late, this and everything after it; return the cure."""
    lend = site.server.answers["11"]

    def lend_slowly(*args: Any) -> Any:
        answer = lend(*args)
        site.server.slow_s = SLOW_S
        return answer

    def heal() -> None:
        site.server.slow_s, site.server.answers["11"] = 0.0, lend

    site.server.answers["11"] = lend_slowly
    return heal


def count_in_ils(net: Sip2World, code: str, card: str) -> int:
    return len(net.desk(code).fetch_patron(IlsPatronId(card)).loans)


def unclosed(net: Sip2World, patron: PatronId) -> list[tuple[str, LoanState]]:
    loans = net.app.store.ledger.list_unclosed(patron)
    return [(loan.item.barcode, loan.state) for loan in loans]


def facts_of(net: Sip2World, verb: str) -> list[dict[str, object]]:
    return [row for row in net.rows("circulation_fact") if row["verb"] == verb]


def test_s09_ils_refusal_is_passed_on_and_frees_the_place(net: Sip2World) -> None:
    patron = net.add_pupil("S1")
    net.add_items("SIP-A", "B1")
    net.add_reader("SIP-A", "A1")
    desk, at = net.desk("SIP-A"), ExchangeContext(at=net.clock())
    assert desk.place_hold(IlsPatronId("A1"), HoldRequest(Barcode("B1")), at).ok
    assert desk.checkin(Barcode("B1"), at).ok
    own_words = desk.checkout(IlsPatronId("S1"), Barcode("B1"), at).message
    assert own_words
    answer = net.kiosk("SIP-A").checkout("S1", "B1")
    assert (answer.fixed["ok"], answer.fixed["desensitize"]) == ("0", "N")
    assert own_words in answer.get_all("AF")
    assert unclosed(net, patron) == []
    assert facts_of(net, "checkout") == []


def test_s10_ninth_volume_is_refused_before_the_ils_hears_of_it(net: Sip2World) -> None:
    net.add_pupil("S1")
    fill(net, "S1", 8)
    net.add_items("SIP-A", "NINTH")
    answer = net.kiosk("SIP-A").checkout("S1", "NINTH")
    assert answer.fixed["ok"] == "0"
    assert answer.get("AF") == "最多可借 8 册，您已借满"
    assert count_in_ils(net, "SIP-A", "S1") == 8
    assert net.ils_loan("SIP-A", "NINTH") is None


@pytest.mark.parametrize("round_number", range(3))
def test_s11_two_libraries_race_for_the_last_place(net: Sip2World, round_number: int) -> None:
    patron = net.add_pupil("S1", at=("SIP-A", "SIP-B"))
    fill(net, "S1", 7)
    net.add_items("SIP-A", "RA")
    net.add_items("SIP-B", "RB")
    kiosks = {"RA": net.kiosk("SIP-A"), "RB": net.kiosk("SIP-B")}
    gate = threading.Barrier(2)

    def take(barcode: str) -> str:
        gate.wait()
        return kiosks[barcode].checkout("S1", barcode).fixed["ok"]

    with ThreadPoolExecutor(2) as pool:
        oks = list(pool.map(take, ["RA", "RB"]))
    assert sorted(oks) == ["0", "1"], round_number
    assert len(unclosed(net, patron)) == 8
    assert count_in_ils(net, "SIP-A", "S1") + count_in_ils(net, "SIP-B", "S1") == 8


def test_s12_lost_response_does_not_renew(make_sip2_world: MakeWorld) -> None:
    net = make_sip2_world(**LATE)
    patron = net.add_pupil("S1")
    net.add_items("SIP-A", "B1")
    kiosk, site = net.kiosk("SIP-A"), net.sites["SIP-A"]
    heal = stall_after_lending(site)
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    assert unclosed(net, patron) == [("B1", LoanState.UNKNOWN)]
    heal()
    first = net.ils_loan("SIP-A", "B1")
    assert first is not None
    assert first.due is not None
    net.clock.advance(days=1)
    answer = kiosk.checkout("S1", "B1")
    assert (answer.fixed["ok"], answer.fixed["desensitize"]) == ("1", "Y")
    again = net.ils_loan("SIP-A", "B1")
    assert again is not None
    assert (again.due, again.renewals) == (first.due, 0)
    (loan,) = net.app.store.ledger.list_unclosed(patron)
    assert (loan.state, loan.renewals) == (LoanState.OPEN, 0)
    assert loan.due is not None
    assert abs(loan.due - first.due) < timedelta(minutes=1)


def test_s13_child_left_without_the_book(make_sip2_world: MakeWorld) -> None:
    net = make_sip2_world(**LATE)
    patron = net.add_pupil("S1")
    net.add_items("SIP-A", "B1")
    kiosk, site = net.kiosk("SIP-A"), net.sites["SIP-A"]
    heal = stall_after_lending(site)
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "0"
    heal()
    net.app.settlement.run_once()
    assert unclosed(net, patron) == [("B1", LoanState.DISPUTED)]
    assert kiosk.checkin("B1").fixed["ok"] == "1"
    assert unclosed(net, patron) == []
    assert net.ils_loan("SIP-A", "B1") is None
    assert facts_of(net, "checkout") == []


def test_s20_a_renewal_in_the_opac_counts(net: Sip2World) -> None:
    net.add_pupil("S1")
    net.add_items("SIP-A", "B1")
    kiosk, desk = net.kiosk("SIP-A"), net.desk("SIP-A")
    assert kiosk.checkout("S1", "B1").fixed["ok"] == "1"
    net.clock.advance(days=2)
    assert desk.renew(IlsPatronId("S1"), Barcode("B1"), ExchangeContext(at=net.clock())).ok
    net.clock.advance(days=2)
    answer = kiosk.renew("S1", "B1")
    assert (answer.fixed["ok"], answer.get("AF")) == ("0", "只能续借 1 次，该书已续借过")
    renewed = net.ils_loan("SIP-A", "B1")
    assert renewed is not None
    assert renewed.renewals == 1


def test_s22_the_fourth_foreign_item_is_refused_by_our_own_item_facts(net: Sip2World) -> None:
    net.add_pupil("S1")
    foreign = [f"E{number}" for number in range(4)]
    net.add_items("SIP-A", *foreign, "C1")
    net.app.store.item_facts.save_item_facts(
        [
            ItemFacts(
                ItemId(InstitutionId("SIP-A"), Barcode(barcode)),
                LanguageClass.FOREIGN,
                Shelving.OPEN_SHELF,
                "import",
                net.clock(),
            )
            for barcode in foreign
        ]
    )
    kiosk = net.kiosk("SIP-A")
    assert [kiosk.checkout("S1", barcode).fixed["ok"] for barcode in foreign] == list("1110")
    assert kiosk.checkout("S1", "C1").fixed["ok"] == "1"


def test_s31_an_ils_that_lends_for_21_days_is_found_by_its_due_dates(
    make_sip2_world: MakeWorld,
) -> None:
    net = make_sip2_world(
        codes=("SIP-A",),
        rules=(RuleSettings(category="student", loan_days=21),),
        library='rule_mismatch = "refuse"',
    )
    net.add_pupil("S1")
    net.add_items("SIP-A", "B1")
    assert Capability.LOAN_RULES not in net.sites["SIP-A"].adapter.capabilities
    _check_loan_rules(net.app)
    answer = net.kiosk("SIP-A").checkout("S1", "B1")
    assert (answer.fixed["ok"], answer.get("AH")[:8]) == ("1", "20261212")
    assert net.app.loan_rules.check(InstitutionId("SIP-A")).differing == 1
    with pytest.raises(ConfigurationError, match="SIP-A"):
        _check_loan_rules(net.app)


def test_s38_desk_loans_are_adopted_and_count(net: Sip2World) -> None:
    patron = net.add_pupil("S1")
    barcodes = [f"D{number}" for number in range(7)]
    net.add_items("SIP-A", *barcodes, "K1", "K2")
    for barcode in barcodes:
        net.lend_at_desk("SIP-A", "S1", barcode)
    net.clock.advance(minutes=5)
    kiosk = net.kiosk("SIP-A")
    assert kiosk.checkout("S1", "K1").fixed["ok"] == "1"
    assert kiosk.checkout("S1", "K2").fixed["ok"] == "0"
    loans = net.app.store.ledger.list_unclosed(patron)
    adopted = [loan for loan in loans if loan.origin is LoanOrigin.DESK]
    assert len(adopted) == 7
    assert all(loan.due is not None for loan in adopted)
    net.return_at_desk("SIP-A", "D0")
    net.clock.advance(minutes=5)
    assert kiosk.checkout("S1", "K2").fixed["ok"] == "1"
    assert len(unclosed(net, patron)) == 8


@pytest.mark.parametrize("card", ["A0001", "TEACHER", "NOBODY"])
def test_s39_people_we_did_not_enrol_pass_through(net: Sip2World, card: str) -> None:
    net.add_reader("SIP-A", "A0001")
    net.add_reader("SIP-A", "TEACHER", category="collective")
    barcodes = [f"T{number}" for number in range(10)]
    net.add_items("SIP-A", *barcodes)
    kiosk = net.kiosk("SIP-A")
    answers = [kiosk.checkout(card, barcode) for barcode in barcodes]
    known = card != "NOBODY"
    assert {answer.fixed["ok"] for answer in answers} == {"1" if known else "0"}
    assert answers[0].get("AF")
    assert count_in_ils(net, "SIP-A", card) == (10 if known else 0)
    assert net.rows("loan") == [] == net.rows("person")
    assert all(row["person_id"] is None for row in net.rows("event"))

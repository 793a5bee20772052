from __future__ import annotations

from datetime import UTC, datetime, timedelta

import adapters.local
from connector.domain.bib import BibSummary
from connector.domain.ids import InstitutionId
from connector.marc.write import build_record
from connector.plugins.hookspecs import DemoContext, DemoIlsContext, DemoItem
from connector.ports.ils import API_CAPABILITIES, PatronInput
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.terminal import WireProfile
from connector.testing.fake_ils import koha_a

START = datetime(2026, 9, 7, 2, 0, tzinfo=UTC)
STOCK = (
    DemoItem("D1", build_record(BibSummary("夏洛的网", languages=("chi",), isbn="9787532733415"))),
    DemoItem(
        "D2",
        build_record(BibSummary("Matilda", languages=("eng",), clc_class="I561.84"), "cnmarc"),
        dialect="cnmarc",
        location="closed",
    ),
)


def seed(adapter):
    adapters.local.seed_demonstration(DemoContext(InstitutionId("LIB"), adapter, STOCK))


def test_it_offers_one_adapter_that_can_do_everything():
    (spec,) = adapters.local.register_ils_adapters()
    assert spec.name == "local"
    assert spec.capabilities == API_CAPABILITIES


def test_the_demonstration_s_stock_is_added_once(make_world):
    world = make_world(demo=True)
    seed(world.adapter)
    seed(world.adapter)
    item = world.adapter.fetch_item("D2")
    assert (item.title, item.languages, item.permanent_location) == ("Matilda", ("eng",), "closed")
    assert item.clc_class == "I561.84"
    assert len(world.adapter.search_bibs("matilda")) == 1


def test_an_ils_that_is_not_for_the_demonstration_stays_as_it_is(world):
    seed(world.adapter)
    assert world.adapter.fetch_item("D1") is None


def test_the_ils_of_another_adapter_stays_as_it_is():
    other = koha_a()
    seed(other)
    assert other.stock.items == {}


def test_the_demonstration_gets_an_ils_behind_sip2(tmp_path):
    context = DemoIlsContext(
        InstitutionId("LIB"), "Asia/Shanghai", "gbk", tmp_path, lambda: START, STOCK
    )
    ils = adapters.local.open_demonstration_ils(context)
    try:
        ils.add_patron(PatronInput("p1", "P1", "读者甲", "student", pin="2468"))
        profile = WireProfile(encoding="gbk")
        with Sip2Client(ils.host, ils.port, profile=profile, timeout_s=20) as client:
            assert client.login(ils.login, ils.password)
            told = client.exchange(Message("23", {}, [("AA", "P1"), ("AD", "2468")]))
            assert (told.get("AE"), told.get("CQ")) == ("读者甲", "Y")
            item = client.exchange(Message("17", {}, [("AB", "D1")]))
            assert item.get("AJ") == "夏洛的网"
    finally:
        ils.close()
    assert ils.password not in repr(ils)


def test_a_bib_is_searched_by_author_isbn_and_publisher_too(world):
    record = build_record(
        BibSummary("夏洛的网", "怀特", "9787532733415", ("chi",), publisher="上海译文出版社")
    )
    bib_id = world.adapter.add_bib(record, "marc21")
    for query in ("怀特", "9787532733415", "译文 夏洛"):
        hits = world.adapter.search_bibs(query)
        assert [(hit.bib_id, hit.record) for hit in hits] == [(bib_id, record)]
    assert world.adapter.search_bibs("_") == ()
    assert world.adapter.search_bibs("\\") == ()


def test_deleting_an_item_puts_its_reader_back_into_the_queue(world):
    from connector.ports.ils import HoldRequest

    for card in ("P1", "P2"):
        world.patron(card)
    world.title("B1", "B2")
    world.adapter.checkout("P1", "B1", world.at())
    world.adapter.place_hold("P2", HoldRequest("B1"), world.at())
    world.adapter.checkin("B1", world.at())
    assert world.adapter.list_holds("P2")[0].available
    world.adapter.delete_item("B1")
    assert [hold.available for hold in world.adapter.list_holds("P2")] == [False]
    assert world.adapter.checkin("B2", world.at()).hold_patron == "P2"


def test_changes_come_in_pages(world):
    world.patron()
    world.title("B1")
    for _ in range(260):
        world.adapter.checkout("P1", "B1", world.at())
        world.adapter.checkin("B1", world.at())
    changes = list(world.adapter.fetch_changes(world.clock.now))
    assert [change.kind for change in changes] == ["checkout", "checkin"] * 260
    assert list(world.adapter.fetch_changes(world.clock.now + timedelta(seconds=1))) == []

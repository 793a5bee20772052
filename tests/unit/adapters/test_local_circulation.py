from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from adapters.local.settings import RuleSettings
from connector.domain.patron import PatronFlag
from connector.ports.ils import AlertType, BlockReason, HoldRequest

END_OF_7_OCTOBER = datetime(2026, 10, 7, 15, 59, 59, tzinfo=UTC)


def test_a_loan_ends_with_the_thirtieth_day_in_the_library_s_zone(world):
    world.patron()
    world.title("B1")
    assert world.adapter.checkout("P1", "B1", world.at()).due == END_OF_7_OCTOBER


def test_it_knows_no_limit_of_eight(world):
    world.patron(category="student")
    world.title(*(f"B{n}" for n in range(21)))
    done = [world.adapter.checkout("P1", f"B{n}", world.at()) for n in range(21)]
    assert [result.ok for result in done] == [True] * 20 + [False]
    assert done[-1].code == "too_many"
    facts = world.adapter.fetch_patron("P1")
    assert facts.flags == {PatronFlag.TOO_MANY_CHARGED}
    assert facts.counts.charged == facts.loan_limit == 20


def refuse_unknown_patron(world):
    return world.adapter.checkout("NOBODY", "B1", world.at())


def refuse_unknown_item(world):
    return world.adapter.checkout("P1", "B9", world.at())


def refuse_wrong_pin(world):
    return world.adapter.checkout("P1", "B1", world.at(pin="1111"))


def refuse_blocked(world):
    world.adapter.block_patron("P1", BlockReason.STAFF)
    return world.adapter.checkout("P1", "B1", world.at())


def refuse_expired(world):
    world.patron(expires=date(2026, 9, 6))
    return world.adapter.checkout("P1", "B1", world.at())


def refuse_on_loan(world):
    world.adapter.checkout("P2", "B1", world.at())
    return world.adapter.checkout("P1", "B1", world.at())


def refuse_twice(world):
    world.adapter.checkout("P1", "B1", world.at())
    return world.adapter.checkout("P1", "B1", world.at())


def refuse_on_hold(world):
    world.adapter.place_hold("P2", HoldRequest("B1"), world.at())
    return world.adapter.checkout("P1", "B1", world.at())


def refuse_reference(world):
    world.title("R1", item_type="reference")
    return world.adapter.checkout("P1", "R1", world.at())


def refuse_renewal_of_what_is_not_on_loan(world):
    return world.adapter.renew("P1", "B1", world.at())


def refuse_third_renewal(world):
    world.adapter.checkout("P1", "B1", world.at())
    assert world.adapter.renew("P1", "B1", world.at()).ok
    assert world.adapter.renew("P1", "B1", world.at()).ok
    return world.adapter.renew("P1", "B1", world.at())


def refuse_debtor(world):
    world.adapter.charge_fee("P1", Decimal(101))
    return world.adapter.checkout("P1", "B1", world.at())


REFUSALS = [
    (refuse_unknown_patron, "unknown_patron", "读者证不存在", "This card is not known"),
    (refuse_unknown_item, "unknown_item", "馆藏中没有这本书", "This item is not known"),
    (refuse_wrong_pin, "pin_wrong", "密码错误", "The PIN is wrong"),
    (refuse_blocked, "patron_blocked", "停用", "blocked"),
    (refuse_expired, "patron_expired", "过期", "expired"),
    (refuse_on_loan, "item_on_loan", "借给其他读者", "another patron"),
    (refuse_twice, "already_charged", "您已借阅", "already"),
    (refuse_on_hold, "item_on_hold", "预约", "on hold"),
    (refuse_reference, "not_for_loan", "不外借", "not for loan"),
    (refuse_renewal_of_what_is_not_on_loan, "not_on_loan", "没有借阅", "not on loan to you"),
    (refuse_third_renewal, "renewal_limit", "续借次数", "renewed again"),
    (refuse_debtor, "fees_unpaid", "未缴费用", "unpaid"),
]


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize(("refuse", "code", "chinese", "english"), REFUSALS)
def test_a_refusal_says_why_in_the_library_s_language(
    make_world, refuse, code, chinese, english, language
):
    world = make_world(language=language)
    world.patron(pin="2580")
    world.patron("P2")
    world.title("B1")
    result = refuse(world)
    assert (result.ok, result.code) == (False, code)
    assert (chinese if language == "zh" else english) in result.message


@pytest.mark.parametrize(
    "prepare", [refuse_blocked, refuse_expired, refuse_on_loan, refuse_on_hold, refuse_debtor]
)
def test_no_block_records_what_has_happened(world, prepare):
    world.patron(pin="2580")
    world.patron("P2")
    world.title("B1")
    assert prepare(world).ok is False
    result = world.adapter.checkout("P1", "B1", world.at(no_block=True))
    assert result.ok is True
    assert world.adapter.fetch_item_loan("B1").patron == "P1"
    assert world.adapter.fetch_patron("P2").loans == ()


def test_no_block_twice_is_one_loan_with_the_first_due_date(world):
    world.patron()
    world.title("B1")
    first = world.adapter.checkout("P1", "B1", world.at())
    world.clock.forward(days=3)
    again = world.adapter.checkout("P1", "B1", world.at(no_block=True))
    assert (again.ok, again.due, again.renewed) == (True, first.due, False)
    assert world.adapter.fetch_item_loan("B1").renewals == 0


@pytest.mark.parametrize(("start", "expected"), [("today", "2026-10-12"), ("due", "2026-11-06")])
def test_a_renewal_counts_from_today_or_from_the_due_date(make_world, start, expected):
    world = make_world(rules=(RuleSettings(renewal_from=start),))
    world.patron()
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    world.clock.forward(days=5)
    due = world.adapter.renew("P1", "B1", world.at()).due
    assert due.astimezone(world.adapter.zone).date().isoformat() == expected


def test_the_first_matching_rule_applies(make_world):
    world = make_world(
        rules=(
            RuleSettings(category="child", item_type="dvd", loan_days=2),
            RuleSettings(item_type="dvd", loan_days=7),
            RuleSettings(loan_days=14),
        )
    )
    world.patron("A", category="child")
    world.patron("B", category="adult")
    world.title("D1", "D2", item_type="dvd")
    world.title("B1")
    days = [
        (world.adapter.checkout(card, barcode, world.at()).due - world.clock.now).days
        for card, barcode in (("A", "D1"), ("B", "D2"), ("A", "B1"))
    ]
    assert days == [2, 7, 14]
    assert [rule.loan_days for rule in world.adapter.loan_rules()] == [2, 7, 14]


def test_a_rental_fee_is_charged_once_it_is_agreed_to(make_world):
    world = make_world(rules=(RuleSettings(item_type="dvd", fee=Decimal("2.50")), RuleSettings()))
    world.patron()
    world.title("D1", item_type="dvd")
    refused = world.adapter.checkout("P1", "D1", world.at())
    assert (refused.ok, refused.code, refused.fee.amount) == (False, "fee_due", Decimal("2.50"))
    assert world.adapter.fetch_patron("P1").fees == ()
    assert world.adapter.checkout("P1", "D1", world.at(fee_acknowledged=True)).ok
    assert world.adapter.fetch_patron("P1").fee_total == Decimal("2.50")
    assert world.adapter.fetch_item("D1").fee == Decimal("2.50")


def test_an_overdue_fee_counts_days_in_the_library_s_zone(make_world):
    world = make_world(rules=(RuleSettings(overdue_fee_per_day=Decimal("0.10")),))
    world.patron()
    world.title("B1", "B2")
    for barcode in ("B1", "B2"):
        world.adapter.checkout("P1", barcode, world.at())
    world.adapter.checkin("B1", world.at(at=END_OF_7_OCTOBER))
    assert world.adapter.fetch_patron("P1").fees == ()
    world.adapter.checkin("B2", world.at(at=END_OF_7_OCTOBER + timedelta(days=2, seconds=1)))
    assert world.adapter.fetch_patron("P1").fee_total == Decimal("0.30")


def test_overdue_is_counted_from_the_next_local_day(world):
    world.patron()
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    world.clock.now = END_OF_7_OCTOBER
    assert world.adapter.fetch_patron("P1").counts.overdue == 0
    world.clock.forward(seconds=1)
    assert world.adapter.fetch_patron("P1").counts.overdue == 1


def test_a_return_that_is_older_than_the_loan_closes_nothing(world):
    world.patron()
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    late = world.adapter.checkin("B1", world.at(at=world.clock.now - timedelta(hours=8)))
    assert (late.ok, late.code) == (False, "loan_is_newer")
    assert world.adapter.fetch_item_loan("B1") is not None
    slow_clock = world.at(at=world.clock.now - timedelta(minutes=4))
    assert world.adapter.checkin("B1", slow_clock).ok
    assert world.adapter.fetch_item_loan("B1") is None


def test_a_book_drop_may_date_a_return_back_before_the_loan(world):
    world.patron()
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    last_night = world.clock.now - timedelta(hours=12)
    assert world.adapter.checkin("B1", world.at(), returned_at=last_night).ok


def test_an_item_without_a_branch_is_at_home_everywhere(world):
    world.title("B1", location="kids")
    result = world.adapter.checkin("B1", world.at(branch="MAIN"))
    assert (result.alert, result.destination) == (None, "")
    assert world.adapter.fetch_item("B1").current_location == "kids"


def test_a_return_at_another_branch_is_told_and_sent_home(world):
    world.patron()
    world.title("B1", branch="MAIN", location="open")
    away = world.adapter.checkin("B1", world.at(branch="WEST"))
    assert (away.alert, away.destination) == (AlertType.OTHER_BRANCH, "MAIN")
    assert world.adapter.fetch_item("B1").current_location == "WEST"
    home = world.adapter.checkin("B1", world.at(branch="MAIN"))
    assert (home.alert, home.destination) == (None, "")
    item = world.adapter.fetch_item("B1")
    assert (item.permanent_location, item.current_location) == ("open", "open")


def test_the_queue_of_a_title_bars_only_as_many_copies(world):
    for card in ("P1", "P2", "P3"):
        world.patron(card)
    world.title("B1", "B2")
    world.adapter.place_hold("P1", HoldRequest("B1"), world.at())
    assert world.adapter.checkout("P3", "B2", world.at()).ok
    assert world.adapter.checkout("P2", "B1", world.at()).code == "item_on_hold"
    assert world.adapter.checkout("P1", "B1", world.at()).ok
    assert world.adapter.list_holds("P1") == ()


def test_the_queue_is_served_in_order(world):
    for card in ("P1", "P2", "P3"):
        world.patron(card)
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    second = world.adapter.place_hold("P2", HoldRequest("B1"), world.at())
    third = world.adapter.place_hold("P3", HoldRequest("B1", pickup="WEST"), world.at())
    assert (second.queue_position, third.queue_position) == (1, 2)
    assert world.adapter.checkin("B1", world.at()).hold_patron == "P2"
    assert world.adapter.fetch_item("B1").hold_count == 2
    assert world.adapter.cancel_hold("P2", HoldRequest("B1"), world.at()).ok
    again = world.adapter.checkin("B1", world.at())
    assert (again.hold_patron, again.alert, again.destination) == (
        "P3",
        AlertType.HOLD_OTHER_BRANCH,
        "WEST",
    )
    assert world.adapter.list_holds("P3")[0].available is True


def test_an_expired_hold_is_passed_over(world):
    for card in ("P1", "P2", "P3"):
        world.patron(card)
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    tomorrow = world.clock.now + timedelta(days=1)
    world.adapter.place_hold("P2", HoldRequest("B1", expires=tomorrow), world.at())
    world.adapter.place_hold("P3", HoldRequest("B1"), world.at())
    world.clock.forward(days=2)
    assert world.adapter.checkin("B1", world.at()).hold_patron == "P3"


def test_a_hold_that_is_not_picked_up_ends(world):
    for card in ("P1", "P2"):
        world.patron(card)
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    world.adapter.place_hold("P2", HoldRequest("B1"), world.at())
    world.adapter.checkin("B1", world.at())
    world.clock.forward(days=7)
    assert world.adapter.checkout("P1", "B1", world.at()).code == "item_on_hold"
    world.clock.forward(days=1)
    assert world.adapter.checkout("P1", "B1", world.at()).ok
    assert world.adapter.list_holds("P2") == ()


def test_a_hold_by_title_needs_one_title(world):
    world.patron()
    world.title("B1", title="边城")
    assert world.adapter.place_hold("P1", HoldRequest(title="边城"), world.at()).ok
    assert (
        world.adapter.place_hold("P1", HoldRequest(title="没有"), world.at()).code
        == "unknown_title"
    )
    world.title("B2", title="边城")
    assert (
        world.adapter.cancel_hold("P1", HoldRequest(title="边城"), world.at()).code
        == "unknown_title"
    )


def test_a_patron_holds_nothing_that_he_has(world):
    world.patron()
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    assert world.adapter.place_hold("P1", HoldRequest("B1"), world.at()).code == "already_charged"


def test_a_missing_item_is_found_by_its_return(world):
    world.patron()
    world.title("B1")
    with world.adapter.database.write() as connection:
        connection.exec_driver_sql("UPDATE item SET status = '13' WHERE barcode = 'B1'")
    assert world.adapter.checkout("P1", "B1", world.at()).code == "item_missing"
    assert world.adapter.checkin("B1", world.at()).ok
    assert world.adapter.checkout("P1", "B1", world.at()).ok

from __future__ import annotations

from decimal import Decimal

import pytest

from connector.domain.patron import PatronFlag
from connector.errors import UnexpectedResponse
from connector.ports.ils import BlockReason, FeePayment, HoldRequest, PatronInput

ID_NUMBER = "11010119900307109X"


def test_any_number_of_a_patron_finds_him(world):
    world.patron(identifiers={"id_card": ID_NUMBER, "ssc": "S1"})
    for number in ("P1", ID_NUMBER, "S1"):
        facts = world.adapter.fetch_patron(number)
        assert (facts.valid, facts.ils_patron) == (True, "P1")
    world.title("B1")
    assert world.adapter.checkout(ID_NUMBER, "B1", world.at()).ok


def test_a_number_that_two_patrons_have_names_neither_but_a_card_wins(world):
    world.patron("P1", identifiers={"student_no": "77"})
    world.patron("P2", identifiers={"old_card": "77"})
    assert world.adapter.fetch_patron("77").valid is False
    world.patron("77")
    assert world.adapter.fetch_patron("77").ils_patron == "77"
    assert world.adapter.find_patron(identifiers={"old_card": "77"}) == "P2"
    assert world.adapter.find_patron(identifiers={"card": "P1"}) == "P1"


def test_a_number_of_one_kind_belongs_to_one_patron(world):
    world.patron("P1", identifiers={"id_card": ID_NUMBER})
    with pytest.raises(UnexpectedResponse) as refused:
        world.patron("P2", identifiers={"id_card": ID_NUMBER})
    assert refused.value.code == "duplicate_identifier"
    assert world.adapter.fetch_patron("P2").valid is False


def test_a_lost_card_is_replaced_and_the_loans_stay(world):
    world.patron(identifiers={"id_card": ID_NUMBER}, pin="2580")
    world.title("B1")
    world.adapter.checkout("P1", "B1", world.at())
    result = world.adapter.upsert_patron(PatronInput("x-P1", "P9", name="王小明", category="adult"))
    assert (result.created, result.ils_patron) == (False, "P9")
    assert world.adapter.fetch_patron("P1").valid is False
    facts = world.adapter.fetch_patron("P9")
    assert [loan.barcode for loan in facts.loans] == ["B1"]
    assert world.adapter.fetch_patron(ID_NUMBER).valid is False
    assert world.adapter.verify_pin("P9", "2580")


def test_pins_are_argon2id_hashes(world):
    world.patron(pin="2580")
    with world.adapter.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT pin_hash FROM patron").scalar_one()
    assert kept.startswith("$argon2id$")
    assert "2580" not in kept


def test_a_patron_without_a_pin_has_no_right_one(world):
    world.patron()
    assert world.adapter.fetch_patron("P1", "").pin_valid is False
    assert world.adapter.fetch_patron("P1").pin_valid is None
    assert world.adapter.verify_pin("P1", "") is False


def test_blocks_set_the_flags_of_sip2(world):
    world.patron()
    world.adapter.block_patron("P1", BlockReason.CARD_LOST)
    assert world.adapter.fetch_patron("P1").flags == {
        PatronFlag.CHARGE_DENIED,
        PatronFlag.RENEWAL_DENIED,
        PatronFlag.RECALL_DENIED,
        PatronFlag.HOLD_DENIED,
        PatronFlag.CARD_LOST,
    }


def test_closing_erases_the_person_and_keeps_the_card_number(world):
    world.patron(identifiers={"id_card": ID_NUMBER}, phone="13800000000", pin="2580", school="一小")
    world.title("B1")
    world.adapter.place_hold("P1", HoldRequest("B1"), world.at())
    world.adapter.close_patron("P1")
    with world.adapter.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT * FROM patron").fetchone()
        assert (
            connection.exec_driver_sql("SELECT count(*) FROM patron_identifier").scalar_one() == 0
        )
    text = " ".join(str(value) for value in kept)
    assert "P1" in text
    for personal in ("王小明", "13800000000", "argon2", "一小", ID_NUMBER):
        assert personal not in text
    assert world.adapter.find_patron(external_id="x-P1") is None
    with pytest.raises(UnexpectedResponse) as refused:
        world.adapter.upsert_patron(PatronInput("x-other", "P1", name="别人", category="adult"))
    assert refused.value.code == "duplicate_card"
    assert world.patron("P1") == "P1"
    assert world.adapter.fetch_patron("P1").valid is True


def test_closing_leaves_nothing_that_tells_what_somebody_has_read(world):
    world.patron()
    world.patron("P2")
    world.title("B1", "B2", "B3")
    start = world.clock.now
    world.adapter.place_hold("P1", HoldRequest("B3"), world.at())
    for card, barcode in (("P1", "B1"), ("P2", "B2")):
        assert world.adapter.checkout(card, barcode, world.at()).ok
    world.adapter.charge_fee("P1", Decimal("0.10"), description="B1 late")
    world.adapter.upsert_patron(PatronInput("x-P1", "P7", name="王小明", category="adult"))
    for barcode in ("B1", "B2"):
        assert world.adapter.checkin(barcode, world.at()).ok
    world.adapter.close_patron("P7")
    with world.adapter.database.read() as connection:
        row_id = connection.exec_driver_sql("SELECT id FROM patron WHERE card = 'P7'").scalar_one()

        def count(table, condition=""):
            query = f"SELECT count(*) FROM {table} WHERE patron_id = {row_id} {condition}"
            return connection.exec_driver_sql(query).scalar_one()

        assert (count("loan"), count("hold"), count("fee", "AND description > ''")) == (0, 0, 0)
        assert connection.exec_driver_sql("SELECT count(*) FROM loan").scalar_one() == 1
    changes = {(each.barcode, each.patron) for each in world.adapter.fetch_changes(start)}
    assert changes == {("B1", None), ("B2", "P2")}


def pay(amount, transaction="t1", **values):
    values = {"currency": "CNY"} | values
    return FeePayment(
        Decimal(amount), fee_type="01", payment_type="00", transaction_id=transaction, **values
    )


def test_a_payment_without_a_fee_is_spread_over_the_oldest(world):
    world.patron()
    first = world.adapter.charge_fee("P1", Decimal("0.10"))
    second = world.adapter.charge_fee("P1", Decimal("0.20"))
    assert world.adapter.pay_fee("P1", pay("0.15"), world.at()).ok
    fees = {fee.fee_id: fee.amount for fee in world.adapter.fetch_patron("P1").fees}
    assert fees == {second: Decimal("0.15")}
    assert first not in fees


@pytest.mark.parametrize(
    ("payment", "code"),
    [
        (pay("-1"), "bad_amount"),
        (pay("0"), "bad_amount"),
        (pay("6"), "bad_amount"),
        (pay("0.001"), "bad_amount"),
        (pay("1", currency="USD"), "bad_currency"),
        (pay("1", fee_id="99"), "unknown_fee"),
        (pay("1", fee_id="x"), "unknown_fee"),
    ],
)
def test_a_payment_that_cannot_be_right_is_refused(world, payment, code):
    world.patron()
    world.adapter.charge_fee("P1", Decimal(5))
    assert world.adapter.pay_fee("P1", payment, world.at()).code == code
    assert world.adapter.fetch_patron("P1").fee_total == Decimal(5)


def test_a_transaction_of_one_patron_pays_nothing_for_another(world):
    for card in ("P1", "P2"):
        world.patron(card)
        world.adapter.charge_fee(card, Decimal(5))
    assert world.adapter.pay_fee("P1", pay("5"), world.at()).ok
    assert world.adapter.pay_fee("P1", pay("5"), world.at()).ok
    assert world.adapter.pay_fee("P2", pay("5"), world.at()).ok is False
    assert world.adapter.fetch_patron("P2").fee_total == Decimal(5)


def test_another_payment_under_an_old_number_is_not_swallowed(world):
    world.patron()
    world.adapter.charge_fee("P1", Decimal(5))
    assert world.adapter.pay_fee("P1", pay("2"), world.at()).ok
    assert world.adapter.pay_fee("P1", pay("2.00"), world.at()).ok
    for other in (pay("1"), pay("2", currency="USD")):
        assert world.adapter.pay_fee("P1", other, world.at()).ok is False
    assert world.adapter.fetch_patron("P1").fee_total == Decimal(3)


def test_payments_without_a_transaction_id_count_each(world):
    world.patron()
    world.adapter.charge_fee("P1", Decimal(5))
    assert world.adapter.pay_fee("P1", pay("2", ""), world.at()).ok
    assert world.adapter.pay_fee("P1", pay("2", ""), world.at()).ok
    assert world.adapter.fetch_patron("P1").fee_total == Decimal(1)


def test_fees_above_the_limit_bar_the_card(world):
    world.patron()
    world.adapter.charge_fee("P1", Decimal("100.01"))
    flags = world.adapter.fetch_patron("P1").flags
    assert flags == {PatronFlag.CHARGE_DENIED, PatronFlag.EXCESSIVE_FEES}

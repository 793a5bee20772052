"""What the ILS says about a patron."""

from dataclasses import fields
from datetime import UTC, date, datetime
from decimal import Decimal

from connector.domain.ids import IlsPatronId
from connector.domain.patron import Fee, PatronFacts, PatronFlag

NOW = datetime(2026, 9, 10, 4, 0, tzinfo=UTC)


def test_fees_add_up():
    fees = (Fee("1", Decimal("0.10")), Fee("2", Decimal("12.35")))
    assert PatronFacts(IlsPatronId("FD1"), NOW, fees=fees).fee_total == Decimal("12.45")
    assert PatronFacts(IlsPatronId("FD1"), NOW).fee_total == Decimal(0)


def test_patron_status_has_fourteen_positions():
    assert len(PatronFlag) == 14
    assert next(iter(PatronFlag)) is PatronFlag.CHARGE_DENIED
    assert list(PatronFlag)[5] is PatronFlag.TOO_MANY_CHARGED


def test_personal_fields_stay_out_of_the_repr():
    facts = PatronFacts(
        IlsPatronId("FD1"), NOW, name="丁一一", birth_date=date(2015, 3, 1), email="ding@example.org",
        phone="13800000001", address="无名路1号", message="请联系丁一一",
    )  # fmt: skip
    text = repr(facts)
    for marker in ("丁一一", "2015", "ding@", "13800000001", "无名路"):
        assert marker not in text
    assert {f.name for f in fields(facts)} >= {"name", "birth_date", "email", "phone", "address"}

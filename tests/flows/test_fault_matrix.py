"""Whatever breaks between gateway and ILS: afterwards both agree, nothing was done twice, no place in the quota is lost.

Real processes, real sockets; see ``tests.support.fault_matrix``, which also prints the table.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import structlog

from connector import log
from connector.domain.ids import IlsPatronId
from connector.domain.loan import LoanState
from connector.ports.tasks import TaskKind
from connector.settings import LogSettings
from connector.sip2.codec import Message
from tests.support.fault_matrix import (
    CASES,
    FAULTS,
    FINISH,
    HARMLESS,
    LONG_S,
    MESSAGES,
    Ground,
    Visitor,
    build_request,
    check_quota,
    open_gateway,
    open_ground,
    run_case,
    said_yes,
)
from tests.support.fault_proxy import Fault, FaultProxy, Kind, wait_until
from tests.support.gateway_process import GatewayProcess, Waiting
from tests.support.sip2_ils import CODE, Sip2Ils
from tests.support.world import SteppingClock


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """Thousands of exchanges: their lines would take as long as they do."""
    log.configure(LogSettings(level="error"), stream=io.StringIO())
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def ground(tmp_path_factory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("matrix")
    with open_ground(folder, f"sqlite:///{folder}/store.db") as made:
        yield made


@pytest.mark.parametrize(("message", "fault", "recovery"), CASES)
def test_after_recovery_ils_and_ledger_agree(ground, message, fault, recovery) -> None:
    assert run_case(ground, message, fault, recovery) == []


@pytest.mark.parametrize("question", ["63", "17"])
@pytest.mark.parametrize("fault", ["cut after passing on", "garbage", "held back"])
def test_a_question_that_fails_changes_nothing(ground, question, fault) -> None:
    visitor = ground.add_visitor(1)
    pattern = FAULTS[fault]
    # A read is tried again on another connection: the line has to be down for that as well.
    ground.proxy.arm(Fault(pattern.kind, question, seconds=pattern.seconds, then_down=True))
    answer = ground.kiosk.checkout(visitor.card, visitor.books[0])
    assert not said_yes(answer)
    ground.proxy.heal()
    assert ground.differences(visitor) == []
    assert said_yes(ground.kiosk.checkout(visitor.card, visitor.books[0]))
    assert check_quota(ground, visitor) == []


# -- fees ------------------------------------------------------------------------------------------


def payment(ground: Ground, visitor: Visitor, transaction: str) -> Message:
    fixed = {"fee_type": "01", "payment_type": "00", "currency": "CNY"}
    fields = [("AO", ""), ("BV", "1.00"), ("AA", visitor.card)]
    fields += [("BK", transaction)] if transaction else []
    return Message("37", {"transaction_date": ground.kiosk.stamp(), **fixed}, fields)


def pay(ground: Ground, visitor: Visitor, transaction: str, kiosk=None) -> Message:
    return (kiosk or ground.kiosk).client.exchange(payment(ground, visitor, transaction))


def charge(ground: Ground, visitor: Visitor) -> None:
    stock = ground.ils.stock()
    stock.charge_fee(IlsPatronId(visitor.card), Decimal("9.00"))
    stock.close()


def unknown_payments(world) -> int:
    return len(world.app.store.tasks.list_tasks(CODE, kind=TaskKind.UNKNOWN_PAYMENT))


CUT_PAYMENTS = [name for name in FAULTS if name not in {*HARMLESS, "connection refused"}]


@pytest.mark.parametrize(
    ("fault", "transaction"),
    [(fault, "T") for fault in CUT_PAYMENTS]
    + [("cut before passing on", ""), ("cut after passing on", ""), ("garbage", "")],
)
def test_a_payment_cut_in_the_middle_is_listed_and_never_sent_again(
    ground, fault, transaction
) -> None:
    visitor = ground.add_visitor(0)
    charge(ground, visitor)
    number = transaction and f"{transaction}-{visitor.card}"
    pattern = FAULTS[fault]
    sent, booked, listed = (
        ground.proxy.seen["37"],
        ground.ils.count("payment"),
        unknown_payments(ground.world),
    )
    armed = ground.proxy.arm(
        Fault(pattern.kind, "37", at=pattern.at, seconds=pattern.seconds, then_down=True)
    )
    answer = pay(ground, visitor, number)
    assert answer.fixed["payment_accepted"] == "N"
    assert armed.struck.wait(LONG_S + 4)
    ground.proxy.heal()
    for step in (0, 20, 70):
        ground.tick(seconds=step)
        assert pay(ground, visitor, number).fixed["payment_accepted"] == "N"
    ground.settle()
    assert pay(ground, visitor, number).fixed["payment_accepted"] == "N"
    assert ground.proxy.seen["37"] - sent == 1
    never_passed = pattern.kind in {Kind.CUT_BEFORE, Kind.HOLD_BEFORE}
    assert ground.ils.count("payment") - booked == (0 if never_passed else 1)
    assert unknown_payments(ground.world) - listed == 1


@pytest.mark.parametrize("fault", sorted(HARMLESS))
def test_a_payment_that_is_answered_after_all_is_made_once(ground, fault) -> None:
    visitor = ground.add_visitor(0)
    charge(ground, visitor)
    pattern = FAULTS[fault]
    sent, listed = ground.proxy.seen["37"], unknown_payments(ground.world)
    ground.proxy.arm(Fault(pattern.kind, "37", seconds=pattern.seconds))
    for _ in range(2):
        answer = pay(ground, visitor, f"H-{visitor.card}")
        assert answer.fixed["payment_accepted"] == "Y"
    assert ground.proxy.seen["37"] - sent == 1
    assert unknown_payments(ground.world) == listed


def test_a_payment_is_not_sent_again_after_a_restart(tmp_path) -> None:
    store = f"sqlite:///{tmp_path}/store.db"
    with open_ground(tmp_path, store) as ground:
        visitor = ground.add_visitor(0)
        charge(ground, visitor)
        ground.proxy.arm(Fault(Kind.CUT_AFTER, "37", then_down=True))
        assert pay(ground, visitor, "T1").fixed["payment_accepted"] == "N"
        ground.proxy.heal()
        ground.world.close()
        again = open_gateway(tmp_path, store, ground.proxy.port, ground.world.clock)
        try:
            told = pay(ground, visitor, "T1", again.kiosk(CODE))
            assert told.fixed["payment_accepted"] == "N"
            assert ground.proxy.seen["37"] == 1
            assert unknown_payments(again) == 1
        finally:
            again.close()


def test_a_payment_that_was_not_sent_may_be_made_later(ground) -> None:
    visitor = ground.add_visitor(0)
    charge(ground, visitor)
    ground.proxy.go_down()
    listed = unknown_payments(ground.world)
    assert pay(ground, visitor, f"N-{visitor.card}").fixed["payment_accepted"] == "N"
    ground.proxy.heal()
    assert unknown_payments(ground.world) == listed
    assert pay(ground, visitor, f"N-{visitor.card}").fixed["payment_accepted"] == "Y"


# -- an ILS that says no and does it a minute later --------------------------------------------------


@pytest.mark.parametrize(
    ("late_s", "in_time"), [(2.0, False), (0.1, True)], ids=["after our deadline", "in time"]
)
def test_an_ils_that_answers_no_and_lends_a_minute_later(tmp_path, late_s, in_time) -> None:
    with open_ground(
        tmp_path, f"sqlite:///{tmp_path}/store.db", "--late-no", str(late_s)
    ) as ground:
        visitor = ground.add_visitor(1)
        answer = ground.kiosk.checkout(visitor.card, visitor.books[0])
        assert not said_yes(answer)
        assert ground.ils.loans() == []
        ground.world.app.settlement.run_once()
        ground.tick(seconds=70)
        ground.ils.go_file.touch()
        wait_until(lambda: ground.ils.loans() != [])
        if in_time:  # the ILS refused, as far as anybody knows: the next look at the card finds it
            assert ground.kiosk.charged(visitor.card) == visitor.books
        ground.settle()
        assert ground.differences(visitor) == []
        (loan,) = ground.world.app.store.ledger.list_unclosed(visitor.patron_id)
        assert loan.state is (LoanState.OPEN if in_time else LoanState.DISPUTED)
        assert FINISH["11"](ground, visitor, False) == []
        assert check_quota(ground, visitor) == []


# -- killed ----------------------------------------------------------------------------------------


KILLS = [Kind.HOLD_BEFORE, Kind.HOLD]
"""The ILS has not heard of it, or has done it."""


def visitors_with_loans(ground: Ground, rounds: tuple[object, ...] = (0,)) -> dict[object, Visitor]:
    """One pupil per message and round, with his two books on loan where the message needs that."""
    made = {(message, each): ground.add_visitor(2) for message in MESSAGES for each in rounds}
    for (message, _), visitor in made.items():
        for barcode in visitor.books if message != "11" else ():
            assert said_yes(ground.kiosk.checkout(visitor.card, barcode))
    return made


def finish(ground: Ground, visitors: dict, told: dict) -> None:
    ground.settle()
    for key, visitor in visitors.items():
        assert ground.differences(visitor) == [], key
        assert FINISH[key[0]](ground, visitor, told[key]) == [], key
        assert ground.differences(visitor) == [], key
        assert check_quota(ground, visitor) == [], key


@pytest.mark.parametrize("repeats", [False, True], ids=["settlement", "kiosk's repeat"])
def test_the_gateway_is_killed_with_many_exchanges_in_the_air(tmp_path, repeats) -> None:
    clock = SteppingClock(datetime.now(UTC) - timedelta(days=2))
    store = f"sqlite:///{tmp_path}/store.db"
    with ExitStack() as stack:
        ils = stack.enter_context(Sip2Ils(tmp_path / "ils", clock))
        proxy = stack.enter_context(FaultProxy(ils.port))
        world = open_gateway(tmp_path, store, proxy.port, clock)
        ground = Ground(ils, proxy, world, world.kiosk(CODE))
        visitors = visitors_with_loans(ground, tuple(KILLS))
        payers = {} if repeats else add_payers(ground)
        world.close()
        ground.tick(days=2)
        gateway = stack.enter_context(GatewayProcess(tmp_path, proxy.port))
        requests = {
            key: build_request(ground.kiosk, key[0], visitor) for key, visitor in visitors.items()
        }
        aims = {key: visitor.books[0] for key, visitor in visitors.items()}
        requests |= {key: payment(ground, visitor, "") for key, visitor in payers.items()}
        aims |= {key: visitor.card for key, visitor in payers.items()}
        waiting = []
        for (message, kind), request in requests.items():
            code = "29" if message == "65" else message
            fault = Fault(kind, code, text=aims[message, kind], seconds=60)
            proxy.arm(fault)
            waiting.append(Waiting(gateway.kiosk(), request))
            assert fault.struck.wait(20), message
        gateway.kill()
        for each in waiting:
            each.join(20)
        assert [each.answer for each in waiting if each.answer is not None] == []
        proxy.heal()
        if repeats:
            gateway.start()
            for each in [Waiting(gateway.kiosk(), request) for request in requests.values()]:
                each.join(20)
                assert each.answer is not None
            gateway.kill()
        ground.tick(minutes=5)
        ground.world = open_gateway(tmp_path, store, proxy.port, clock)
        stack.callback(ground.world.close)
        ground.kiosk = ground.world.kiosk(CODE)
        finish(ground, visitors, dict.fromkeys(visitors, False))
        for visitor in payers.values():
            assert pay(ground, visitor, "").fixed["payment_accepted"] == "N"
        assert proxy.seen["37"] == unknown_payments(ground.world) == len(payers)


def add_payers(ground: Ground) -> dict[object, Visitor]:
    """Two pupils with fees."""
    made = {("37", kind): ground.add_visitor(0) for kind in KILLS}
    for visitor in made.values():
        charge(ground, visitor)
    return made


def test_the_ils_is_killed_at_its_work_and_comes_back_on_the_same_file(tmp_path) -> None:
    with open_ground(tmp_path, f"sqlite:///{tmp_path}/store.db") as ground:
        moments = (0.0, 0.004, 0.015)
        visitors = visitors_with_loans(ground, moments)
        ground.tick(days=2)
        told = {}
        for moment in moments:
            before = ground.proxy.count_changes()
            waiting = {
                key: Waiting(
                    ground.world.kiosk(CODE).client, build_request(ground.kiosk, key[0], visitor)
                )
                for key, visitor in visitors.items()
                if key[1] == moment
            }
            wait_until(lambda: ground.proxy.count_changes() > before)  # noqa: B023 (at once)
            pause(moment)
            ground.ils.kill()
            for key, each in waiting.items():
                each.join(20)
                assert each.answer is not None, key
                told[key] = said_yes(each.answer)
            ground.ils.start()
        finish(ground, visitors, told)


def test_the_ils_hangs_and_goes_on(tmp_path) -> None:
    with open_ground(tmp_path, f"sqlite:///{tmp_path}/store.db") as ground:
        visitors = visitors_with_loans(ground)
        ground.tick(days=2)
        ground.ils.freeze()
        waiting = {
            key: Waiting(
                ground.world.kiosk(CODE).client, build_request(ground.kiosk, key[0], visitor)
            )
            for key, visitor in visitors.items()
        }
        told = {}
        for key, each in waiting.items():
            each.join(20)
            assert each.answer is not None, key
            told[key] = said_yes(each.answer)
        ground.ils.thaw()
        finish(ground, visitors, told)


def pause(seconds: float) -> None:
    """Wait a moment that is chosen, not a condition."""
    end = datetime.now(UTC) + timedelta(seconds=seconds)
    while datetime.now(UTC) < end:
        pass

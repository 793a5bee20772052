"""Kiosk ↔ gateway ↔ proxy that breaks things ↔ ILS process: one case of the fault matrix, and the table of all of them.

Real: the store, the gateway, TCP, adapters/sip2, the ILS as a process of its own with its own file. After each case the ILS's
tables and the ledger are compared, and the patron borrows until he may not any more. ``python -m tests.support.fault_matrix``
runs every case and prints the table.
"""

from __future__ import annotations

import io
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from adapters.sip2.adapter import SPEC
from connector import log
from connector.domain.ids import Barcode, Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.loan import LoanState
from connector.domain.patron import StandingState
from connector.ports.ils import AdapterContext
from connector.ports.store import PersonalData
from connector.settings import LogSettings
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, encode
from connector.sip2.terminal import WireProfile
from tests.support.fault_proxy import Fault, FaultProxy, Kind
from tests.support.sip2_ils import CODE, LOGIN, PASSWORD, Sip2Ils
from tests.support.world import PASSWORD as KIOSK_PASSWORD
from tests.support.world import SHANGHAI, Kiosk, SteppingClock, World

LIMIT = 8
ILS_DEADLINE_S = 0.8
CAPS = """
workers = 16
max_connections_per_terminal = 50
max_connections_per_address = 500
"""
TIMING = f"""
answer_deadline_s = 1.2
ils_deadline_s = {ILS_DEADLINE_S}
{CAPS}
"""
LONG_S = 6.0
ILS_SETTINGS = {
    "host": "127.0.0.1",
    "login": LOGIN,
    "password_file": "ils.password",
    "connections": 16,
    "failures": 10_000,
    "verdict_s": 0,
    "heartbeat_s": 0,
}
"""The circuit never opens: every case has its line to itself."""

FAULTS: Mapping[str, Fault] = {
    "answer delayed": Fault(Kind.DELAY, "", seconds=0.15),
    "connection refused": Fault(Kind.REFUSE, ""),
    "cut before passing on": Fault(Kind.CUT_BEFORE, ""),
    "cut after passing on": Fault(Kind.CUT_AFTER, ""),
    "cut at byte 1": Fault(Kind.CUT_INSIDE, "", at=1),
    "cut at byte 3": Fault(Kind.CUT_INSIDE, "", at=3),
    "cut at byte 30": Fault(Kind.CUT_INSIDE, "", at=30),
    "cut before AY": Fault(Kind.CUT_INSIDE, "", at=-10),
    "cut before CR": Fault(Kind.CUT_INSIDE, "", at=-1),
    "garbage": Fault(Kind.GARBAGE, ""),
    "a wrong byte": Fault(Kind.GARBLED, ""),
    "slow drip": Fault(Kind.DRIP, "", seconds=0.03),
    "held back": Fault(Kind.HOLD, "", seconds=LONG_S),
    "held, never passed on": Fault(Kind.HOLD_BEFORE, "", seconds=LONG_S),
}
HARMLESS = frozenset({"answer delayed", "a wrong byte"})
"""After a wrong byte the answer is asked for again (97)."""
MESSAGES = ("11", "29", "09", "65")
RECOVERIES = ("asking at once", "settlement", "kiosk's repeat")
CASES = [
    (message, fault, recovery)
    for message in MESSAGES
    for fault in FAULTS
    for recovery in RECOVERIES
    # A connection that is refused is a line that is down.
    if (fault, recovery) != ("connection refused", "asking at once")
]
AGREED = {LoanState.OPEN, LoanState.DISPUTED}


@dataclass
class Visitor:
    """A pupil of one case, with books that are his alone."""

    card: str
    patron_id: PatronId
    books: list[str]
    shelf: list[str]


@dataclass
class Ground:
    """Gateway, proxy and ILS, shared by many cases."""

    ils: Sip2Ils
    proxy: FaultProxy
    world: World
    kiosk: Kiosk
    serial: Iterator[int] = field(default_factory=lambda: count(1))

    def tick(self, **step: float) -> None:
        """Let time pass, for us and for the ILS."""
        self.world.clock.advance(**step)
        self.ils.tick()

    def add_visitor(self, books: int) -> Visitor:
        """Enrol a pupil; put his books and some more on the shelf."""
        number = next(self.serial)
        card = f"S{number:04}"
        barcodes = [f"B{number:04}{at:02}" for at in range(books + LIMIT + 1)]
        self.ils.add(cards=(card,), barcodes=tuple(barcodes))
        return Visitor(card, enrol(self.world, card), barcodes[:books], barcodes[books:])

    def settle(self) -> None:
        """Let the worker do its rounds, far enough apart."""
        for _ in range(3):
            settle_once(self.world)
            self.tick(seconds=200)
        settle_once(self.world)

    def differences(self, visitor: Visitor) -> list[str]:
        """Compare the ILS's own table with the ledger."""
        return compare(self.ils, self.world, visitor)

    def again(self, request: Message) -> None:
        """Reconnect and send the very same bytes once more, as a kiosk does that had no answer."""
        frame = encode(request, WireProfile(), sequence="7", error_detection=True)
        with Sip2Client("127.0.0.1", self.world.server.port, timeout_s=20) as client:
            assert client.login(f"kiosk-{CODE}", KIOSK_PASSWORD)
            client.exchange_raw(frame)


def enrol(world: World, card: str) -> PatronId:
    """Put a pupil into our register, with his account at the ILS."""
    people = world.app.store.people
    patron_id = people.add_person(
        PersonalData(name="张小江"),
        [Identifier("card", card)],
        home=CODE,
        category="student",
        stage="primary",
        state=StandingState.ACTIVE,
    )
    people.set_account(patron_id, CODE, IlsPatronId(card))
    return patron_id


def settle_once(world: World) -> None:
    """Do one round of the worker."""
    app = world.app
    app.settlement.run_once()
    app.replay.run_all()


def compare(ils: Sip2Ils, world: World, visitor: Visitor) -> list[str]:
    """Return in what the ILS's own table and the ledger differ about one pupil."""
    there = {row.barcode: row for row in ils.loans() if row.card == visitor.card}
    here = {
        row.item.barcode: row for row in world.app.store.ledger.list_unclosed(visitor.patron_id)
    }
    found = []
    if set(there) != set(here):
        found.append(f"loans: ILS {sorted(there)}, ledger {sorted(here)}")
    for barcode in set(there) & set(here):
        theirs, ours = there[barcode], here[Barcode(barcode)]
        if ours.state not in AGREED:
            found.append(f"{barcode} is {ours.state}")
        if theirs.renewals != ours.renewals:
            found.append(f"{barcode} renewals: ILS {theirs.renewals}, ledger {ours.renewals}")
        if ours.due is None or ours.due.astimezone(SHANGHAI) != theirs.due.astimezone(SHANGHAI):
            found.append(f"{barcode} due: ILS {theirs.due}, ledger {ours.due}")
    return found


@contextmanager
def open_ground(folder: Path, store_url: str, *options: str, **world: str) -> Iterator[Ground]:
    """Start everything."""
    clock = SteppingClock()
    with ExitStack() as stack:
        ils = stack.enter_context(Sip2Ils(folder / "ils", clock, *options))
        proxy = stack.enter_context(FaultProxy(ils.port))
        made = open_gateway(folder, store_url, proxy.port, clock, **world)
        stack.callback(made.close)
        yield Ground(ils, proxy, made, made.kiosk(CODE))


def open_gateway(
    folder: Path, store_url: str, port: int, clock: SteppingClock, **world: str
) -> World:
    """Open the gateway in front of the ILS at a port."""
    (folder / "ils.password").write_text(PASSWORD, encoding="utf-8")
    settings = SPEC.settings.model_validate({"port": port, **ILS_SETTINGS})
    adapter = SPEC.build(settings, AdapterContext(CODE, "Asia/Shanghai", str(folder), clock))
    given = {"sip2": TIMING, **world}
    return World(folder, store_url, clock=clock, adapters={InstitutionId(CODE): adapter}, **given)  # type: ignore[arg-type]


def run_case(ground: Ground, message: str, fault_name: str, recovery: str) -> list[str]:
    """Play one case; return what is wrong afterwards."""
    visitor = ground.add_visitor(2)
    if message != "11":
        for barcode in visitor.books:
            answer = ground.kiosk.checkout(visitor.card, barcode)
            assert answer.fixed["ok"] == "1", answer.get("AF")
        ground.tick(days=2)
    request = build_request(ground.kiosk, message, visitor)
    pattern = FAULTS[fault_name]
    fault = Fault(
        pattern.kind,
        "29" if message == "65" else message,
        at=pattern.at,
        seconds=pattern.seconds,
        then_down=recovery != "asking at once",
    )
    ground.proxy.arm(fault)
    answer = ground.kiosk.client.exchange(request)
    wrong = []
    if not fault.struck.wait(LONG_S + 4):
        wrong.append("the fault did not happen")
    ground.proxy.heal()
    if fault_name in HARMLESS and not said_yes(answer):
        wrong.append("the kiosk had no yes")
    if said_yes(answer) and message in {"11", "29"}:
        wrong += [f"after yes: {one}" for one in ground.differences(visitor)]
    if recovery == "kiosk's repeat":
        ground.again(request)
    ground.settle()
    wrong += ground.differences(visitor)
    if not wrong:
        wrong += FINISH[message](ground, visitor, said_yes(answer))
        wrong += ground.differences(visitor)
        wrong += check_quota(ground, visitor)
    return wrong


def build_request(kiosk: Kiosk, message: str, visitor: Visitor) -> Message:
    """Return what the kiosk sends."""
    who, what = ("AA", visitor.card), ("AB", visitor.books[0])
    stamp = kiosk.stamp()
    match message:
        case "11":
            return kiosk.checkout_request(visitor.card, visitor.books[0])
        case "29":
            fixed = {"third_party_allowed": "N", "no_block": "N", "transaction_date": stamp}
            return Message("29", fixed, [("AO", ""), who, what])
        case "09":
            fixed = {"no_block": "N", "transaction_date": stamp, "return_date": stamp}
            return Message("09", fixed, [("AP", ""), ("AO", ""), what, ("AC", "")])
        case _:
            return Message("65", {"transaction_date": stamp}, [("AO", ""), who])


def said_yes(answer: Message) -> bool:
    return answer.fixed.get("ok") == "1"


def finish_checkout(ground: Ground, visitor: Visitor, told: bool) -> list[str]:
    """The pupil scans the book again: it is his, once."""
    answer = ground.kiosk.checkout(visitor.card, visitor.books[0])
    wrong = [] if said_yes(answer) else [f"scanned again: {answer.get('AF')}"]
    mine = [row.barcode for row in ground.ils.loans() if row.card == visitor.card]
    if mine != visitor.books[:1]:
        wrong.append(f"the ILS has {mine}")
    return wrong


def finish_renewal(ground: Ground, visitor: Visitor, told: bool) -> list[str]:
    """Whatever was not renewed can be renewed once; nothing twice."""
    before = {row.barcode: row.renewals for row in ground.ils.loans() if row.card == visitor.card}
    wrong = []
    for barcode, renewals in before.items():
        if renewals > 1:
            wrong.append(f"{barcode} was renewed {renewals} times")
        answer = ground.kiosk.renew(visitor.card, barcode)
        if said_yes(answer) is (renewals > 0):
            wrong.append(f"{barcode}, renewed {renewals} times: {answer.get('AF')}")
    after = {row.barcode: row.renewals for row in ground.ils.loans() if row.card == visitor.card}
    if set(after.values()) != {1}:
        wrong.append(f"renewals in the end: {after}")
    return wrong


def finish_return(ground: Ground, visitor: Visitor, told: bool) -> list[str]:
    """Who heard "no" puts the book in again; then it is back."""
    if not told:
        ground.kiosk.checkin(visitor.books[0])
        ground.settle()
    mine = [row.barcode for row in ground.ils.loans() if row.card == visitor.card]
    return [] if mine == visitor.books[1:] else [f"the ILS has {mine}"]


FINISH = {
    "11": finish_checkout,
    "29": finish_renewal,
    "09": finish_return,
    "65": finish_renewal,
}


def check_quota(ground: Ground, visitor: Visitor) -> list[str]:
    """Borrow until the limit: exactly so many as are left."""
    has = len([row for row in ground.ils.loans() if row.card == visitor.card])
    lent = 0
    for barcode in visitor.shelf:
        if not said_yes(ground.kiosk.checkout(visitor.card, barcode)):
            break
        lent += 1
    return [] if lent == LIMIT - has else [f"{has} loans, {lent} more lent"]


def print_table(done: Mapping[tuple[str, str, str], list[str]]) -> None:
    """Print message × recovery per fault: how many cases agreed."""
    cells: Counter[tuple[str, str]] = Counter()
    good: Counter[tuple[str, str]] = Counter()
    for (message, fault, _), wrong in done.items():
        cells[fault, message] += 1
        good[fault, message] += not wrong
    width = max(map(len, FAULTS)) + 2
    sys.stdout.write(f"{'':{width}}" + "".join(f"{message:>9}" for message in MESSAGES) + "\n")
    for fault in FAULTS:
        row = "".join(f"{good[fault, m]:>5}/{cells[fault, m]:<3}" for m in MESSAGES)
        sys.stdout.write(f"{fault:{width}}{row}\n")
    total = sum(not wrong for wrong in done.values())
    sys.stdout.write(f"{total} of {len(done)} cases: ILS and ledger agree.\n")


def _main() -> None:
    log.configure(LogSettings(level="error"), stream=io.StringIO())
    done = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with open_ground(folder, f"sqlite:///{folder}/store.db") as ground:
            wanted = [
                case for case in CASES if all(word in " ".join(case) for word in sys.argv[1:])
            ]
            for case in wanted:
                done[case] = run_case(ground, *case)
                if done[case]:
                    sys.stdout.write(f"{case}: {done[case]}\n")
    print_table(done)


if __name__ == "__main__":
    _main()

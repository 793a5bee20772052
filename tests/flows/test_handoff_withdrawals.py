"""Consent that is withdrawn at any moment between the export of a card by a file and its confirmation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from connector.domain.enrolment import CLOSED_STATES, ConsentScope
from connector.domain.handoff import HandoffColumn, HandoffField
from connector.domain.ids import InstitutionId
from connector.domain.patron import StandingState
from connector.enrolment.handoff_file import HandoffLayout
from connector.ports.enrolment import Application
from connector.ports.tasks import TaskKind
from connector.services.activation import Activation
from connector.services.handoff import HandoffService
from connector.services.handoff_result import HandoffOutcome
from connector.services.pacing import Pacing
from tests.support.id_numbers import id_number
from tests.support.pupils import add_school, enrol_pupil
from tests.support.sip2_world import Sip2World

LIB = InstitutionId("SIP-A")
FIELDS = (HandoffField.CARD, HandoffField.NAME, HandoffField.PIN)
LAYOUT = HandoffLayout(tuple(HandoffColumn(each.value, each) for each in FIELDS), header=False)


class Watched:
    """A port that says so before each call."""

    def __init__(self, port: Any, told: Callable[[], None]) -> None:
        self._port = port
        self._told = told

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._port, name)
        if not callable(real):
            return real

        def call(*args: Any, **more: Any) -> Any:
            self._told()
            return real(*args, **more)

        return call


class Withdrawing:
    """Hands over one pupil, has the file loaded, and confirms; withdraws at one of the moments."""

    def __init__(self, world: Sip2World, application: Application, moment: int) -> None:
        self.world = world
        self.application = application
        self.moment = moment
        self.moments = 0
        self.written = ""
        opening = world.app.provisioning(LIB).opening(Pacing(), [application])
        ports = {
            name: Watched(getattr(opening, name), self._tell)
            for name in ("store", "register", "adapter")
        }
        self.service = HandoffService(replace(opening, **ports), LAYOUT)

    def _tell(self) -> None:
        if self.moments == self.moment:
            self.world.app.consents.withdraw([self.application], ConsentScope.CARD, actor="clerk")
        self.moments += 1

    def _give_out(self, given: Activation) -> None:
        assert given.pin
        self._tell()

    def _write(self, content: bytes) -> None:
        self._tell()
        self.written = content.decode()

    def run(self) -> HandoffOutcome:
        self.service.export(
            [self.application], actor="librarian", give_out=self._give_out, write=self._write
        )
        self._tell()
        for line in self.written.splitlines():
            card, name, pin = line.split(",")
            self.world.desk("SIP-A").add_desk_patron(card, name=name, category="student", pin=pin)
        (result,) = self.service.confirm([self.application], actor="librarian")
        self._tell()
        return result.outcome


@pytest.fixture
def world(tmp_path: Path, store_url: str) -> Iterator[Sip2World]:
    made = Sip2World(tmp_path, store_url, codes=("SIP-A",))
    yield made
    made.close()


def enrol(world: Sip2World, serial: int) -> Application:
    school = add_school(world.app, "s1", LIB)
    return enrol_pupil(
        world.app, school, f"孙{chr(0x4E00 + serial)}", id_number(serial), open_card=False
    ).application


def test_withdrawn_at_every_moment(world: Sip2World) -> None:
    app = world.app
    whole = Withdrawing(world, enrol(world, 0), moment=-1)
    assert whole.run() is HandoffOutcome.OPENED
    assert whole.moments > 15
    seen = set()
    for moment in range(whole.moments):
        one = enrol(world, moment + 1)
        run = Withdrawing(world, one, moment)
        seen.add(run.run())
        assert run.moments > moment, "the consent was withdrawn"
        world.clock.advance(minutes=3)  # an attempt that broke off keeps others away for so long
        app.closing.sweep(LIB)

        standing = app.store.people.find_standing(one.patron_id, LIB)
        assert standing is None or standing.state is not StandingState.ACTIVE, moment
        left = app.store.enrolment.fetch_application(one.application_id)
        assert left is None or left.state in CLOSED_STATES, moment
        if run.written:  # the ILS has the account: it is closed there, or the staff are told
            card = run.written.split(",")[0]
            tasks = app.store.tasks.list_tasks(LIB, kind=TaskKind.CLOSING_STUCK)
            assert card in {task.detail.get("account") for task in tasks}, moment
    assert HandoffOutcome.OPENED in seen, "withdrawn after everything"
    assert HandoffOutcome.CLOSING in seen


def test_who_withdraws_while_others_are_taken_up_stands_in_no_file(world: Sip2World) -> None:
    applications = [enrol(world, serial) for serial in range(3)]
    opening = world.app.provisioning(LIB).opening(Pacing(), applications)
    given: list[Activation] = []

    def give_out(result: Activation) -> None:
        given.append(result)
        if len(given) == 3:  # the first stands in the file as good as ever
            world.app.consents.withdraw(applications[:1], ConsentScope.CARD, actor="clerk")

    written: list[bytes] = []
    results = HandoffService(opening, LAYOUT).export(
        applications, actor="librarian", give_out=give_out, write=written.append
    )
    assert [result.outcome for result in results] == [
        HandoffOutcome.CLOSING,
        HandoffOutcome.HANDED_OFF,
        HandoffOutcome.HANDED_OFF,
    ]
    cards = [line.split(",")[0] for line in written[0].decode().splitlines()]
    assert cards == [result.card for result in results[1:]]


def test_a_file_that_failed_leaves_an_earlier_one_alone(world: Sip2World) -> None:
    """The first file may be loaded by now: its pupils are still closed in the ILS, never forgotten."""
    old, new = enrol(world, 1), enrol(world, 2)

    def export(*applications: Application, write: Callable[[bytes], object]) -> None:
        opening = world.app.provisioning(LIB).opening(Pacing(), applications)
        HandoffService(opening, LAYOUT).export(
            applications, actor="x", give_out=lambda _: None, write=write, again=True
        )

    def fail(_content: bytes) -> None:
        raise OSError(28, "No space left on device")

    export(old, write=lambda _: None)
    with pytest.raises(OSError, match="No space"):
        export(old, new, write=fail)
    store = world.app.store
    one, two = (store.enrolment.fetch_application(each.application_id) for each in (old, new))
    assert one is not None
    assert two is not None
    assert (one.handed_off_at is not None, two.handed_off_at) == (True, None)
    assert store.people.find_standing(old.patron_id, LIB).ils_patron == one.card  # type: ignore[union-attr]
    assert store.people.find_standing(new.patron_id, LIB).ils_patron is None  # type: ignore[union-attr]

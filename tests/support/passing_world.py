"""A library whose ILS is a scripted one, reached by SIP2 over real sockets, and a kiosk in front of the gateway."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from adapters.sip2.adapter import build_adapter
from adapters.sip2.settings import Sip2Settings
from connector.domain.ids import Identifier, IlsPatronId, InstitutionId, PatronId
from connector.domain.patron import StandingState
from connector.ports.ils import AdapterContext, IlsAdapter
from connector.ports.store import PersonalData
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message
from connector.sip2.terminal import WireProfile
from connector.sip2.timestamps import format_date
from tests.support.scripted_ils import ScriptedIls
from tests.support.world import PASSWORD, SHANGHAI, Kiosk, SteppingClock, World

CODE = InstitutionId("LIB")
NO_DATE = " " * 18


class PassingWorld:
    """One library; ``ils`` is scripted, the rest is real.

    Args:
        answer_s: how long our adapter waits for the ILS.
        profile: how the kiosk speaks.
        options: of ``World``.
    """

    def __init__(
        self,
        make_world: Callable[..., World],
        folder: Path,
        *,
        answer_s: float = 2.0,
        settings: dict[str, Any] | None = None,
        others: dict[str, IlsAdapter] | None = None,
        profile: WireProfile | None = None,
        **options: Any,
    ) -> None:
        self._stack = ExitStack()
        self.ils = self._stack.enter_context(ScriptedIls())
        clock = SteppingClock()
        made = Sip2Settings.model_validate(
            {
                "host": "127.0.0.1",
                "port": self.ils.port,
                "answer_s": answer_s,
                "connect_s": min(1.0, answer_s),
                "heartbeat_s": 0,
                "verdict_s": 0,
                "failures": 1000,
                **(settings or {}),
            }
        )
        context = AdapterContext(CODE, "Asia/Shanghai", str(folder), clock)
        self.adapter = build_adapter(made, context)
        self.world = make_world(
            clock=clock, adapters={CODE: self.adapter, **(others or {})}, **options
        )
        client = self._stack.enter_context(
            Sip2Client("127.0.0.1", self.world.server.port, profile=profile, timeout_s=30)
        )
        assert client.login(f"kiosk-{CODE}", PASSWORD)
        self.kiosk = Kiosk(client, clock, SHANGHAI)

    def close(self) -> None:
        self.adapter.close()
        self._stack.close()

    @property
    def now(self) -> str:
        return format_date(self.world.clock(), SHANGHAI)

    def enrol(self, card: str, *, ils_number: str = "") -> PatronId:
        """Enrol an invented pupil whom the ILS knows by ``ils_number``."""
        people = self.world.app.store.people
        person = people.add_person(
            PersonalData(name="张小江"),
            [Identifier("card", card)],
            home=CODE,
            category="student",
            stage="primary",
            state=StandingState.ACTIVE,
        )
        people.set_account(person, CODE, IlsPatronId(ils_number or card))
        return person

    def raw(self, frame: str) -> str:
        """Send a frame without AY and AZ; return the answer, which has none either."""
        return self.kiosk.client.exchange_raw(frame.encode()).decode()

    def says(self, code: str, fixed: dict[str, str], *fields: tuple[str, str]) -> None:
        """Script the ILS's next answer; its fields go out in this order."""
        self.ils.once(_REQUEST[code], Message(code, fixed, list(fields), in_order=True))


_REQUEST = {
    "24": "23", "64": "63", "12": "11", "30": "29", "10": "09", "66": "65", "18": "17", "16": "15",
    "38": "37", "20": "19", "26": "25",
}  # fmt: skip

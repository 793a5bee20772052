"""Whatever a SIP2 ILS says, a kiosk gets a legal frame of the right pair, and nothing that it may not have."""

from __future__ import annotations

import time
from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.domain.wire import WireMessage
from connector.ports.answer import AnswerSlot
from connector.ports.ils import API_CAPABILITIES, Capability, ExchangeContext
from connector.sip2.codec import Message, decode, encode
from connector.sip2.dispatch import Exchange
from connector.sip2.replies import answer_code
from connector.sip2.spec import SPECS
from connector.sip2.tags import PERSONAL_TAGS, SECRET_TAGS
from connector.sip2.terminal import WireProfile
from connector.testing.fake_ils import FakeIls
from tests.support.world import World

TEXT = st.text(max_size=12) | st.sampled_from(
    ["S1", "A9", "B1", "a|b", "a\rb", "王小明", "Y", "9" * 300]
)
TAGS = st.sampled_from(
    ["AA", "AB", "AC", "AD", "AE", "AF", "AG", "AH", "AJ", "AO", "AU", "BD", "BL", "BV", "CB", "CQ", "CY",
     "PB", "XO", "ZZ", "Z9"]
)  # fmt: skip
FIXED = st.dictionaries(
    st.sampled_from(["ok", "patron_status", "hold_count", "transaction_date", "language", "alert"]),
    TEXT,
)
FORWARDED = ["23", "63", "15", "17", "19", "65", "01", "25"]
RELAXED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


class Speaking(FakeIls):
    """Speaks SIP2, and says what a test wants."""

    says: WireMessage | None = None

    def forward(self, message: WireMessage, context: ExchangeContext) -> WireMessage | None:
        del message, context
        return self.says


def test_any_answer_of_the_ils(make_world: Callable[..., World]) -> None:
    ils = Speaking("KOHA-A", capabilities=API_CAPABILITIES | {Capability.FORWARD}, name="sip2")
    permissions = "permissions = ['block_patron', 'enable_patron', 'item_status']"
    world = make_world(adapters={"KOHA-A": ils}, terminal=permissions)
    world.add_pupil("S1")
    world.add_items("KOHA-A", "B1")
    ils.new_patron("A9")
    terminal = next(iter(world.app.terminals.values()))
    wire = WireProfile()

    @RELAXED
    @given(
        code=st.sampled_from(FORWARDED),
        other=st.none() | st.sampled_from(sorted(SPECS)),
        card=st.sampled_from(["S1", "A9"]),
        fixed=FIXED,
        fields=st.lists(st.tuples(TAGS, TEXT), max_size=10),
    )
    def check(
        code: str,
        other: str | None,
        card: str,
        fixed: dict[str, str],
        fields: list[tuple[str, str]],
    ) -> None:
        expected = answer_code(code) or ""
        ils.says = WireMessage(other or expected, fixed, tuple(fields))
        asked = Message(code, {"hold_mode": "+"}, [("AA", card), ("AB", "B1"), ("CH", "x")])
        answer = world.app.gateway.handle(
            asked, Exchange(terminal, AnswerSlot(), time.monotonic() + 10, "000")
        )
        assert answer is not None
        assert answer.code == expected
        again = decode(encode(answer, wire).rstrip(b"\r"), wire)
        assert again.code == expected
        assert again.problems == ()
        assert again.message is not None
        sent = {tag for tag, _ in again.message.fields}
        assert sent.issuperset(SPECS[expected].required)
        assert not sent & (SECRET_TAGS | PERSONAL_TAGS)
        names = [value for value in again.message.get_all("AE") if value]
        assert all(name.endswith("*") for name in names)

    check()

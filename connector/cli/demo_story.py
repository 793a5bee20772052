"""The self-check session of the demonstration: what is sent over TCP, what must come back, and what
came back.

Nothing here builds or enrols. Rules: every step says what the policy demands and is compared with
the real answer; the demonstration fails when one differs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from connector.cli.demo_data import SampleItem
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, encode, format_date
from connector.sip2.terminal import WireProfile

__all__ = [
    "DemoClock",
    "Kiosk",
    "Step",
    "StoryPatron",
    "tell_of_two_libraries",
    "tell_story",
]

_ITEM_LIMIT = 8
_FOREIGN_LIMIT = 3


class DemoClock:
    """The real clock, moved forward by whole days, so that a month fits into a minute."""

    def __init__(self, start: Callable[[], datetime]) -> None:
        self._start = start
        self._ahead = timedelta()

    def __call__(self) -> datetime:
        """Return the moment."""
        return self._start() + self._ahead

    def advance(self, days: int) -> None:
        """Move the clock forward."""
        self._ahead += timedelta(days=days)


@dataclass(frozen=True, slots=True)
class StoryPatron:
    """Somebody who stands at the machine."""

    card: str
    pin: str
    id_number: str
    name: str


@dataclass(frozen=True, slots=True)
class Step:
    """One thing shown: what should happen, and whether it did."""

    title: str
    sent: str
    answer: str
    holds: bool


class Kiosk:
    """A self-check machine."""

    def __init__(self, client: Sip2Client, now: Callable[[], datetime], zone: ZoneInfo) -> None:
        self.client = client
        self._now = now
        self._zone = zone

    def stamp(self) -> str:
        """Return the transaction date."""
        return format_date(self._now(), self._zone)

    def checkout(self, patron: str, barcode: str, pin: str = "") -> Message:
        """Send 11."""
        return self.client.exchange(self.checkout_request(patron, barcode, pin))

    def checkout_request(self, patron: str, barcode: str, pin: str = "") -> Message:
        """Return a 11."""
        fixed = {"sc_renewal_policy": "N", "no_block": "N", "transaction_date": self.stamp()}
        fields = [("AO", ""), ("AA", patron), ("AB", barcode), ("AC", "")]
        return Message("11", fixed, fields + ([("AD", pin)] if pin else []))

    def renew(self, patron: str, barcode: str) -> Message:
        """Send 29."""
        fixed = {"third_party_allowed": "N", "no_block": "N", "transaction_date": self.stamp()}
        return self.client.exchange(
            Message("29", fixed, [("AO", ""), ("AA", patron), ("AB", barcode)])
        )

    def checkin(self, barcode: str) -> Message:
        """Send 09."""
        fixed = {"no_block": "N", "transaction_date": self.stamp(), "return_date": self.stamp()}
        fields = [("AP", ""), ("AO", ""), ("AB", barcode), ("AC", "")]
        return self.client.exchange(Message("09", fixed, fields))

    def hold(self, patron: str, barcode: str) -> Message:
        """Send 15: a hold on this very copy."""
        fixed = {"hold_mode": "+", "transaction_date": self.stamp()}
        fields = [("AO", ""), ("AA", patron), ("AB", barcode), ("BY", "3")]
        return self.client.exchange(Message("15", fixed, fields))

    def information(self, patron: str) -> Message:
        """Send 63 and ask for the list of what is on loan."""
        fixed = {"language": "019", "transaction_date": self.stamp(), "summary": "  Y       "}
        return self.client.exchange(Message("63", fixed, [("AO", ""), ("AA", patron)]))


def tell_story(
    kiosk: Kiosk,
    clock: DemoClock,
    *,
    zone: ZoneInfo,
    patrons: Sequence[StoryPatron],
    adult: str,
    stock: Sequence[SampleItem],
) -> Iterator[Step]:
    """Play the session, step by step.

    Args:
        patrons: at least four pupils with nothing on loan.
        adult: card of somebody whom the ILS knows and we did not enrol.
        stock: at least 26 Chinese and 4 foreign items to borrow, and one closed-stack item.
    """
    chinese = iter([s.item.barcode for s in stock if s.loanable and s.language == "chi"])
    foreign = iter([s.item.barcode for s in stock if s.loanable and s.language != "chi"])
    closed = next(s.item.barcode for s in stock if not s.loanable and s.item.location == "stack")
    first, second, third, fourth = patrons[:4]

    firsts = [next(chinese) for _ in range(_ITEM_LIMIT)]
    for number, barcode in enumerate(firsts, start=1):
        answer = kiosk.checkout(first.card, barcode)
        yield _step(
            f"loan {number} of 8 is accepted", f"11 AA{first.card} AB{barcode}", answer, ok=True
        )
    barcode = next(chinese)
    answer = kiosk.checkout(first.card, barcode)
    yield _step("the ninth is refused", f"11 AA{first.card} AB{barcode}", answer, ok=False)

    kept = [next(chinese), next(chinese)]
    for barcode in [*kept, *(next(foreign) for _ in range(_FOREIGN_LIMIT))]:
        answer = kiosk.checkout(second.card, barcode)
        yield _step(
            "2 Chinese and 3 foreign are accepted",
            f"11 AA{second.card} AB{barcode}",
            answer,
            ok=True,
        )
    barcode = next(foreign)
    answer = kiosk.checkout(second.card, barcode)
    yield _step(
        "the fourth foreign one is refused, with five out",
        f"11 AA{second.card} AB{barcode}",
        answer,
        ok=False,
    )

    clock.advance(10)
    answer = kiosk.renew(second.card, kept[0])
    due = (clock().astimezone(zone) + timedelta(days=30)).strftime("%Y%m%d")
    right = answer.get("AH").startswith(due)
    yield _step(
        "ten days later: renewed to 30 days from today",
        f"29 AA{second.card} AB{kept[0]}",
        answer,
        ok=True,
        also=right,
    )
    answer = kiosk.renew(second.card, kept[0])
    yield _step(
        "the second renewal is refused", f"29 AA{second.card} AB{kept[0]}", answer, ok=False
    )
    kiosk.hold(fourth.card, kept[1])
    answer = kiosk.renew(second.card, kept[1])
    yield _step(
        "reserved by somebody: no renewal", f"29 AA{second.card} AB{kept[1]}", answer, ok=False
    )

    answer = kiosk.checkout(third.card, closed)
    yield _step("a closed-stack item is refused", f"11 AA{third.card} AB{closed}", answer, ok=False)
    barcode = next(chinese)
    answer = kiosk.checkout(third.id_number, barcode)
    listed = barcode in kiosk.information(third.card).get_all("AU")
    yield _step(
        "an ID card works as the card",
        f"11 AA{third.id_number[:6]}… AB{barcode}",
        answer,
        ok=True,
        also=listed,
    )

    barcode = next(chinese)
    request = kiosk.checkout_request(fourth.card, barcode)
    frame = encode(request, WireProfile(), sequence="5", error_detection=True)
    once, again = kiosk.client.exchange_raw(frame), kiosk.client.exchange_raw(frame)
    answer = kiosk.checkout(fourth.card, barcode)
    count = kiosk.information(fourth.card).fixed["charged_count"]
    yield _step(
        f"sent three times, counted once (charged {count})",
        f"11 AA{fourth.card} AB{barcode}",
        answer,
        ok=True,
        also=once == again and count == "0001",
    )

    for number in range(1, _ITEM_LIMIT + 2):
        barcode = next(chinese)
        answer = kiosk.checkout(adult, barcode)
        if number > _ITEM_LIMIT:
            yield _step(
                "an adult passes through with a ninth book",
                f"11 AA{adult} AB{barcode}",
                answer,
                ok=True,
            )

    clock.advance(21)
    answer = kiosk.renew(first.card, firsts[0])
    yield _step(
        "31 days after the checkout: overdue, no renewal",
        f"29 AA{first.card} AB{firsts[0]}",
        answer,
        ok=False,
    )


def tell_of_two_libraries(
    here: Kiosk,
    there: Kiosk,
    clock: DemoClock,
    *,
    zone: ZoneInfo,
    patron: StoryPatron,
    stock: tuple[Sequence[SampleItem], Sequence[SampleItem]],
) -> Iterator[Step]:
    """Play the second part: one pupil, one limit, two libraries.

    Args:
        here, there: machines of the first library and of the one that is reached only by SIP2.
        patron: a pupil with nothing on loan.
        stock: of the first and of the second library.
    """
    card = patron.card
    own, other = (
        [s.item.barcode for s in items if s.loanable and s.language == "chi"] for items in stock
    )
    own_foreign, other_foreign = (
        [s.item.barcode for s in items if s.loanable and s.language != "chi"] for items in stock
    )
    own, own_foreign = own[::-1], own_foreign[::-1]  # the first part took those in front
    for barcode in [*own[:3], *own_foreign[:2]]:
        answer = here.checkout(card, barcode)
        yield _step("5 books at the first library", f"11 AA{card} AB{barcode}", answer, ok=True)
    barcode = other_foreign[0]
    answer = there.checkout(card, barcode)
    yield _step(
        "the third foreign book, lent by the second", f"11 AA{card} AB{barcode}", answer, ok=True
    )
    barcode = other_foreign[1]
    answer = there.checkout(card, barcode)
    yield _step(
        "the fourth foreign book is refused: the limit counts both libraries",
        f"11 AA{card} AB{barcode}",
        answer,
        ok=False,
    )
    for barcode in other[:2]:
        answer = there.checkout(card, barcode)
        yield _step("the second library lends on", f"11 AA{card} AB{barcode}", answer, ok=True)
    barcode = other[2]
    answer = there.checkout(card, barcode)
    yield _step(
        "the ninth of both libraries is refused", f"11 AA{card} AB{barcode}", answer, ok=False
    )
    clock.advance(10)
    kept = other[0]
    answer = there.renew(card, kept)
    due = (clock().astimezone(zone) + timedelta(days=30)).strftime("%Y%m%d")
    yield _step(
        "renewed in the second library's own system",
        f"29 AA{card} AB{kept}",
        answer,
        ok=True,
        also=answer.get("AH").startswith(due),
    )
    answer = there.renew(card, kept)
    yield _step(
        "its system would renew again, the policy does not",
        f"29 AA{card} AB{kept}",
        answer,
        ok=False,
    )
    answer = there.checkin(kept)
    left = there.information(card)
    yield _step(
        "brought back: the place is free",
        f"09 AB{kept}",
        answer,
        ok=True,
        also=kept not in left.get_all("AU"),
    )
    barcode = other[2]
    answer = there.checkout(card, barcode)
    yield _step("so the next book is lent", f"11 AA{card} AB{barcode}", answer, ok=True)


def _step(title: str, sent: str, answer: Message, *, ok: bool, also: bool = True) -> Step:
    said_yes = answer.fixed.get("ok") == "1"
    text = f"{answer.code} ok={answer.fixed.get('ok')} {answer.get('AF')}"
    return Step(title, sent, text, said_yes is ok and also)

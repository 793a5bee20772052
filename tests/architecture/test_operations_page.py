"""The page about operations is true: figures, outcomes, repairs, and the pages for kiosks."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest

from connector.cli.status_page import StoreCollector
from connector.domain.circulation import Reason
from connector.domain.ids import InstitutionId
from connector.ports.operations import OpenCount, StoreState
from connector.services.health import StoreProbe
from connector.sip2.metrics import Sip2Metrics
from connector.sip2.resync import resynchronise

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/operations.md").read_text("utf-8")
KIOSK_PAGES = sorted((ROOT / "docs/how-to/kiosk").glob("*.md"))
A = InstitutionId("A")


class Everything:
    def read_state(self) -> StoreState:
        kinds = (("loan", "asked"), ("loan", "unknown"), ("deferred", "x"), ("payment", "x"))
        return StoreState(
            is_current=True, open=tuple(OpenCount(A, kind, state, 1) for kind, state in kinds)
        )


def test_every_figure_is_documented_and_exists() -> None:
    metrics = Sip2Metrics()
    metrics.observe("99", "answered", 0.1)
    metrics.refuse_connection("total_limit")
    metrics.note_refusal(A, Reason.ITEM_LIMIT, enforced=True)
    metrics.note_wrong_pin(A)
    metrics.note_ils(A, "ping", "unknown", 0.1)
    metrics.registry.register(StoreCollector(StoreProbe(Everything())))
    text = generate_latest(metrics.registry).decode()
    names = re.findall(r"^onecard_\w+", text, re.MULTILINE)
    found = {
        re.sub(r"_(bucket|count|sum)$", "", name)
        for name in names
        if not name.endswith("_created")  # the client library's own
    }
    documented = set(re.findall(r"^\| `(onecard_\w+)", PAGE, re.MULTILINE))
    assert documented == found


def test_repairs_in_the_page_are_those_of_the_codec() -> None:
    source = (ROOT / "connector/sip2/codec.py").read_text("utf-8")
    listed = re.search(r"problems: what was repaired: (.*?)\.\n", source, re.DOTALL)
    (row,) = re.findall(r"^\| `repaired` .*$", PAGE, re.MULTILINE)
    assert listed is not None
    assert resynchronise.__doc__
    assert set(re.findall(r"``(\w+)``", listed[1])) == set(re.findall(r"`(\w+)`", row)) - {
        "repaired"
    }


def test_reasons_in_the_pages_for_kiosks_exist() -> None:
    reasons = {reason.value for reason in Reason}
    for page in KIOSK_PAGES:
        for name in re.findall(r"`reason: (\w+)`", page.read_text("utf-8")):
            assert name in reasons, (page.name, name)


def test_closings_in_the_page_about_connections_exist() -> None:
    source = "".join(path.read_text("utf-8") for path in (ROOT / "connector/sip2").glob("*.py"))
    text = (ROOT / "docs/how-to/kiosk/connection.md").read_text("utf-8")
    words = re.findall(r"^\| `(\w+)`", text, re.MULTILINE)
    assert len(words) > 8
    for word in words:
        assert word == "reason" or f'"{word}"' in source, word

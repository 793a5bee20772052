"""An installation made by ``onecard init``, and patrons in it."""

from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from connector.bootstrap import build
from connector.cli.main import cli
from connector.domain.ids import IlsPatronId, InstitutionId
from connector.domain.patron import StandingState
from connector.ports.ils import ExchangeContext, ItemInput, PatronInput
from connector.ports.store import Identifier, PersonalData
from connector.settings import load_settings

LIB = InstitutionId("LIB")
CARD = "S00000012"
NAME = "张小明"


@pytest.fixture
def onecard(tmp_path):
    """Run ``onecard`` with the settings of the installation."""

    def run(*arguments, config="onecard.toml", **more):
        return CliRunner().invoke(cli, ["--config", str(tmp_path / config), *arguments], **more)

    return run


@pytest.fixture
def installation(tmp_path, onecard):
    """Make an installation and give its folder."""
    assert onecard("init", str(tmp_path)).exit_code == 0
    return tmp_path


@pytest.fixture
def application(installation):
    """Build the application of the installation, to prepare what a command finds."""
    app = build(load_settings(installation / "onecard.toml"))
    yield app
    app.close()


@pytest.fixture
def patron(application):
    """Enrol one patron with an account in the embedded library system."""
    people = application.store.people
    patron_id = people.add_person(
        PersonalData(name=NAME),
        [Identifier("card", CARD)],
        home=LIB,
        category="student",
        state=StandingState.ACTIVE,
    )
    application.adapters[LIB].upsert_patron(
        PatronInput(
            external_id=patron_id, card=IlsPatronId(CARD), name=NAME, category="student",
            expires=date(2099, 1, 1),
        )
    )  # fmt: skip
    people.set_account(patron_id, LIB, IlsPatronId(CARD))
    return SimpleNamespace(patron_id=patron_id, card=CARD, ils=IlsPatronId(CARD))


@pytest.fixture
def lend(application, patron):
    """Lend an item at the library system's own desk, past the connector."""

    def at_desk(barcode):
        adapter = application.adapters[LIB]
        bib_id = adapter.add_bib(bib(), "marc21")
        adapter.add_item(bib_id, ItemInput(barcode=barcode, location="open"))
        result = adapter.checkout(patron.ils, barcode, ExchangeContext(at=datetime.now(UTC)))
        assert result.ok, result

    return at_desk


def bib():
    """Return a small MARC21 record as ISO 2709, built from its parts."""
    fields = [("001", b"t1\x1e"), ("245", b"10\x1faA test book\x1e")]
    directory, data = b"", b""
    for tag, content in fields:
        directory += f"{tag}{len(content):04d}{len(data):05d}".encode()
        data += content
    base = 24 + len(directory) + 1
    length = base + len(data) + 1
    leader = f"{length:05d}nam a22{base:05d} i 4500".encode()
    return leader + directory + b"\x1e" + data + b"\x1d"

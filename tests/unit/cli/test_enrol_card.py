"""``onecard enrol card``: physical, online and lost cards, further numbers, on the embedded ILS."""

import json
import stat

import pytest
from sqlalchemy import select

from connector.domain.identity import normalise_scanned
from connector.storage import tables
from tests.support.pupils import add_school, enrol_pupil

NUMBER = "500230201503010015"
SSC = "D12345678"


@pytest.fixture
def pupil(application):
    return enrol_pupil(application, add_school(application, "s1"), "丁一一", NUMBER)


@pytest.fixture
def card(onecard, pupil):
    """Run a command about the pupil's card."""

    def run(*arguments, number=pupil.card, **more):
        return onecard("--lang", "en", "enrol", "card", number, *arguments, **more)

    return run


def resolve(application, scanned):
    library = next(iter(application.libraries))
    return application.store.people.resolve(normalise_scanned(scanned), library)


def test_the_first_physical_card_is_free_and_the_second_is_not(card):
    first = card("physical")
    assert (first.exit_code, "free of charge" in first.stdout) == (0, True)
    assert "Report it lost first" in card("physical").stderr
    lost = json.loads(card("lost", "--json").stdout)
    assert lost["outcome"] == "changed"
    second = json.loads(card("physical", "--json", number=lost["card"]).stdout)
    assert second == {"kind": "physical", "number": 2, "chargeable": True}
    assert card("physical", "--damaged", number=lost["card"]).stdout.startswith(
        "Physical card no. 3"
    )


def test_a_lost_card_gets_a_new_number_once(card, application, pupil):
    done = card("lost")
    assert done.exit_code == 0
    assert "New card number" in done.stdout
    again = card("lost")
    assert again.exit_code == 0
    assert "before" in again.stdout
    assert resolve(application, pupil.card).is_retired
    assert not resolve(application, NUMBER).is_retired


def test_an_online_card_is_a_picture_and_nothing_else(card, application, installation, pupil):
    out = installation / "card.svg"
    done = card("online", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    assert out.read_bytes().startswith(b"<?xml")
    assert "OC1" not in done.output
    assert "exists" in card("online", "--out", str(out)).stderr
    png = installation / "card.png"
    assert card("online", "--out", str(png)).exit_code == 0
    assert png.read_bytes().startswith(b"\x89PNG")
    held = application.cards.describe(pupil.patron_id).numbers["online_card"]
    assert (held.alive, held.retired) == (1, 1)
    assert card("online", "--out", str(installation / "card.pdf")).exit_code == 2


def test_no_picture_stays_of_a_card_that_was_not_given_out(onecard, application, installation):
    waiting = enrol_pupil(
        application, add_school(application, "s1"), "丁一一", NUMBER, open_card=False
    )
    out = installation / "card.svg"
    done = onecard("enrol", "card", waiting.patron_id, "online", "--out", str(out))
    assert done.exit_code == 1
    assert "not in force" in done.stderr
    assert not out.exists()


def test_show_counts_numbers_and_prints_none(card, pupil, application):
    card("physical")
    card("link", "ssc", input=SSC)
    shown = card("show")
    assert shown.exit_code == 0, shown.output
    for secret in (pupil.card, NUMBER, SSC, "丁一一"):
        assert secret not in shown.output
    document = json.loads(card("show", "--json").stdout)
    assert document["numbers"] == [
        {"kind": kind, "alive": 1, "dead": 0} for kind in ("card", "id_card", "ssc")
    ]
    assert [issue["kind"] for issue in document["issues"]] == ["physical"]
    assert document["card"].endswith(pupil.card[-2:])
    actions = [entry["action"] for entry in audit(application)]
    assert actions.count("card.shown") == 2


def audit(application):
    with application.store.database.read() as connection:
        return [dict(row._mapping) for row in connection.execute(select(tables.audit))]


def test_a_number_is_asked_for_and_linked(card, application, pupil):
    done = card("link", "ssc", "--by", "desk", input=f"{SSC.lower()}\n")
    assert done.exit_code == 0, done.output
    assert SSC not in done.stdout
    assert resolve(application, SSC).patron_id == pupil.patron_id
    assert any(
        entry["action"] == "identifier.added" and entry["actor"] == "desk"
        for entry in audit(application)
    )
    assert card("unlink", "ssc").stdout == "1 removed.\n"
    assert card("unlink", "ssc").exit_code == 1
    assert resolve(application, SSC) is None


@pytest.mark.parametrize(
    ("kind", "number", "words"),
    [
        ("ssc", NUMBER, "identity number"),
        ("ssc", "", "no number"),
        ("chip_uid", "XYZ", "hexadecimal"),
        ("student_no", "G123", "student_no_format"),
    ],
)
def test_what_is_no_such_number_is_refused(card, kind, number, words):
    done = card("link", kind, input=f"{number}\n")
    assert done.exit_code == 1
    assert words in done.stderr
    if number:
        assert number not in done.stdout


def test_an_unknown_card_is_refused_in_one_line(onecard, pupil):
    done = onecard("enrol", "card", "NOBODY", "lost")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("words", [("enrol", "card"), ("violations", "list"), ("ledger", "show")])
def test_an_identity_number_is_not_taken_from_the_command_line(onecard, pupil, words):
    more = ("show",) if words[0] == "enrol" else ()
    told = onecard(*words, NUMBER, *more)
    assert told.exit_code == 1
    assert "command line" in told.output
    assert NUMBER not in told.output
    asked = onecard(*words, "-", *more, input=f"{NUMBER}\n")
    assert asked.exit_code == 0, asked.output

"""``onecard violations``: set, listed, lifted, and in the audit trail."""

import getpass
import json

NAME = "张小明"


def test_violation_is_recorded_listed_and_lifted(onecard, patron, application):
    added = onecard("violations", "add", patron.card, "--kind", "damage", "--by", "li", "--json")
    assert added.exit_code == 0, added.output
    violation = json.loads(added.stdout)["violation"]
    (row,) = json.loads(onecard("violations", "list", patron.card, "--json").stdout)
    assert (row["violation"], row["kind"], row["set_by"]) == (violation, "damage", "li")
    assert row["patron"] == patron.patron_id
    assert application.store.people.find_standing(patron.patron_id, "LIB").violations == 1

    assert onecard("violations", "lift", violation).exit_code == 0
    assert json.loads(onecard("violations", "list", "--json").stdout) == []
    assert application.store.people.find_standing(patron.patron_id, "LIB").violations == 0
    assert application.store.audit.verify()[0]
    written = application.store.database.fetch(
        "SELECT action, actor FROM audit WHERE action LIKE 'violation%' ORDER BY at", ()
    )
    assert [tuple(row) for row in written] == [
        ("violation.added", "li"),
        ("violations.shown", getpass.getuser()),
        ("violation.lifted", getpass.getuser()),
    ]


def test_list_without_violations_says_so(onecard, patron):
    assert onecard("violations", "list").stdout == "None.\n"


def test_list_shows_no_name(onecard, patron):
    onecard("violations", "add", patron.patron_id, "--kind", "damage")
    out = onecard("violations", "list").stdout
    assert "damage" in out
    assert NAME not in out


def test_unknown_patron_is_refused(onecard, patron):
    result = onecard("violations", "add", "S99999999", "--kind", "damage")
    assert result.exit_code == 1
    assert "No enrolled patron" in result.stderr


def test_unknown_violation_is_refused(onecard, patron):
    result = onecard("violations", "lift", "none")
    assert result.exit_code == 1
    assert "onecard violations list" in result.stderr


def test_kind_is_required(onecard, patron):
    assert onecard("violations", "add", patron.card).exit_code == 2

"""``onecard db``: what it says and does about the tables."""

import json

from connector.storage.engine import Database


def write(folder, sql):
    database = Database(f"sqlite:///{folder / 'onecard.db'}")
    try:
        with database.write() as connection:
            connection.exec_driver_sql(sql)
    finally:
        database.close()


def test_new_installation_is_up_to_date(installation, onecard):
    result = onecard("db", "check", "--json")
    assert result.exit_code == 0
    state = json.loads(result.stdout)
    assert state["ok"]
    assert state["found"] == state["wanted"]
    assert "already" in onecard("db", "upgrade").stdout


def test_missing_database_is_reported_and_made_by_upgrade(installation, onecard):
    for file in installation.glob("onecard.db*"):
        file.unlink()
    refused = onecard("db", "check")
    assert refused.exit_code == 1
    assert "onecard db upgrade" in refused.output
    answer = onecard("db", "check", "--json")
    assert answer.exit_code == 1
    assert json.loads(answer.stdout)["found"] is None
    made = onecard("db", "upgrade", "--json")
    assert made.exit_code == 0
    assert json.loads(made.stdout)["before"] is None
    assert onecard("db", "check").exit_code == 0


def test_database_of_a_newer_release_is_accepted_and_said(installation, onecard):
    write(installation, "UPDATE alembic_version SET version_num = '9999'")
    result = onecard("db", "check")
    assert result.exit_code == 0
    assert "newer release" in result.stdout


def test_help_shows_an_example(onecard):
    for command in ("upgrade", "check"):
        assert f"onecard db {command}" in onecard("db", command, "--help").stdout

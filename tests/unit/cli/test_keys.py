"""``onecard keys`` and ``onecard audit`` over a real installation."""

from __future__ import annotations

import csv
import io
import json
import stat

import pytest

from connector.storage.crypto import Keyring


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr("connector.storage.crypto.CHECK_EVERY_S", 0.02)
    monkeypatch.setattr("connector.storage.key_rotation._SETTLE_S", 0.1)


def test_keys_are_listed_rotated_and_kept_while_needed(installation, application, onecard, patron):
    (before,) = json.loads(onecard("keys", "list", "--json").stdout)
    assert (before["role"], before["persons"], before["identifiers"]) == ("active", 1, 1)
    result = onecard("keys", "rotate", "--json", "--by", "admin1")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["is_new"], report["persons"], report["identifiers"]) == (True, 1, 1)
    assert application.store.people.fetch_personal(patron.patron_id).name
    new, old = json.loads(onecard("keys", "list", "--json").stdout)
    assert (new["key_id"], new["persons"]) == (report["key_id"], 1)
    assert (old["key_id"], old["persons"], old["is_lasting"]) == (before["key_id"], 0, True)
    refused = onecard("keys", "retire", old["key_id"])
    assert refused.exit_code == 1
    assert "audit entries" in refused.stderr
    assert "for good" in refused.stderr
    assert len(Keyring.load(installation / "onecard.key").key_ids) == 2
    actors = {e.actor for e in application.store.audit.search(action="keys.rotated")}
    assert actors == {"admin1"}
    assert onecard("doctor").exit_code == 0


def test_nothing_prints_a_key(installation, onecard, patron):
    secrets = json.loads((installation / "onecard.key").read_text())["keys"].values()
    shown = onecard("keys", "list").output + onecard("keys", "rotate").output
    shown += onecard("keys", "list", "--json").output
    assert not any(secret in shown for secret in secrets)
    assert "active" in shown


def test_audit_that_is_whole_is_told_and_a_broken_one_is_named(
    installation, application, onecard, patron
):
    assert onecard("audit", "verify").exit_code == 0
    anchor = installation / "anchor.json"
    assert onecard("audit", "anchor", str(anchor)).exit_code == 0
    assert stat.S_IMODE(anchor.stat().st_mode) == 0o600
    assert onecard("audit", "anchor", str(anchor)).exit_code == 1, "it is never replaced"
    assert onecard("audit", "verify", "--against", str(anchor)).exit_code == 0
    head = max(application.store.audit.list_heads(), key=lambda head: head.seq)
    with application.store.database.write() as connection:
        connection.exec_driver_sql(
            f"DELETE FROM audit WHERE chain_id = '{head.chain_id}' AND seq = {head.seq}"
        )
    assert onecard("audit", "verify").exit_code == 0
    result = onecard("--lang", "zh", "audit", "verify", "--against", str(anchor))
    assert result.exit_code == 1
    assert f"{head.chain_id}: 先前登记过的第 {head.seq} 条" in result.stdout
    found = json.loads(onecard("audit", "verify", "--against", str(anchor), "--json").stdout)
    assert found["breaks"] == [{"chain": head.chain_id, "seq": head.seq, "code": "cut"}]


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"format": "x", "heads": []}',
    '{"format": "onecard-audit-anchor-1", "heads": [{"chain": 1}]}'])  # fmt: skip
def test_file_that_is_no_anchor_is_refused(installation, onecard, content):
    (installation / "a.json").write_text(content)
    result = onecard("audit", "verify", "--against", str(installation / "a.json"))
    assert result.exit_code == 1
    assert "onecard audit anchor" in result.stderr


def test_export_gives_ids_and_codes_and_is_recorded(installation, application, onecard, patron):
    out = installation / "audit.jsonl"
    result = onecard("audit", "export", "--action", "person.", "--out", str(out), "--by", "admin1")
    assert result.exit_code == 0, result.output
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [(row["action"], row["subject"]) for row in rows] == [("person.added", patron.patron_id)]
    (noted,) = application.store.audit.search(action="audit.exported")
    assert (noted.actor, noted.detail["asked_action"]) == ("admin1", "person.")
    assert onecard("audit", "export", "--out", str(out)).exit_code == 1
    assert json.loads(out.read_text("utf-8").splitlines()[0]) == rows[0]
    assert onecard("audit", "export", "--until", "2000-01-01").stdout == ""
    zone = next(iter(application.libraries.values())).zone
    today = application.now().astimezone(zone).date().isoformat()
    period = ("--since", today, "--until", today)
    assert onecard("audit", "export", *period).stdout, "the last day is taken in"


def test_csv_cell_is_no_formula(installation, application, onecard):
    application.store.audit.append("x.done", actor='=HYPERLINK("x")', subject="-1")
    result = onecard("audit", "export", "--format", "csv", "--action", "x.done")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert (row["actor"], row["subject"]) == ('\'=HYPERLINK("x")', "'-1")

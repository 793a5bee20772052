"""The audit on both databases: searching with pages, and which chain is broken where."""

from __future__ import annotations

from datetime import timedelta

import pytest

from connector.ports.store import AuditBreak, AuditHead
from connector.storage.store import Store


def fill(store, entries=5, actor="cli", **more):
    for number in range(entries):
        store.audit.append(
            "patron.shown", actor=actor, subject=f"p{number}", detail={"n": number}, **more
        )


def chain_ids(store):
    return [head.chain_id for head in store.audit.list_heads()]


def change(store, sql):
    with store.database.write() as connection:
        connection.exec_driver_sql(sql)


@pytest.mark.parametrize(
    ("tampering", "seq", "code"),
    [
        ("UPDATE audit SET actor = 'nobody' WHERE seq = 2", 2, "altered"),
        ("DELETE FROM audit WHERE seq = 1", 2, "missing"),
        ("DELETE FROM audit WHERE seq = 3", 4, "missing"),
        ("UPDATE audit SET seq = 99 WHERE seq = 5", 99, "missing"),
        ("UPDATE audit SET key_id = 'kffffffff' WHERE seq = 2", 2, "key_missing"),
    ],
)
def test_check_names_the_chain_and_the_entry(store, open_second, tampering, seq, code):
    fill(store)
    (chain,) = chain_ids(store)
    other = open_second()
    try:
        fill(other, entries=1, actor="other")
    finally:
        other.close()
    change(store, f"{tampering} AND chain_id = '{chain}'")
    found = store.audit.check()
    assert found.breaks == (AuditBreak(chain, seq, code),)
    assert found.chains == 2
    assert not found.is_intact


def test_end_that_was_cut_is_seen_only_against_what_was_noted(store):
    fill(store)
    heads = store.audit.list_heads()
    assert [head.seq for head in heads] == [5]
    assert store.audit.check(heads).is_intact
    fill(store, entries=2)
    assert store.audit.check(heads).is_intact
    change(store, "DELETE FROM audit WHERE seq >= 4")
    assert store.audit.check().is_intact
    assert store.audit.check(heads).breaks == (AuditBreak(heads[0].chain_id, 5, "cut"),)
    change(store, "DELETE FROM audit")
    assert store.audit.check(heads).breaks[0].code == "cut"


def test_rewritten_chain_is_not_the_one_that_was_noted(store):
    fill(store)
    (head,) = store.audit.list_heads()
    forged = AuditHead(head.chain_id, head.seq, b"x" * 32)
    assert store.audit.check([forged]).breaks == (AuditBreak(head.chain_id, 5, "replaced"),)


def test_check_reads_beyond_one_page(store, monkeypatch):
    monkeypatch.setattr("connector.storage.repositories.audit._PAGE", 2)
    fill(store, entries=7)
    found = store.audit.check()
    assert (found.chains, found.entries, found.breaks) == (1, 7, ())


def test_search_filters(store: Store, clock):
    start = clock()
    fill(store, entries=2)
    clock.advance(hours=1)
    middle = clock()
    fill(store, entries=3, actor="staff1")
    with store.work.begin() as unit:
        unit.audit("consent.given", actor="staff1", subject="p9", institution="FDX")
        unit.audit("consents.counted", actor="staff1")
    find = store.audit.search
    assert len(find()) == 7
    assert len(find(until=middle)) == 2
    assert len(find(since=middle)) == 5
    assert len(find(since=start, until=start + timedelta(seconds=1))) == 2
    assert [entry.actor for entry in find(actor="staff1", subject="p0")] == ["staff1"]
    assert [entry.action for entry in find(action="consent.")] == ["consent.given"]
    assert [entry.subject for entry in find(institution="FDX")] == ["p9"]
    assert find(action="consent") == ()
    assert find(action="patron.shown")[1].detail == {"n": 1}


def test_search_pages_through_entries_of_one_moment(store, clock):
    with store.work.begin() as unit:
        for number in range(5):
            unit.audit("patron.shown", actor="cli", subject=f"p{number}")
    seen, last = [], None
    while page := store.audit.search(after=last, limit=2):
        seen += [entry.subject for entry in page]
        last = page[-1]
    assert seen == ["p0", "p1", "p2", "p3", "p4"]

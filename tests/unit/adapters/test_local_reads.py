"""Bare reads of the embedded ILS: fresh, and closed with it."""

from __future__ import annotations

import sqlite3
import threading

import pytest

from connector.errors import AdapterUnavailable


def test_a_read_sees_what_was_just_written(world):
    world.patron("P1", name="王小明")
    assert world.adapter.fetch_patron("P1").name == "王小明"
    world.patron("P1", name="王大明")
    assert world.adapter.fetch_patron("P1").name == "王大明"


def test_a_read_that_fails_does_not_spoil_the_next(world):
    database = world.adapter.database
    world.patron("P1")
    with pytest.raises(AdapterUnavailable) as failed:
        database.fetch("SELECT nothing FROM patron", ())
    assert isinstance(failed.value.__cause__, sqlite3.OperationalError)
    assert database.fetch("SELECT card FROM patron", ()) == [("P1",)]


def test_nothing_is_read_once_it_is_closed(world):
    world.patron("P1")
    world.adapter.fetch_patron("P1")
    world.adapter.close()
    with pytest.raises(AdapterUnavailable):
        world.adapter.fetch_patron("P1")
    assert not list(world.folder.glob("*-wal")), "a connection is still open"


def test_a_read_under_way_at_the_end_leaves_no_connection(world):
    database = world.adapter.database
    world.patron("P1")
    reading, closed = threading.Event(), threading.Event()
    connection = database._connect()
    connection.create_function("wait", 0, lambda: reading.set() or closed.wait(30))
    database._idle.append(connection)
    thread = threading.Thread(target=database.fetch, args=("SELECT wait()", ()))
    thread.start()
    assert reading.wait(30)
    world.adapter.close()
    closed.set()
    thread.join()
    with pytest.raises(sqlite3.ProgrammingError):
        connection.execute("SELECT 1")

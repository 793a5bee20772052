"""When a feed was last looked at, on both databases."""

from __future__ import annotations

from datetime import timedelta

from connector.domain.ids import InstitutionId
from connector.ports.feeds import FeedState
from connector.storage.repositories.feeds import StoredFeeds

FDX = InstitutionId("FDX")
LEASE = timedelta(minutes=10)


def test_a_feed_that_never_ran_has_no_times(store):
    assert StoredFeeds(store.work).fetch_feed(FDX, "jw") == FeedState(FDX, "jw")


def test_one_process_at_a_time_has_a_feed(store, clock):
    feeds = StoredFeeds(store.work)
    assert feeds.lease_feed(FDX, "jw", lease=LEASE)
    assert not feeds.lease_feed(FDX, "jw", lease=LEASE)
    assert feeds.lease_feed(FDX, "other", lease=LEASE)
    clock.advance(minutes=11)
    assert feeds.lease_feed(FDX, "jw", lease=LEASE)
    feeds.finish_feed(FDX, "jw", digest="d1", brought=False, error="")
    assert feeds.lease_feed(FDX, "jw", lease=LEASE)


def test_only_what_brought_something_makes_a_feed_fresh(store, clock):
    feeds = StoredFeeds(store.work)
    feeds.lease_feed(FDX, "jw", lease=LEASE)
    first = feeds.finish_feed(FDX, "jw", digest="d1", brought=True, error="")
    clock.advance(days=40)
    feeds.lease_feed(FDX, "jw", lease=LEASE)
    failed = feeds.finish_feed(FDX, "jw", digest="d1", brought=False, error="feed_version")
    assert (first.last_digest, first.last_error) == ("d1", "")
    assert failed.last_ok_at == first.last_ok_at
    assert failed.last_run_at > first.last_run_at
    assert failed.last_error == "feed_version"
    actions = [
        row[0]
        for row in store.database.fetch("SELECT action FROM audit ORDER BY at, chain_id, seq", ())
    ]
    assert actions == ["feed.taken", "feed.failed"]

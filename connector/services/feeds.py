"""Rosters that arrive in a folder: taken when they come, and missed when they do not (A16).

Nothing here judges a row; ``roster`` does. Rules —

- a file that is still being written is left alone; no file is changed, moved or removed;
- of several rosters of one school only the newest counts; of OneRoster bundles the newest whole
  one, then the changes after it, in the order in which they came;
- what was taken once is not taken again, whatever happened since;
- one school's bad file does not keep the others waiting;
- who is missing leaves only by the valve of the import (scenario 26);
- a feed that has brought nothing for too long becomes a task.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from connector.domain.ids import Identifier, InstitutionId
from connector.enrolment.oneroster import (
    OneRosterSchool,
    build_roster,
    list_gone,
    read_oneroster,
)
from connector.enrolment.workbook import Roster, read_roster
from connector.errors import ConfigurationError, RecordError
from connector.log import get_logger
from connector.ports.clock import Clock
from connector.ports.enrolment import School
from connector.ports.feeds import FeedState, FeedStore
from connector.ports.tasks import TaskKind, TaskStore
from connector.services.enrolment import EnrolmentService

__all__ = ["Feed", "FeedProblem", "FeedRun", "FeedService", "FeedStatus"]

_log = get_logger(__name__)

_ACTOR = "feed"
_LEASE = timedelta(minutes=30)
_RETRY_AFTER = timedelta(hours=1)
"""When a file that was not taken is looked at again, though it is the same."""
_QUIET_FOR = timedelta(seconds=10)
"""How long nobody may have written to a file before it is read."""
_ROSTERS = frozenset({".xlsx", ".xls", ".ods", ".csv", ".tsv"})
_DIGEST_LENGTH = 32


@dataclass(frozen=True, slots=True)
class Feed:
    """A folder in which rosters arrive.

    Attributes:
        school: code of the school whose rosters they are; empty = the files name it.
        format: ``roster`` or ``oneroster``.
        complete: each file names every pupil of its school.
    """

    institution: InstitutionId
    name: str
    folder: Path
    stale_after: timedelta
    school: str = ""
    format: str = "roster"
    complete: bool = False


@dataclass(frozen=True, slots=True)
class FeedProblem:
    """Why something of a feed was not taken; ``school`` is the code that the file gives."""

    school: str
    code: str


@dataclass(frozen=True, slots=True)
class FeedRun:
    """What one look at a feed did.

    Attributes:
        busy: another process is at it.
        batches: numbers of the batches that it made.
        taken: how many rosters were new and taken, without a change too.
    """

    feed: Feed
    busy: bool = False
    taken: int = 0
    batches: tuple[str, ...] = ()
    problems: tuple[FeedProblem, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """How a feed stands; ``stale``: nothing has come for too long, or ever."""

    feed: Feed
    state: FeedState
    stale: bool


@dataclass(frozen=True, slots=True)
class _Delivery:
    """One school's roster in a file."""

    school: str
    digest: str
    roster: Roster = field(repr=False)
    source: str
    complete: bool
    gone: tuple[Identifier, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class FeedService:
    """The feeds of every library of the process."""

    feeds: Sequence[Feed]
    enrolment: EnrolmentService
    store: FeedStore
    tasks: TaskStore
    now: Clock

    def find_feed(self, name: str) -> Feed:
        """Return the feed with a name; raises ``ConfigurationError``."""
        for feed in self.feeds:
            if feed.name == name:
                return feed
        known = ", ".join(feed.name for feed in self.feeds) or "none is configured"
        raise ConfigurationError(f"There is no feed {name}.", f"Feeds: {known}.")

    def run_all(self) -> tuple[FeedRun, ...]:
        """Look at every feed, then raise or end the alarms; for the worker."""
        runs = tuple(self.run(feed) for feed in self.feeds)
        for status in self.list_status():
            self._alarm(status)
        return runs

    def list_status(self) -> tuple[FeedStatus, ...]:
        """Return how every feed stands."""
        found = []
        for feed in self.feeds:
            state = self.store.fetch_feed(feed.institution, feed.name)
            if state.last_ok_at is None:
                stale = state.last_run_at is not None
            else:
                stale = self.now() - state.last_ok_at > feed.stale_after
            found.append(FeedStatus(feed, state, stale))
        return tuple(found)

    def run(self, feed: Feed) -> FeedRun:
        """Take what is new in a feed's folder."""
        before = self.store.fetch_feed(feed.institution, feed.name)
        present = _digest_folder(feed.folder)
        if before.last_digest == present and not self._is_to_retry(before):
            return FeedRun(feed)
        if not self.store.lease_feed(feed.institution, feed.name, lease=_LEASE):
            return FeedRun(feed, busy=True)
        run, is_whole = FeedRun(feed, problems=(FeedProblem(feed.school, "feed_failed"),)), False
        try:
            has_young = any(self._young(feed))
            run = self._take_all(feed)
            is_whole = not has_young
        finally:
            self.store.finish_feed(
                feed.institution,
                feed.name,
                digest=present if is_whole else "",
                brought=run.taken > 0,
                error=run.problems[0].code if run.problems else "",
            )
        if run.taken or run.problems:
            _log.info(
                "feed.taken",
                institution=feed.institution,
                name=feed.name,
                count=run.taken,
                failed=len(run.problems),
            )
        return run

    def _is_to_retry(self, state: FeedState) -> bool:
        last = state.last_run_at
        return bool(state.last_error) and (last is None or self.now() - last >= _RETRY_AFTER)

    # --- what is in the folder

    def _take_all(self, feed: Feed) -> FeedRun:
        taken = 0
        batches: list[str] = []
        problems: list[FeedProblem] = []
        if not feed.folder.is_dir():
            problems.append(FeedProblem(feed.school, "feed_folder_missing"))
        for delivery in self._read(feed, problems):
            school = self.enrolment.store.find_school(feed.institution, delivery.school)
            if school is None:
                problems.append(FeedProblem(delivery.school, "feed_school_unknown"))
                continue
            try:
                number = self._take(delivery, school)
            except RecordError as err:
                problems.append(FeedProblem(school.code, err.code))
            except ConfigurationError:
                problems.append(FeedProblem(school.code, "school_disabled"))
            else:
                taken += number is not None
                batches += [number] if number else []
        return FeedRun(feed, taken=taken, batches=tuple(batches), problems=tuple(problems))

    def _take(self, delivery: _Delivery, school: School) -> str | None:
        """Take one school's roster; return its batch, empty when nothing changed, None when it
        was taken before.
        """
        importer = self.enrolment.importer(school.institution)
        found = importer.rosters.find_import(
            school, delivery.digest, complete=delivery.complete, campaign_id=None
        )
        if found is not None and found.state != "importing":
            return None
        report = importer.take(
            delivery.roster,
            delivery.digest,
            school,
            actor=_ACTOR,
            source=delivery.source,
            complete=delivery.complete,
            gone=delivery.gone,
        )
        return report.batch.number if report.batch else ""

    def _read(self, feed: Feed, problems: list[FeedProblem]) -> Iterator[_Delivery]:
        read = self._read_bundles if feed.format == "oneroster" else self._read_rosters
        yield from read(feed, problems)

    def _read_rosters(self, feed: Feed, problems: list[FeedProblem]) -> Iterator[_Delivery]:
        newest: dict[str, Path] = {}
        for file in self._settled(feed):
            newest[feed.school or _school_of(file)] = file
        for code, file in sorted(newest.items()):
            try:
                roster, digest = read_roster(file), _digest_of([file])
            except RecordError as err:
                problems.append(FeedProblem(code, err.code))
                continue
            yield _Delivery(code, digest, roster, "roster", feed.complete)

    def _read_bundles(self, feed: Feed, problems: list[FeedProblem]) -> Iterator[_Delivery]:
        bundles = []
        for file in self._settled(feed):
            try:
                bundles.append((file, read_oneroster(file)))
            except RecordError as err:
                problems.append(FeedProblem(feed.school, err.code))
        whole = [place for place, (_, bundle) in enumerate(bundles) if bundle.complete]
        for file, bundle in bundles[whole[-1] if whole else 0 :]:
            digest = _digest_of(sorted(file.glob("*.csv")) if file.is_dir() else [file])
            for school in bundle.schools:
                if feed.school in {"", school.code} and school.pupils:
                    yield _deliver(school, digest, complete=feed.complete and bundle.complete)

    def _settled(self, feed: Feed) -> list[Path]:
        """Return what can be read, the oldest first."""
        young = set(self._young(feed))
        return sorted(
            (path for path in _candidates(feed) if path not in young),
            key=lambda path: (_changed_at(path), path.name),
        )

    def _young(self, feed: Feed) -> Iterator[Path]:
        limit = (self.now() - _QUIET_FOR).timestamp()
        return (path for path in _candidates(feed) if _changed_at(path) > limit)

    # --- the alarm

    def _alarm(self, status: FeedStatus) -> None:
        feed = status.feed
        if status.stale:
            opened = self.tasks.open_task(
                feed.institution,
                TaskKind.FEED_STALE,
                about=feed.name,
                detail={"feed": feed.name, "days": feed.stale_after.days},
                actor=_ACTOR,
            )
            if opened:
                _log.warning("feed.stale", institution=feed.institution, name=feed.name)
        else:
            self.tasks.finish_about(
                feed.institution,
                TaskKind.FEED_STALE,
                about=feed.name,
                outcome="fresh",
                actor=_ACTOR,
            )


def _deliver(school: OneRosterSchool, digest: str, *, complete: bool) -> _Delivery:
    own = hashlib.sha256(f"{digest}/{school.code}".encode()).hexdigest()[:_DIGEST_LENGTH]
    roster, gone = build_roster(school), list_gone(school)
    return _Delivery(school.code, own, roster, "oneroster", complete, gone)


def _candidates(feed: Feed) -> Iterator[Path]:
    try:
        entries = sorted(feed.folder.iterdir())
    except OSError:
        return
    if feed.format == "oneroster" and (feed.folder / "manifest.csv").is_file():
        yield feed.folder
        return
    for path in entries:
        if path.name.startswith((".", "~")):
            continue
        if feed.format != "oneroster":
            if path.suffix.lower() in _ROSTERS and path.is_file():
                yield path
        elif (path / "manifest.csv").is_file() or (
            path.suffix.lower() == ".zip" and path.is_file()
        ):
            yield path


def _changed_at(path: Path) -> float:
    """Return when a file, or the youngest file of a folder, was last written."""
    try:
        files = [path, *path.iterdir()] if path.is_dir() else [path]
        return max(file.stat().st_mtime for file in files)
    except OSError:
        return float("inf")


def _school_of(file: Path) -> str:
    """Return the school code that a file name begins with, fit to be printed and looked up."""
    stem = os.fsencode(file.stem).decode("utf-8", "replace")
    stem = "".join(ch if ch.isprintable() else "\ufffd" for ch in stem)
    return stem.split("_", maxsplit=1)[0].split(".", maxsplit=1)[0]


def _digest_of(files: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    try:
        for path in files:
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
    except OSError as err:
        raise RecordError(0, "file_missing") from err
    return whole.hexdigest()[:_DIGEST_LENGTH]


def _digest_folder(folder: Path) -> str:
    """Return a digest of which files are there, how long and from when."""
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        try:
            status = path.stat()
        except OSError:
            continue
        name = os.fsencode(path.name)
        whole.update(name + f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return whole.hexdigest()[:_DIGEST_LENGTH]

"""What ``onecard serve`` does by itself, again and again: the table of jobs.

Nothing here listens, and no job is written here. Rule: each job runs at once and then at its pace,
in a thread of its own; one that fails is logged and tried again; what cannot be taken back goes
through ``safeguard``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial

from connector.bootstrap import Application
from connector.log import get_logger

__all__ = ["Job", "list_jobs", "repeating", "working"]

_log = get_logger(__name__)

_ACTOR = "worker"
_MINUTE_S = 60.0
_HOUR_S = 3600.0
_DAY_S = 86_400.0
_SETTLE_EVERY_S = 15.0
"""Decision 10."""


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that is done every so many seconds."""

    action: str
    run_once: Callable[[], object]
    every_s: float


def list_jobs(app: Application) -> tuple[Job, ...]:
    """Return the jobs of the process that hosts the libraries."""
    return (
        Job("settle", app.settlement.run_once, _SETTLE_EVERY_S),
        Job("replay", app.replay.kick, _SETTLE_EVERY_S),
        Job("close", partial(_carry_on_closings, app), _SETTLE_EVERY_S),
        Job("exchange", partial(_carry_on_exchanges, app), _SETTLE_EVERY_S),
        Job("feeds", app.feeds.run_all, _MINUTE_S),
        Job("purge", partial(_purge_unanswered, app), _HOUR_S),
        Job("expire", partial(_expire_cards, app), _HOUR_S),
        Job("extend", partial(_extend_accounts, app), _HOUR_S),
        Job("retention", partial(app.retention.run_guarded, actor=_ACTOR), _DAY_S),
    )


@contextlib.asynccontextmanager
async def working(app: Application) -> AsyncIterator[None]:
    """Run every job until the end of the block."""
    async with contextlib.AsyncExitStack() as stack:
        for job in list_jobs(app):
            await stack.enter_async_context(repeating(job.action, job.run_once, job.every_s))
        yield


@contextlib.asynccontextmanager
async def repeating(
    action: str, run_once: Callable[[], object], every_s: float
) -> AsyncIterator[None]:
    """Run something at once and then every ``every_s`` seconds; a failure is logged."""
    task = asyncio.create_task(_repeat_for_ever(action, run_once, every_s))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _repeat_for_ever(action: str, run_once: Callable[[], object], every_s: float) -> None:
    while True:
        try:
            await asyncio.to_thread(run_once)
        except Exception as err:  # noqa: BLE001 - the next round may succeed
            _log.error("worker.failed", action=action, error=type(err).__name__)
        await asyncio.sleep(every_s)


def _carry_on_closings(app: Application) -> None:
    if app.closing.sweep_all().erased:
        app.store.privacy.overwrite_deleted()


def _carry_on_exchanges(app: Application) -> None:
    for code in app.libraries:
        app.older_cards.sweep(code)


def _purge_unanswered(app: Application) -> None:
    for code in app.libraries:
        purge = partial(app.enrolment.purge_unanswered, code, actor=_ACTOR)
        app.safeguard.guard("purge", code, count=partial(purge, dry_run=True), run=purge)


def _expire_cards(app: Application) -> None:
    for code in app.libraries:
        expire = partial(app.school_year.expire_due, code, actor=_ACTOR)
        app.safeguard.guard("expire", code, count=partial(expire, dry_run=True), run=expire)


def _extend_accounts(app: Application) -> None:
    for code in app.libraries:
        app.account_expiry.extend(code)

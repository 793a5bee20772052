"""A progress bar on a terminal, and nothing elsewhere.

Nothing here knows what is counted. Rule: it goes to standard error, so that standard output stays
what the command reports.
"""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress as RichProgress
from rich.progress import TaskID

__all__ = ["Progress"]


class Progress:
    """Shows (done, total) as it is told; use it in a ``with`` statement."""

    def __init__(self, label: str) -> None:
        self._label = label
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        if sys.stderr.isatty():
            self._bar = RichProgress(console=Console(stderr=True), transient=True)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int) -> None:
        """Show how far it is."""
        if self._bar is None:
            return
        if self._task is None:
            self._task = self._bar.add_task(self._label, total=total)
        self._bar.update(self._task, completed=done, total=total)

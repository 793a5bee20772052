"""A file that only its owner may read, made new, for what a command writes about people.

Nothing here knows what is in it. Rules: mode 0600 from the first moment, never over another file,
nothing half-written stays, what counts as written is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from connector.cli.context import Refused

__all__ = ["PrivateFile", "write_private"]


class PrivateFile:
    """A context manager: the file exists and is empty inside, and goes when nothing was written.

    It is made before anything is read, so that no data are opened that cannot be written down.

    Args:
        option: how the caller names another file.
        lest: what was not done when it cannot be made, such as ``so no card was opened``.

    Attributes:
        is_written: something is in it, and on the disk.
    """

    def __init__(self, path: Path, *, option: str = "--out", lest: str = "") -> None:
        self._path = path
        self._lest = f", {lest}" if lest else ""
        self._remedy = f"Choose another file with {option}." if option else "Choose another file."
        self._handle: int | None = None
        self.is_written = False

    def __enter__(self) -> Self:
        try:
            self._handle = _create(self._path)
        except FileExistsError as err:
            raise Refused(f"{self._path} exists. {self._remedy}") from err
        except OSError as err:
            raise Refused(
                f"{self._path} cannot be written ({err.strerror}){self._lest}. {self._remedy}"
            ) from err
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
        if not self.is_written:
            self._path.unlink(missing_ok=True)

    def write(self, content: str | bytes) -> None:
        """Write the whole content, or the next part of it, and wait until it is on the disk."""
        if self._handle is None:
            return
        _write_all(self._handle, content.encode() if isinstance(content, str) else content)
        self.is_written = True

    @contextmanager
    def open_text(self) -> Iterator[TextIO]:
        """Give out a stream for many lines; when something fails inside, nothing was written."""
        if self._handle is None:
            raise ValueError("not entered")
        with os.fdopen(os.dup(self._handle), "w", encoding="utf-8", newline="") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        self.is_written = True


def write_private(path: Path, content: bytes) -> None:
    """Write a whole private file; raises ``OSError``, and then there is none."""
    handle = _create(path)
    try:
        _write_all(handle, content)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)


def _write_all(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]
    os.fsync(handle)

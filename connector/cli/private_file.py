"""A file that only its owner may read, made new, for what a command writes about people.

Nothing here knows what is in it. Rules: mode 0600 from the first moment, never over another file,
nothing half-written stays.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.cli.context import Refused

__all__ = ["PrivateFile"]


class PrivateFile:
    """A context manager: the file exists and is empty inside, and goes when nothing was written.

    It is made before anything is read, so that no data are opened that cannot be written down.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._is_written = False

    def __enter__(self) -> Self:
        try:
            self._handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as err:
            raise Refused(f"{self._path} exists. Choose another file with --out.") from err
        except OSError as err:
            raise Refused(
                f"{self._path} cannot be written ({err.strerror}). Choose another file with --out."
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
        if not self._is_written:
            self._path.unlink(missing_ok=True)

    def write(self, whole: str | bytes) -> None:
        """Write the whole content, and wait until it is on the disk."""
        if self._handle is None:
            return
        content = whole.encode() if isinstance(whole, str) else whole
        while content:
            content = content[os.write(self._handle, content) :]
        os.fsync(self._handle)
        self._is_written = True

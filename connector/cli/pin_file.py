"""The file in which ``onecard enrol activate`` gives PINs out.

Nothing here makes a PIN. Rules: mode 0600, never over another file, each PIN on the disk before the
next card is opened.
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Self, TextIO

from connector.cli.context import Refused
from connector.services.provisioning import Activation

__all__ = ["PinFile"]


class PinFile:
    """Writes each PIN when it is known.

    The file is made before the first card is opened, since a PIN that cannot be written down is
    lost; it never replaces one, and goes when it stays empty.

    Attributes:
        files: printed slips; there are none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self.is_written = False
        self.files: list[Path] = []

    def __enter__(self) -> Self:
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as err:
            raise Refused(f"{self._path} exists. Choose another file with --pins.") from err
        except OSError as err:
            raise Refused(
                f"{self._path} cannot be written ({err.strerror}), so no card was opened."
                " Choose another file with --pins."
            ) from err
        self._file = os.fdopen(handle, "w", encoding="utf-8", newline="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()
        if not self.is_written:
            self._path.unlink(missing_ok=True)

    def write(self, result: Activation) -> None:
        """Write the PIN of one result, if it has one, and wait until it is on the disk."""
        if not result.pin or self._file is None:
            return
        lines = csv.writer(self._file)
        if not self.is_written:
            lines.writerow(("row", "card", "pin"))
        self.is_written = True
        lines.writerow((result.application.batch_row, result.card, result.pin))
        self._file.flush()
        os.fsync(self._file.fileno())

"""The file in which ``onecard enrol activate`` gives PINs out.

Nothing here makes a PIN. Rule: each PIN is on the disk before the next card is opened.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path
from types import TracebackType
from typing import Self

from connector.cli.private_file import PrivateFile
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
        self._file = PrivateFile(path, option="--pins", lest="so no card was opened")
        self.files: list[Path] = []

    @property
    def is_written(self) -> bool:
        """Whether a PIN was given out."""
        return self._file.is_written

    def __enter__(self) -> Self:
        self._file.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, trace)

    def write(self, result: Activation) -> None:
        """Write the PIN of one result, if it has one, and wait until it is on the disk."""
        if not result.pin:
            return
        text = io.StringIO()
        lines = csv.writer(text)
        if not self.is_written:
            lines.writerow(("row", "card", "pin"))
        lines.writerow((result.application.batch_row, result.card, result.pin))
        self._file.write(text.getvalue())

"""The SIP2-only ILS as a real process: the embedded ILS's own server over a file.

As a program (``python -m tests.support.sip2_ils``) it is ``adapters.local.sip2_server`` with the clock in a file and with one
misbehaviour that was seen live: ``--late-no SECONDS`` answers "no" to a checkout after its own time-out and carries it out later.
"""

from __future__ import annotations

import argparse
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from adapters.local.adapter import SPEC, LocalAdapter
from adapters.local.settings import LocalSettings
from adapters.local.sip2_base import Caller
from adapters.local.sip2_server import LocalSip2Server, main
from connector.domain.ids import InstitutionId
from connector.ports.ils import AdapterContext
from connector.sip2.codec import Message
from connector.testing.records import make_record

ROOT = Path(__file__).parents[2]
CODE = InstitutionId("SIP-C")
LOGIN = "gateway"
PASSWORD = "ils-secret"


@dataclass(frozen=True)
class IlsRow:
    """An open loan in the ILS's own table."""

    card: str
    barcode: str
    due: datetime
    renewals: int


class LateNoServer(LocalSip2Server):
    """Answers the first checkout with "no" after ``late_s``; it is done when the file ``LATE`` appears, or after as long again.

    Evergreen was seen to do so when its circulation service hung: 70 s until the "no", the loan a minute after it.
    """

    late_s = 0.0
    go_file: Path | None = None

    def answer(self, request: Message, caller: Caller) -> Message | None:
        if request.code != "11" or self.late_s <= 0:
            return super().answer(request, caller)
        stop = threading.Event()
        stop.wait(self.late_s)
        LateNoServer.late_s, patience = 0.0, self.late_s
        serve = super().answer

        def apply_later() -> None:
            go = LateNoServer.go_file
            if go is None:
                stop.wait(patience)
            else:
                while not go.exists():
                    stop.wait(0.02)
            serve(request, caller)

        threading.Thread(target=apply_later, daemon=True).start()
        fields = [(tag, request.get(tag)) for tag in ("AO", "AA", "AB")]
        told = [("AF", "Patron is not allowed to check out the selected item"), ("BL", "Y")]
        fixed = {"ok": "0", "renewal_ok": "N", "magnetic": "U", "desensitize": "N"}
        return Message("12", {**fixed, **self.date()}, [*fields, ("AJ", ""), ("AH", ""), *told])

    def date(self) -> dict[str, str]:
        status = super().answer(Message("99"), Caller())
        assert status is not None
        return {"transaction_date": status.fixed["date_time_sync"]}


class Sip2Ils:
    """The ILS process, its file, and a clock that it shares with the test.

    Attributes:
        port: where it listens; the same after a restart.
    """

    def __init__(self, folder: Path, now: Any = None, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.db = folder / "ils.db"
        self.go_file = folder / "apply-now"
        self._clock = folder / "clock"
        self._now = now
        self._options = options
        (folder / "secret").write_text(PASSWORD, encoding="utf-8")
        self.tick()
        self.port = 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def tick(self) -> None:
        """Tell the process what time it is."""
        if self._now is not None:
            new = self._clock.with_suffix(".new")
            new.write_text(self._now().isoformat(), encoding="utf-8")
            new.replace(self._clock)

    def start(self) -> None:
        """Start it, on the port that it had before."""
        command = [
            *(sys.executable, "-m", "tests.support.sip2_ils", "--db", str(self.db)),
            *("--institution", CODE, "--port", str(self.port), "--login", LOGIN),
            *("--password-file", str(self.folder / "secret"), "--go-file", str(self.go_file)),
            *(("--clock", str(self._clock)) if self._now is not None else ()),
            *self._options,
        ]
        self._process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = json.loads(self._process.stdout.readline())["port"]

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._reap()

    def stop(self) -> None:
        """SIGTERM."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._reap()

    def freeze(self) -> None:
        """SIGSTOP: it hangs."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _reap(self) -> None:
        assert self._process is not None
        self._process.communicate(timeout=30)
        self._process = None

    def stock(self) -> LocalAdapter:
        """Open the file beside the process, as the ILS's own staff client would; close it after use."""
        return SPEC.build(
            LocalSettings(path=self.db.name),
            AdapterContext(
                CODE, "Asia/Shanghai", str(self.folder), self._now or (lambda: datetime.now(UTC))
            ),
        )

    def add(self, *, cards: tuple[str, ...] = (), barcodes: tuple[str, ...] = ()) -> None:
        """Put people and books into it, in one transaction of its own staff client."""
        adapter = self.stock()
        try:
            with adapter.database.write() as connection:
                for card in cards:
                    connection.exec_driver_sql(
                        "INSERT INTO patron (card, name, category) VALUES (?, '张小江', 'student')",
                        (card,),
                    )
                for barcode in barcodes:
                    bib = connection.exec_driver_sql(
                        "INSERT INTO bib (dialect, record, title, languages, updated_at)"
                        " VALUES ('marc21', ?, ?, 'chi', '2026-09-01') RETURNING id",
                        (make_record(f"书{barcode}"), f"书{barcode}"),
                    ).scalar_one()
                    connection.exec_driver_sql(
                        "INSERT INTO item (barcode, bib_id, item_type) VALUES (?, ?, 'book')",
                        (barcode, bib),
                    )
        finally:
            adapter.close()

    def loans(self) -> list[IlsRow]:
        """Return the open loans, from its own table."""
        rows = self._read(
            "SELECT p.card, i.barcode, l.due, l.renewals FROM loan l JOIN item i ON i.id = l.item_id"
            " JOIN patron p ON p.id = l.patron_id WHERE l.returned_at IS NULL ORDER BY i.barcode"
        )
        return [
            IlsRow(card, barcode, datetime.fromisoformat(due), renewals)
            for card, barcode, due, renewals in rows
        ]

    def count(self, table: str) -> int:
        """Return how many rows a table has: how often something was carried out."""
        return int(self._read(f"SELECT count(*) FROM {table}")[0][0])

    def changes(self, kind: str) -> int:
        """Return how often something was carried out: ``checkout``, ``checkin``, ``renew``."""
        return int(self._read("SELECT count(*) FROM change WHERE kind = ?", kind)[0][0])

    def _read(self, sql: str, *values: object) -> list[Any]:
        with closing(sqlite3.connect(self.db, timeout=20)) as connection:
            return connection.execute(sql, values).fetchall()


def _run() -> None:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--clock", type=Path)
    parser.add_argument("--late-no", type=float, default=0.0)
    parser.add_argument("--go-file", type=Path)
    ours, others = parser.parse_known_args()
    LateNoServer.late_s, LateNoServer.go_file = ours.late_no, ours.go_file

    def read_clock() -> datetime:
        if ours.clock is None:
            return datetime.now(UTC)
        return datetime.fromisoformat(ours.clock.read_text(encoding="utf-8"))

    main(others, now=read_clock, serve=LateNoServer)


if __name__ == "__main__":
    _run()

"""The folder in which ``onecard enrol activate --slips`` prints PIN slips, one PDF for each class.

Nothing here draws; ``connector.enrolment.slips`` does. Rules —

- whatever is needed to print is looked for before a card is opened;
- a PIN exists nowhere else: each is written to a journal, mode 0600, and on the disk, before its
  card counts as open; the journal goes when the PDFs are on the disk and their passphrase was given
  out, and a run that was interrupted is taken up by the next one with the same folder;
- nothing here is written over another file.
"""

from __future__ import annotations

import csv
import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import click

from connector.bootstrap import Application as App
from connector.cli.context import Refused
from connector.cli.private_file import write_private
from connector.domain.class_names import ClassName
from connector.domain.enrolment import ApplicationState
from connector.enrolment.fonts import Font, find_fonts
from connector.enrolment.slips import Slip, can_print, new_passphrase, render_slips
from connector.errors import NotFound
from connector.ports.enrolment import Application, Batch
from connector.ports.schools import ClassMember
from connector.services.provisioning import Activation, ActivationOutcome

__all__ = ["SlipFolder"]

_FIELDS = 4
_TEXTS: Mapping[str, Mapping[str, str]] = {
    "en": {
        "passphrase": "Passphrase of the slips, shown this once: {passphrase}",
        "passphrase_file": "Passphrase of the slips: {path}",
        "slips": "{count} slips in {files} PDF files in {folder}",
        "journal": (
            "The PINs were kept in a list until the slips were on the disk; that list is removed."
        ),
        "kept": "{count} PINs are kept in {path}. Run the command again to print them.",
        "unprintable": "Not all characters of the name could be printed in rows: {rows}.",
    },
    "zh": {
        "passphrase": "密码条的打开口令，只显示这一次：{passphrase}",
        "passphrase_file": "密码条的打开口令已写入：{path}",
        "slips": "{count} 张密码条，{files} 个 PDF 文件，位于 {folder}",
        "journal": "打印完成之前密码暂存于一份清单，密码条写入磁盘后该清单已删除。",
        "kept": "{count} 个密码仍保存在 {path}。请再次运行同一命令以打印。",
        "unprintable": "以下行的姓名有字体中没有的字：{rows}。",
    },
}


@dataclass(frozen=True, slots=True)
class _Given:
    """A line of the journal."""

    application_id: str
    row: str
    card: str
    pin: str = field(repr=False)


class SlipFolder:
    """Takes each PIN when it is known, and prints the slips at the end.

    Args:
        states: of applications whose slips are printed; what was withdrawn meanwhile is left out.

    Attributes:
        is_written: a PIN was taken, now or by an earlier run.
        files: the PDFs, once they are there.
        unprintable: rows of pupils of whose name a character is in no font.
    """

    def __init__(
        self,
        folder: Path,
        app: App,
        batch: Batch,
        *,
        lang: str,
        passphrase_file: Path | None = None,
        to_stderr: bool = False,
        states: frozenset[ApplicationState] = frozenset({ApplicationState.ACTIVE}),
    ) -> None:
        self._folder = folder
        self._states = states
        self._app = app
        self._batch = batch
        self._lang = lang
        self._passphrase_file = passphrase_file
        self._to_stderr = to_stderr
        self._passphrase = ""
        self._fonts: Sequence[Font] = ()
        self._journal_path = folder / f"pins-{batch.number}.journal.csv"
        self._journal: TextIO | None = None
        self._given: dict[str, _Given] = {}
        self.files: list[Path] = []
        self.unprintable: list[int] = []

    @property
    def is_written(self) -> bool:
        """Whether there is anything to print."""
        return bool(self._given)

    def __enter__(self) -> Self:
        self._fonts = find_fonts(self._app.settings.enrolment.font_file)
        self._passphrase = new_passphrase()
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            self._open_journal()
            if self._passphrase_file is not None:
                write_private(self._passphrase_file, self._passphrase.encode() + b"\n")
        except OSError as err:
            self._close_journal()
            raise Refused(
                f"{err.filename or self._folder} cannot be written ({err.strerror}), so no card"
                " was opened. Choose another place with --slips or --passphrase-file."
            ) from err
        return self

    def write(self, result: Activation) -> None:
        """Take one result, and wait until it is on the disk."""
        if result.outcome is not ActivationOutcome.ACTIVATED or self._journal is None:
            return
        application = result.application
        given = _Given(
            application.application_id, str(application.batch_row or ""), result.card, result.pin
        )
        csv.writer(self._journal, lineterminator="\n").writerow(
            (given.application_id, given.row, given.card, given.pin)
        )
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._given[given.application_id] = given

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self._print_slips()
        finally:
            if self._journal is not None and self._given:
                self._say("kept", count=len(self._given), path=self._journal_path)
            elif self._journal is not None:
                self._journal_path.unlink(missing_ok=True)
            if not self.files and self._passphrase_file is not None:
                self._passphrase_file.unlink(missing_ok=True)
            self._close_journal()

    def _open_journal(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        handle = os.open(self._journal_path, flags, 0o600)
        os.fchmod(handle, 0o600)
        self._journal = os.fdopen(handle, "r+", encoding="utf-8", newline="")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            journal, self._journal = self._journal, None
            journal.close()
            raise Refused(
                f"Another run prints slips of batch {self._batch.number} in {self._folder}."
            ) from err
        content = self._journal.read()
        whole = content[: content.rfind("\n") + 1]
        if whole != content:  # a line that a crash cut off
            self._journal.truncate(len(whole.encode()))
        for line in csv.reader(whole.splitlines()):
            if len(line) == _FIELDS:
                self._given[line[0]] = _Given(*line)

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _print_slips(self) -> None:
        classes: dict[str, list[Slip]] = {}
        own = self._school_names().get(self._batch.school_id)
        for slip in self._slips():
            moved = slip.school != own  # he has changed school since: not with the others' slips
            pile = f"{slip.school}-{slip.class_name}" if moved else slip.class_name
            classes.setdefault(pile, []).append(slip)
        written: list[Path] = []
        try:
            for name, slips in classes.items():
                content = render_slips(
                    sorted(slips, key=lambda slip: slip.row or 0),
                    self._fonts,
                    passphrase=self._passphrase,
                )
                path = _free_path(self._folder, f"slips-{self._batch.number}-{_safe(name)}")
                written.append(path)
                write_private(path, content)
            _sync_folder(self._folder)
        except BaseException:
            for path in written:
                path.unlink(missing_ok=True)
            raise
        self.files = written
        slips = [slip for each in classes.values() for slip in each]
        self.unprintable = sorted(
            slip.row or 0 for slip in slips if not can_print(slip.name, self._fonts)
        )
        self._give_out(len(slips))

    def _school_names(self) -> Mapping[str, str]:
        schools = self._app.store.enrolment.list_schools(self._batch.institution)
        return {school.school_id: school.name for school in schools}

    def _give_out(self, count: int) -> None:
        """Tell the passphrase; then the list of PINs is not needed any more."""
        if self.files:
            self._say("slips", count=count, files=len(self.files), folder=self._folder)
            if self._passphrase_file is None:
                self._say("passphrase", passphrase=self._passphrase)
            else:
                self._say("passphrase_file", path=self._passphrase_file)
        if self.unprintable:
            self._say("unprintable", rows=", ".join(map(str, self.unprintable)))
        self._journal_path.unlink(missing_ok=True)
        _sync_folder(self._folder)
        self._close_journal()
        if self.files:
            self._say("journal")

    def _slips(self) -> Iterator[Slip]:
        """Read what stands on the slips of the cards that are open, and still so."""
        store = self._app.store
        found = [store.enrolment.fetch_application(each) for each in self._given]
        opened = [each for each in found if each and each.state in self._states]
        members = store.schools.find_memberships([each.patron_id for each in opened])
        schools = self._school_names()
        for application in opened:
            given = self._given[application.application_id]
            try:
                name = store.people.fetch_personal(application.patron_id).name
            except NotFound:
                continue
            yield Slip(
                library=self._app.libraries[application.institution].name,
                school=schools.get(application.school_id, ""),
                class_name=_class_name(application, members.get(application.patron_id)),
                row=application.batch_row,
                name=name,
                card=given.card,
                pin=given.pin,
            )

    def _say(self, key: str, **values: object) -> None:
        click.echo(_TEXTS[self._lang][key].format(**values), err=self._to_stderr)


def _class_name(application: Application, member: ClassMember | None) -> str:
    """Return the class that he is in now, else what the roster said."""
    if member is None:
        return application.class_name
    return ClassName(member.school_class.level, member.school_class.name).title("zh")


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _free_path(folder: Path, stem: str) -> Path:
    path, number = folder / f"{stem}.pdf", 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}.pdf"
    return path


def _safe(name: str) -> str:
    """Return a class name as a part of a file name."""
    return re.sub(r"[^\w-]+", "_", name).strip("_") or "class"

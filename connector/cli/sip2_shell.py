"""The loop of ``sip2 shell``: one line in, one exchange or one answer about the shell itself out.

Options and the server are given by ``connector.cli.sip2``. Rules: the history lives in memory
only, for it holds PINs; an error is one line and the loop goes on.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterable, Iterator

import click

from connector.cli.sip2_talk import Target, compose, print_answer
from connector.sip2.dialects import find_dialect
from connector.sip2.tags import MASK, OPEN_TAGS

__all__ = ["Shell", "read_lines"]

_HELP = """\
63 AO=MAIN AA=0001   send a message (code or name, TAG=value, fixed_field=value, or one raw frame)
history              what was sent; !3 sends number 3 again, !! the last one
show / hide          show or mask names, PINs and card numbers
messages             codes and names
quit                 leave (or Ctrl-D)"""


class Shell:
    """A conversation with one server.

    Attributes:
        failed: whether the last message brought an error instead of an answer.
    """

    def __init__(self, target: Target, *, show: bool) -> None:
        self._target = target
        self._show = show
        self._history: list[str] = []
        self.failed = False
        self._commands: dict[str, Callable[[], None]] = {
            "help": lambda: click.echo(_HELP),
            "history": self._print_history,
            "messages": self._print_messages,
            "show": lambda: self._set_show(True),
            "hide": lambda: self._set_show(False),
        }

    def run(self, lines: Iterable[str]) -> None:
        """Take lines until they end or one says ``quit``."""
        for line in lines:
            if line in {"quit", "exit"}:
                return
            command = self._commands.get(line)
            if command is not None:
                command()
                continue
            try:
                self._send(line)
            except click.ClickException as err:
                self.failed = True
                click.echo(f"Error: {err.format_message()}", err=True)

    def _send(self, line: str) -> None:
        line = self._recall(line)
        self._history.append(line)
        try:
            words = [line] if line[:3].isdigit() else shlex.split(line)
        except ValueError as err:
            raise click.UsageError("A quotation mark is not closed.") from err
        profile = self._target.profile
        answer = self._target.send(compose(tuple(words), profile))
        print_answer(answer, profile, show=self._show, as_json=False)
        self.failed = False

    def _recall(self, line: str) -> str:
        """Return the line that ``!!`` or ``!3`` stands for."""
        if not line.startswith("!"):
            return line
        wanted = str(len(self._history)) if line == "!!" else line[1:]
        number = int(wanted) if wanted.isdecimal() else 0
        if not 1 <= number <= len(self._history):
            raise click.UsageError(f"'{line}' is not in the history.")
        return self._history[number - 1]

    def _set_show(self, show: bool) -> None:  # noqa: FBT001
        self._show = show

    def _print_history(self) -> None:
        for number, line in enumerate(self._history, 1):
            click.echo(f"{number:3}  {line if self._show else _mask_line(line)}")

    def _print_messages(self) -> None:
        for spec in find_dialect(self._target.profile.dialect).specs.values():
            if spec.answer:
                click.echo(f"{spec.code}  {spec.name}")


def read_lines() -> Iterator[str]:
    """Yield lines that are not blank: with editing on a terminal, plainly elsewhere."""
    if not sys.stdin.isatty():
        for line in sys.stdin:
            if line.strip():
                yield line.strip()
        return
    import readline  # noqa: F401  # gives input() its line editing and history

    click.echo("Type help for help.")
    while True:
        try:
            line = input("sip2> ").strip()
        except (EOFError, KeyboardInterrupt):
            click.echo()
            return
        if line:
            yield line


def _mask_line(line: str) -> str:
    """Return a line with the values of closed tags masked; of a raw frame, its code only."""
    if line[:3].isdigit():
        return f"{line[:2]}{MASK}"
    try:
        words = shlex.split(line)
    except ValueError:
        return MASK
    masked = []
    for word in words:
        name, equals, _ = word.partition("=")
        is_closed = equals and len(name) == 2 and name not in OPEN_TAGS
        masked.append(f"{name}={MASK}" if is_closed else word)
    return shlex.join(masked)

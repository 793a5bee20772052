r"""Flow tests written as transcripts: what is said, what is answered, what happens in between.

Nothing here knows a protocol: ``exchange`` takes a request as text and returns the answer as text.
One step a line::

    # a comment
    ! ils down                      an action, with its words
    > 2300119960212    100239AO|AAP1|   a request
    < 24…AE{name}|AAP1|…            what the answer must look like
    ? loans P1 = B1 B2              a question, and what its answer must look like

``…`` stands for any text, ``{name}`` for a value: the first time it is caught, later it must be the
same. Values given to ``Playbook`` are known from the start and are filled into requests too. A line
that ends with ``\`` goes on in the next. Every request must be answered in the transcript, if only
by ``< …``; ``< (nothing)`` = there must be no answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

__all__ = ["Playbook"]

_TOKEN = re.compile(r"…|\{([a-z_][a-z_0-9]*)\}")
_NOTHING = "(nothing)"


@dataclass(slots=True)
class Playbook:
    """Plays transcripts against one peer.

    Attributes:
        exchange: sends a request and returns the answer; None = no answer came.
        actions: what ``!`` may do, by its first word; gets the other words.
        questions: what ``?`` may ask, by its first word; gets the other words, returns text.
        values: known values; what transcripts catch is added.
    """

    exchange: Callable[[str], str | None]
    actions: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    questions: Mapping[str, Callable[..., object]] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)

    def play(self, transcript: str) -> None:
        """Play it; raises ``AssertionError`` with the transcript up to the step that went wrong."""
        said: list[str] = []
        pending: list[str | None] = []
        for line in _steps(transcript):
            said.append(line)
            sign, text = line[0], line[1:].strip()
            if pending and sign == ">":
                raise self._wrong(said, "the answer before this request is not in the transcript")
            if sign == ">":
                pending.append(self.exchange(self._fill(text)))
            elif sign == "<":
                if not pending:
                    raise self._wrong(said, "there was no request before")
                self._compare(said, text, pending.pop())
            elif sign == "!":
                name, *words = self._fill(text).split()
                _look_up(self.actions, name)(*words)
            else:
                asked, _, expected = text.partition(" = ")
                name, *words = self._fill(asked).split()
                self._compare(said, expected.strip(), str(_look_up(self.questions, name)(*words)))
        if pending:
            raise self._wrong(said, "the last answer is not in the transcript")

    def _fill(self, text: str) -> str:
        def value(match: re.Match[str]) -> str:
            name = match.group(1)
            if name is None or name not in self.values:
                raise ValueError(f"no value for {match.group(0)} in: {text}")
            return self.values[name]

        return _TOKEN.sub(value, text)

    def _compare(self, said: list[str], expected: str, found: str | None) -> None:
        if expected == _NOTHING or found is None:
            if expected != _NOTHING or found is not None:
                raise self._wrong(said, f"found: {found}")
            return
        match = re.fullmatch(self._pattern(expected), found, re.DOTALL)
        if match is None:
            raise self._wrong(said, f"found: {found}")
        self.values.update(match.groupdict())

    def _pattern(self, expected: str) -> str:
        parts: list[str] = []
        end = 0
        caught: set[str] = set()
        for match in _TOKEN.finditer(expected):
            parts.append(re.escape(expected[end : match.start()]))
            end = match.end()
            name = match.group(1)
            if name is None:
                parts.append(".*?")
            elif name in self.values:
                parts.append(re.escape(self.values[name]))
            elif name in caught:
                parts.append(f"(?P={name})")
            else:
                caught.add(name)
                parts.append(f"(?P<{name}>.*?)")
        return "".join([*parts, re.escape(expected[end:])])

    @staticmethod
    def _wrong(said: list[str], why: str) -> AssertionError:
        return AssertionError("\n".join(["", *said, f"  ^ {why}"]))


def _steps(transcript: str) -> list[str]:
    joined = re.sub(r"\\\n\s*", "", transcript)
    lines = [line.strip() for line in joined.splitlines()]
    steps = [line for line in lines if line and not line.startswith("#")]
    for line in steps:
        if line[0] not in "><!?":
            raise ValueError(f"a step begins with > < ! or ?: {line}")
    return steps


def _look_up(known: Mapping[str, Callable[..., object]], name: str) -> Callable[..., object]:
    if name not in known:
        raise ValueError(f"there is no {name!r}; known: {', '.join(sorted(known))}")
    return known[name]

from __future__ import annotations

import pytest

from connector.testing.playbook import Playbook


def answer(request):
    return None if request == "quiet" else f"got {request} at 12:00"


def book(**values):
    log = []
    made = Playbook(
        answer,
        actions={"note": lambda *words: log.append(words)},
        questions={"noted": lambda: " ".join(log[-1])},
        values=values,
    )
    return made, log


def test_a_transcript_plays():
    played, log = book(card="P1")
    played.play(
        """
        # what was caught must come again
        > hello {card}
        < got hello {card} at {time}
        ! note one {time}
        ? noted = one …
        > again \\
          and again
        < got again and again at {time}
        > quiet
        < (nothing)
        """
    )
    assert log == [("one", "12:00")]
    assert played.values == {"card": "P1", "time": "12:00"}


@pytest.mark.parametrize(
    ("transcript", "why"),
    [
        ("> a\n< got b …", "found: got a at 12:00"),
        ("> a\n< got a", "found: got a at 12:00"),
        ("> a\n< (nothing)", "found: got a"),
        ("> quiet\n< …", "found: None"),
        ("> a\n> b\n< …", "before this request"),
        ("> a", "last answer"),
        ("< a", "no request before"),
        ("> a\n< got {x} at …\n> b\n< got {x} at …", "found: got b"),
        ("! note x\n? noted = y", "found: x"),
        ("> (.)\n< got … at 12.00", "found: got"),
    ],
)
def test_what_differs_is_shown_with_the_transcript(transcript, why):
    with pytest.raises(AssertionError) as wrong:
        book()[0].play(transcript)
    assert why in str(wrong.value)
    assert transcript.splitlines()[0] in str(wrong.value)


@pytest.mark.parametrize(
    ("transcript", "why"),
    [
        ("hello", "begins with"),
        ("! dance", "known: note"),
        ("> {card}", "no value"),
        ("> …", "no value"),
    ],
)
def test_a_transcript_that_makes_no_sense_is_refused(transcript, why):
    with pytest.raises(ValueError, match=why):
        book()[0].play(transcript)


def test_one_name_twice_in_a_line_is_one_value():
    played = Playbook(lambda text: text)
    played.play("> x=1 y=1\n< x={n} y={n}")
    assert played.values == {"n": "1"}
    with pytest.raises(AssertionError):
        Playbook(lambda text: text).play("> x=1 y=2\n< x={n} y={n}")

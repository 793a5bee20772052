"""Wrong PINs: counted per card and per terminal, with a growing pause."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from connector.sip2.pin_guard import PinGuard

LIB, CARD, KIOSK = "MAIN", "00123456", "kiosk1"


def lock(guard, card=CARD, terminal=KIOSK, now=0.0, times=3):
    for _ in range(times):
        guard.note_wrong(LIB, card, terminal, now)


def test_three_are_free_and_the_fourth_waits():
    guard = PinGuard()
    for _ in range(3):
        assert not guard.is_locked(LIB, CARD, KIOSK, 0.0)
        guard.note_wrong(LIB, CARD, KIOSK, 0.0)
    assert guard.is_locked(LIB, CARD, KIOSK, 29.9)
    assert guard.is_locked(LIB, CARD, "kiosk2", 29.9)
    assert not guard.is_locked("OTHER", CARD, KIOSK, 29.9)
    assert not guard.is_locked(LIB, "00123457", KIOSK, 29.9)


def test_pause_grows_to_a_quarter_of_an_hour():
    guard = PinGuard()
    lock(guard, times=2)
    now, pauses = 0.0, []
    for _ in range(8):
        guard.note_wrong(LIB, CARD, KIOSK, now)
        begun = now
        while guard.is_locked(LIB, CARD, KIOSK, now):
            now += 1.0
        pauses.append(now - begun)
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]


def test_one_try_is_let_through_at_the_end_of_a_pause():
    guard = PinGuard()
    lock(guard)
    assert [guard.is_locked(LIB, CARD, KIOSK, 31.0) for _ in range(5)] == [False] + [True] * 4


def test_a_try_that_tells_nothing_waits_anew():
    guard = PinGuard()
    lock(guard)
    assert not guard.is_locked(LIB, CARD, KIOSK, 31.0)  # the ILS was away
    assert guard.is_locked(LIB, CARD, KIOSK, 31.0 + 59)
    assert not guard.is_locked(LIB, CARD, KIOSK, 31.0 + 61)


def test_a_right_one_forgets():
    guard = PinGuard()
    lock(guard, times=2)
    guard.note_right(LIB, CARD)
    lock(guard, times=2)
    assert not guard.is_locked(LIB, CARD, KIOSK, 0.0)
    guard.note_right(LIB, "unknown")


def test_an_hour_forgets():
    guard = PinGuard()
    lock(guard)
    assert not guard.is_locked(LIB, CARD, KIOSK, 3700.0)
    lock(guard, now=3700.0, times=2)
    assert not guard.is_locked(LIB, CARD, KIOSK, 3700.0)


def test_many_cards_at_one_terminal():
    guard = PinGuard()
    for number in range(30):
        assert not guard.is_locked(LIB, f"card{number}", KIOSK, 0.0)
        guard.note_wrong(LIB, f"card{number}", KIOSK, 0.0)
    assert guard.is_locked(LIB, "another", KIOSK, 10.0)
    assert not guard.is_locked(LIB, "another", "kiosk2", 10.0)
    guard.note_right(LIB, "another")
    assert guard.is_locked(LIB, "another", KIOSK, 20.0)
    assert not guard.is_locked(LIB, "another", KIOSK, 31.0)


def test_children_who_mistype_all_day_do_not_lock_a_terminal():
    guard = PinGuard()
    for number in range(2000):
        now = number * 30.0
        assert not guard.is_locked(LIB, f"card{number}", KIOSK, now)
        guard.note_wrong(LIB, f"card{number}", KIOSK, now)


def test_memory_is_bounded_and_forgets_what_is_long_over():
    guard = PinGuard(max_entries=10)
    for number in range(50):
        guard.note_wrong(LIB, f"card{number}", f"kiosk{number}", float(number))
    assert len(guard) == 20
    assert not guard.is_locked(LIB, "x", "kiosk49", 49 + 31)
    assert len(guard) == 19


def test_the_same_card_written_otherwise_is_the_same_card():
    guard = PinGuard()
    for card in ("S0012x", " \x02s0012X\r", "S-0012 x"):
        assert not guard.is_locked(LIB, card, KIOSK, 0.0)
        guard.note_wrong(LIB, card, KIOSK, 0.0)
    assert guard.is_locked(LIB, "Ｓ００１２Ｘ", KIOSK, 0.0)
    assert not guard.is_locked(LIB, "S0012", KIOSK, 0.0)


def test_no_attempts_switch_it_off():
    guard = PinGuard(attempts=0)
    lock(guard, times=100)
    assert len(guard) == 0
    assert not guard.is_locked(LIB, CARD, KIOSK, 0.0)


def test_card_is_kept_as_a_digest_that_differs_from_process_to_process():
    one, other = PinGuard(), PinGuard()
    for guard in (one, other):
        lock(guard)
    assert not set(one._cards) & set(other._cards)
    assert CARD.encode() not in b"".join(one._cards)
    assert CARD not in repr(one.__dict__)
    lock(one, card="卡\udcff")


@pytest.mark.parametrize("attempts", [1, 3])
def test_from_many_threads(attempts):
    guard = PinGuard(attempts=attempts)
    lock(guard, times=attempts)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: guard.is_locked(LIB, CARD, KIOSK, 31.0), range(200)))
    assert answers.count(False) == 1

"""The moves of a loan (decision 6)."""

import pytest

from connector.domain.loan import LOAN_MOVES, UNCLOSED, LoanState, can_move

S = LoanState


def test_every_state_is_in_the_table():
    assert set(LOAN_MOVES) == set(LoanState)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (S.ASKED, S.OPEN),
        (S.ASKED, S.UNKNOWN),
        (S.ASKED, S.REFUSED),
        (S.UNKNOWN, S.OPEN),
        (S.UNKNOWN, S.REFUSED),
        (S.ASKED, S.DISPUTED),
        (S.DISPUTED, S.OPEN),
        (S.DISPUTED, S.RETURNED),
        (S.OPEN, S.RETURNED),
        (S.OPEN, S.CLAIMED_RETURNED),
        (S.OPEN, S.LOST),
        (S.OPEN, S.SUPERSEDED),
        (S.LOST, S.COMPENSATED),
        (S.LOST, S.RETURNED),
        (S.COMPENSATED, S.CLOSED),
        (S.CLAIMED_RETURNED, S.OPEN),
        (S.RETURNED, S.CLOSED),
    ],
)
def test_moves_of_the_field(old, new):
    assert can_move(old, new)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (S.REFUSED, S.OPEN),
        (S.RETURNED, S.OPEN),
        (S.CLOSED, S.OPEN),
        (S.SUPERSEDED, S.OPEN),
        (S.OPEN, S.ASKED),
        (S.OPEN, S.REFUSED),
        (S.UNKNOWN, S.ASKED),
        (S.ASKED, S.LOST),
        (S.COMPENSATED, S.OPEN),
        (S.OPEN, S.OPEN),
    ],
)
def test_no_other_moves(old, new):
    assert not can_move(old, new)


def test_what_is_freed_never_takes_a_place_again():
    for state, moves in LOAN_MOVES.items():
        if state not in UNCLOSED:
            assert not moves & UNCLOSED, state


def test_every_place_can_be_freed():
    for state in UNCLOSED:
        reached, seen = {state}, set()
        while reached:
            seen |= reached
            reached = {new for old in reached for new in LOAN_MOVES[old]} - seen
        assert seen - UNCLOSED, state


def test_a_lost_item_keeps_its_place_until_it_is_settled():
    assert S.LOST in UNCLOSED
    assert S.COMPENSATED not in UNCLOSED

"""The token of an online card, and what a scanned number may stand for besides a card."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.identity import normalise_scanned
from connector.domain.ids import Identifier
from connector.domain.online_card import TOKEN_ALPHABET, is_online_card, online_card_token

TOKEN = online_card_token("0123456789ABCDEFGHJKMNPQRS")


@given(st.text(TOKEN_ALPHABET, min_size=26, max_size=26))
def test_a_token_is_told_from_everything_else(random):
    token = online_card_token(random)
    assert len(token) == 30
    assert normalise_scanned(f" {token.lower()} ") == (Identifier("online_card", token),)


@given(st.integers(0, 28), st.sampled_from(TOKEN_ALPHABET))
def test_a_misread_character_is_noticed(place, other):
    read = TOKEN[:place] + other + TOKEN[place + 1 :]
    assert is_online_card(read) is (read == TOKEN)


@pytest.mark.parametrize("random", ["", "0" * 25, "0" * 27, "I" * 26, "0" * 25 + "-"])
def test_a_token_is_made_of_26_characters_only(random):
    with pytest.raises(ValueError):
        online_card_token(random)


@pytest.mark.parametrize("number", ["04A1B2C3", "04a1b2c3d4e5f6", "04A1B2C3D4E5F6071819"])
def test_a_chip_number_is_one_of_the_meanings(number):
    assert Identifier("chip_uid", number.upper()) in normalise_scanned(number)


def test_other_numbers_are_no_chips():
    assert all(found.kind != "chip_uid" for found in normalise_scanned("FD0000018"))

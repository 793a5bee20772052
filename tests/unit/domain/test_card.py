"""Card numbers: range and check digit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.card import CardRange

FENGDU = CardRange("FD", 1, 5000)


def test_number_has_prefix_serial_and_check_digit():
    assert FENGDU.number_of(1) == "FD0000018"
    assert FENGDU.number_of(5000) == "FD0050005"
    assert CardRange("5002", digits=8, last=99_999_999).number_of(1)[:-1] == "500200000001"


@pytest.mark.parametrize("serial", [0, -1, 5001])
def test_no_number_outside_the_range(serial):
    with pytest.raises(ValueError, match="outside"):
        FENGDU.number_of(serial)


@pytest.mark.parametrize(
    "text", ["FD0000019", "FD0050013", "XX0000018", "FD18", "FD000001８", "0000018", ""]
)
def test_other_texts_are_no_number_of_the_range(text):
    assert not FENGDU.is_number(text)


@pytest.mark.parametrize(
    "arguments",
    [
        {"prefix": "fd"},
        {"prefix": "A-"},
        {"prefix": "A" * 13},
        {"first": -1},
        {"first": 9, "last": 8},
        {"last": 10**6},
        {"prefix": "50023020150", "digits": 6},
        {"digits": 14, "last": 10**14 - 1},
        {"prefix": "500230201503", "digits": 5, "last": 99_999},
        {"prefix": "G50023020150", "digits": 6},
    ],
)
def test_impossible_ranges(arguments):
    with pytest.raises(ValueError, match="card"):
        CardRange(**arguments)


@given(serial=st.integers(1, 5000), position=st.integers(2, 8), digit=st.sampled_from("0123456789"))
def test_one_wrong_digit_is_noticed(serial, position, digit):
    number = FENGDU.number_of(serial)
    assert FENGDU.is_number(number)
    changed = number[:position] + digit + number[position + 1 :]
    assert FENGDU.is_number(changed) == (changed == number)

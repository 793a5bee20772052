"""How many missing pupils are too many (scenario 26)."""

import pytest

from connector.ports.enrolment import Valve
from connector.services.roster_leavers import choose_valve


@pytest.mark.parametrize(
    ("missing", "pupils", "is_doubtful", "valve"),
    [
        (0, 0, False, Valve.NONE),
        (0, 100, True, Valve.NONE),
        (5, 100, False, Valve.NONE),
        (6, 100, False, Valve.HELD),
        (1, 100, True, Valve.HELD),
        (1, 10, False, Valve.HELD),
        (10, 200, False, Valve.NONE),
        (11, 200, False, Valve.HELD),
    ],
)
def test_more_than_five_in_a_hundred_are_held(missing, pupils, is_doubtful, valve):
    assert choose_valve(missing, pupils, drop_percent=5, is_doubtful=is_doubtful) is valve

"""Identity numbers of people who do not exist, made by the rule of GB 11643.

Nothing here is a person. Rule: the serial is unique within a birth date and an area.
"""

from __future__ import annotations

from stdnum.cn import ric

__all__ = ["id_number"]


def id_number(serial: int, birth: str = "20150301", area: str = "500230") -> str:
    """Return 18 characters with the right check digit.

    Args:
        birth: as ``20150301``.
    """
    first17 = f"{area}{birth}{serial:03}"
    return first17 + ric.calc_check_digit(first17 + "0")

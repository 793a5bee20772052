"""What a file of new accounts for an ILS is made of: columns, and the layouts that come along.

Nothing here writes a file. Rule: a column holds one field of the pupil, or the same text in every
row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["COLUMNS_LAYOUT", "LAYOUTS", "HandoffColumn", "HandoffField", "choose_columns"]


class HandoffField(StrEnum):
    """What a column may hold."""

    CARD = "card"
    NAME = "name"
    ID_NUMBER = "id_number"
    BIRTH_DATE = "birth_date"
    PHONE = "phone"
    EXPIRES = "expires"
    CATEGORY = "category"
    PIN = "pin"
    SCHOOL = "school"
    CLASS_NAME = "class_name"


@dataclass(frozen=True, slots=True)
class HandoffColumn:
    """One column: its header, and a field, or ``fixed`` where there is none."""

    header: str
    field: HandoffField | None = None
    fixed: str = ""


COLUMNS_LAYOUT = "columns"
"""The layout that has no columns but those of the settings."""

LAYOUTS: Mapping[str, Mapping[str, HandoffField]] = {
    COLUMNS_LAYOUT: {},
    "koha-csv": {
        "cardnumber": HandoffField.CARD,
        "surname": HandoffField.NAME,
        "dateofbirth": HandoffField.BIRTH_DATE,
        "phone": HandoffField.PHONE,
        "categorycode": HandoffField.CATEGORY,
        "dateexpiry": HandoffField.EXPIRES,
        "userid": HandoffField.CARD,
        "password": HandoffField.PIN,
    },
}
"""Layout → header → field.

Source: the columns of Koha's patron import tool; nothing is claimed for other products.
"""


def choose_columns(
    layout: str, columns: Mapping[str, HandoffField], fixed: Mapping[str, str]
) -> tuple[HandoffColumn, ...]:
    """Return the columns of a layout, with the library's own instead of or after them.

    Raises:
        ValueError: there is no such layout, or no column holds the card number.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"there is no layout {layout}; use one of {', '.join(LAYOUTS)}")
    chosen = {
        header: HandoffColumn(header, field)
        for header, field in {**LAYOUTS[layout], **columns}.items()
    }
    chosen |= {header: HandoffColumn(header, fixed=text) for header, text in fixed.items()}
    if not any(column.field is HandoffField.CARD for column in chosen.values()):
        raise ValueError("no column holds the card number: name one that holds 'card'")
    return tuple(chosen.values())

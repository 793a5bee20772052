"""The layout of the file of new accounts, built from a library's settings.

Nothing here writes the file.
"""

from __future__ import annotations

from connector.domain.handoff import choose_columns
from connector.domain.ids import InstitutionId
from connector.enrolment.handoff_file import HandoffLayout
from connector.errors import ConfigurationError
from connector.settings import Settings

__all__ = ["build_handoff_layout"]


def build_handoff_layout(
    settings: Settings, institution: InstitutionId, layout: str = ""
) -> HandoffLayout:
    """Build the layout of the file of new accounts of one library.

    Args:
        layout: instead of the one of the settings.

    Raises:
        ConfigurationError: there is no such layout, or no column for the card number.
    """
    library = next(each for each in settings.libraries if each.code == institution)
    own = settings.ils_of(library).handoff
    if own is None and not layout:
        raise ConfigurationError(
            f"Library {institution} has no [library.ils.handoff].",
            "Add the table, or name a layout with --layout.",
        )
    columns, fixed = ({}, {}) if own is None else (own.columns, own.fixed)
    try:
        chosen = choose_columns(layout or (own.layout if own else ""), columns, fixed)
    except ValueError as err:
        raise ConfigurationError(
            f"The file of library {institution}: {err}.", "Change [library.ils.handoff]."
        ) from None
    if own is None:
        return HandoffLayout(chosen)
    return HandoffLayout(chosen, own.delimiter, own.encoding, own.header, own.date_format)

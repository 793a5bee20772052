"""Applications for a student card: their states and moves, and what a guardian may agree to.

Nothing here stores, or words a message. Roster rows are read in ``roster_row``; its names can be
imported from here. Rules: A07, A08, A24, decisions 19 and 20.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from connector.domain.roster_row import (
    COLUMNS,
    RowContext,
    RowProblem,
    StudentRecord,
    clean_text,
    parse_row,
)
from connector.domain.school import SchoolStage

__all__ = [
    "APPLICATION_MOVES",
    "CLOSED_STATES",
    "COLUMNS",
    "ApplicationState",
    "ConsentScope",
    "Route",
    "RowContext",
    "RowProblem",
    "SchoolStage",
    "StudentRecord",
    "can_advance",
    "clean_text",
    "parse_row",
]


class ApplicationState(StrEnum):
    """States of an application (decision 19); consent is a separate fact, not a state."""

    ENTERED = "entered"
    SCHOOL_REVIEWED = "school_reviewed"
    LIBRARY_APPROVED = "library_approved"
    ACTIVATING = "activating"
    ACTIVE = "active"
    EXISTING_CARD = "existing_card"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


_S = ApplicationState

APPLICATION_MOVES: Mapping[ApplicationState, frozenset[ApplicationState]] = {
    _S.ENTERED: frozenset({_S.SCHOOL_REVIEWED, _S.LIBRARY_APPROVED, _S.REFUSED, _S.WITHDRAWN}),
    _S.SCHOOL_REVIEWED: frozenset({_S.ENTERED, _S.LIBRARY_APPROVED, _S.REFUSED, _S.WITHDRAWN}),
    _S.LIBRARY_APPROVED: frozenset({_S.ACTIVATING, _S.REFUSED, _S.WITHDRAWN}),
    _S.ACTIVATING: frozenset(
        {_S.ACTIVE, _S.EXISTING_CARD, _S.LIBRARY_APPROVED, _S.REFUSED, _S.WITHDRAWN}
    ),
    _S.EXISTING_CARD: frozenset({_S.ACTIVE, _S.LIBRARY_APPROVED, _S.WITHDRAWN}),
    _S.ACTIVE: frozenset({_S.WITHDRAWN}),
    _S.REFUSED: frozenset(),
    _S.WITHDRAWN: frozenset(),
}
"""``entered`` goes to the library at once only where no school reviews: see ``can_advance``."""

CLOSED_STATES = frozenset({_S.REFUSED, _S.WITHDRAWN})
"""A person has at most one application outside these states (A24)."""


class Route(StrEnum):
    """Who entered the application: the school for many, or the family for one (A06)."""

    BATCH = "batch"
    INDIVIDUAL = "individual"


class ConsentScope(StrEnum):
    """What a guardian may agree to, one by one (decision 20)."""

    CARD = "card"
    ONLINE = "online"
    NETWORK_COUNTY = "network:county"
    NETWORK_CITY = "network:city"
    NETWORK_CROSS_PROVINCE = "network:cross_province"


def can_advance(
    old: ApplicationState,
    new: ApplicationState,
    *,
    route: Route,
    review_individual: bool = False,
) -> bool:
    """Say whether an application may go from ``old`` to ``new``.

    Args:
        review_individual: the school wants to review what families enter themselves (A08, A39).
    """
    if old is _S.ENTERED and new is _S.LIBRARY_APPROVED:
        return route is Route.INDIVIDUAL and not review_individual
    return new in APPLICATION_MOVES[old]

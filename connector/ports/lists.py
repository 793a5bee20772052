"""Lists of a school's pupils, as the list service needs them.

Nothing here stores, and nothing here holds a name or a number. Rule (scenario 35): a pupil is the
school's whose present application is; nobody else's is ever in a list.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from connector.domain.class_names import ClassName
from connector.domain.ids import InstitutionId, PatronId
from connector.ports.enrolment import Application
from connector.ports.store import AuditEntry

__all__ = ["ListStore", "ListedApplication"]


@dataclass(frozen=True, slots=True)
class ListedApplication:
    """A pupil's present application: the open one, else the last that was closed.

    Attributes:
        reviewed, approved: it has passed the school, and the library.
        batch: number of its batch; empty without one.
    """

    application: Application
    reviewed: bool
    approved: bool
    batch: str = ""


class ListStore(Protocol):
    """Reads for lists, exports and figures."""

    def list_present(
        self,
        institution: InstitutionId,
        *,
        school_id: str | None = None,
        patrons: Collection[PatronId] | None = None,
    ) -> tuple[ListedApplication, ...]:
        """Return the present applications at a library, by school, batch and row.

        Args:
            patrons: only these people's; None = everybody's.
        """
        ...

    def list_places(
        self,
        institution: InstitutionId,
        *,
        school_year: int | None = None,
        patrons: Collection[PatronId] | None = None,
    ) -> Mapping[PatronId, tuple[str, ClassName]]:
        """Return school id and class of the pupils of a library.

        Args:
            patrons: only these people's; None = everybody's.
            school_year: the last class of that year; None = the present one.
        """
        ...

    def search_log(
        self,
        institution: InstitutionId,
        *,
        school_id: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        action: str = "",
        limit: int = 500,
    ) -> tuple[AuditEntry, ...]:
        """Return what was done at a library, or about a school: itself, its batches, its present
        pupils and their applications; the newest first.

        Args:
            action: the whole word, or all of a kind when it ends with a dot.
        """
        ...

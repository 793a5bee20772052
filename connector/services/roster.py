"""Importing a school's roster, in a dry run and for good: whose turn it is, and from which file.

Nothing here asks an ILS: importing is not consent (A03, decision 19). How it goes on is in
``roster_run``, what becomes of a row in ``roster_judging``, who has left in ``roster_leavers``.
Rules: a school that does not enter by roster is refused, and so is a campaign outside its window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from connector.domain.ids import Identifier
from connector.enrolment.workbook import Roster, read_roster
from connector.errors import ConfigurationError
from connector.ports.enrolment import School
from connector.ports.schools import Campaign
from connector.services.roster_judging import RowCheck
from connector.services.roster_run import ImportParts, ImportReport, ImportRun

__all__ = ["ImportReport", "RosterImport", "RowCheck"]


@dataclass(frozen=True, slots=True)
class RosterImport(ImportParts):
    """Imports rosters of one library's schools."""

    def run(
        self,
        path: Path,
        school: School,
        *,
        actor: str,
        dry_run: bool = False,
        complete: bool = False,
        campaign: str = "",
        force: bool = False,
        on_row: Callable[[int, int], None] | None = None,
    ) -> ImportReport:
        """Import a roster file for a school.

        Args:
            actor: a staff account, for the audit.
            complete: the roster names every pupil of the school; who is not in it has left.
            campaign: code of the yearly intake that it belongs to.
            force: import the file anew, though it was imported before.
            on_row: called after each row with rows done and rows in all.

        Raises:
            RecordError: the file as a whole is refused.
            ConfigurationError: the school is disabled, or does not enter by roster; the campaign is
                unknown or not open; another import of the file is under way.
        """
        roster = read_roster(path)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:32]
        return self.take(
            roster,
            digest,
            school,
            actor=actor,
            dry_run=dry_run,
            complete=complete,
            campaign=campaign,
            force=force,
            on_row=on_row,
        )

    def take(
        self,
        roster: Roster,
        digest: str,
        school: School,
        *,
        actor: str,
        source: str = "roster",
        dry_run: bool = False,
        complete: bool = False,
        campaign: str = "",
        force: bool = False,
        gone: Collection[Identifier] = (),
        on_row: Callable[[int, int], None] | None = None,
    ) -> ImportReport:
        """Import rows that were read; see ``run``.

        Args:
            digest: of the content, up to 64 characters; by it an import is known again.
            source: where they come from: ``roster``, ``oneroster`` or ``form``.
            gone: numbers of pupils who have left, where the source says so by name.
        """
        if school.disabled or school.entry_mode == "individual":
            raise ConfigurationError(
                f"School {school.code} does not enter pupils by roster.",
                "Run: onecard enrol school add CODE NAME --entry-mode both --enabled",
            )
        run = ImportRun(
            self,
            roster,
            digest,
            school,
            actor=actor,
            source=source,
            dry_run=dry_run,
            complete=complete,
            campaign=self._find_campaign(school, campaign) if campaign else None,
            force=force,
            gone=gone,
        )
        return run.finish(on_row)

    def _find_campaign(self, school: School, code: str) -> Campaign:
        campaign = self.schools.find_campaign(school.institution, code)
        if campaign is None:
            raise ConfigurationError(
                f"There is no campaign {code}.", "See: onecard enrol campaign list"
            )
        if not campaign.opens <= self.rules.today(self.now()) <= campaign.closes:
            raise ConfigurationError(
                f"Campaign {code} takes rosters from {campaign.opens} to {campaign.closes}.",
                "Import without --campaign, or change its window.",
            )
        return campaign

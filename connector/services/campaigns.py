"""Yearly intakes: their window, their target grades, and how far each school is.

Nothing here imports. Rule (A04): cards were begun at once; afterwards every September takes the
entry grades.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.errors import ConfigurationError, NotFound
from connector.ports.enrolment import EnrolmentStore, School
from connector.ports.schools import Campaign, CampaignCounts, SchoolStore

__all__ = ["CampaignProgress", "CampaignService"]


@dataclass(frozen=True, slots=True)
class CampaignProgress:
    """How far a campaign is, school by school."""

    campaign: Campaign
    schools: tuple[tuple[School, CampaignCounts], ...]


@dataclass(frozen=True, slots=True)
class CampaignService:
    """The campaigns of every library of the process."""

    schools: SchoolStore
    store: EnrolmentStore
    libraries: Mapping[InstitutionId, Library]

    def save_campaign(self, campaign: Campaign, *, actor: str) -> Campaign:
        """Add a campaign, or change the one with this code.

        Raises:
            ConfigurationError: it closes before it opens.
        """
        if campaign.institution not in self.libraries:
            raise ConfigurationError(
                f"There is no library {campaign.institution}.",
                f"Use one of: {', '.join(self.libraries)}.",
            )
        if campaign.closes < campaign.opens:
            raise ConfigurationError(
                "The campaign closes before it opens.", "Correct --opens or --closes."
            )
        return self.schools.save_campaign(campaign, actor=actor)

    def list_campaigns(self, institution: InstitutionId) -> tuple[Campaign, ...]:
        """Return the library's campaigns, the newest first."""
        return self.schools.list_campaigns(institution)

    def find_progress(self, institution: InstitutionId, code: str) -> CampaignProgress:
        """Return how far a campaign is; raises ``NotFound``."""
        campaign = self.schools.find_campaign(institution, code)
        if campaign is None:
            raise NotFound("campaign")
        counts = self.schools.count_campaign(campaign)
        return CampaignProgress(
            campaign,
            tuple(
                (school, counts.get(school.school_id, CampaignCounts()))
                for school in self.store.list_schools(institution)
                if not school.disabled
            ),
        )

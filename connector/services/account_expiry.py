"""Telling the library systems when a pupil's card is valid for longer than they know.

Nothing here decides how long; ``connector.services.school_year`` does. Rules —

- who repeats a year, or stays in his school for the next stage, must not find his account expired;
- the ILS is told nothing but the new last day: the call is the one that adopts an account, which
  leaves name, number, PIN, phone, blocks, loans and holds alone;
- our register is changed after the ILS has been: what broke off is found again and repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from connector.domain.ids import InstitutionId
from connector.errors import AdapterAuthFailed, AdapterError, AdapterUnavailable, NotFound
from connector.log import get_logger
from connector.ports.ils import Capability, IlsAdapter, PatronInput
from connector.ports.schools import SchoolStore
from connector.ports.store import PatronRegister

__all__ = ["AccountExpiry", "ExtensionReport"]

_log = get_logger(__name__)

_GIVE_UP_AFTER = 3


@dataclass(frozen=True, slots=True)
class ExtensionReport:
    """What became of the accounts whose last day is too early in the ILS.

    Attributes:
        extended: the ILS has the new day.
        failed: the ILS could not be asked, or did not do it; it is tried again.
        by_hand: the ILS cannot be told; its staff have to change the day.
    """

    extended: int = 0
    failed: int = 0
    by_hand: int = 0


@dataclass(frozen=True, slots=True)
class AccountExpiry:
    """Extends accounts at every library of the process.

    Attributes:
        categories: patron category of a student card, by library.
    """

    schools: SchoolStore
    register: PatronRegister
    adapters: Mapping[InstitutionId, IlsAdapter]
    categories: Mapping[InstitutionId, str]

    def extend(self, institution: InstitutionId) -> ExtensionReport:
        """Extend every account of the library's pupils that ends before the card does."""
        late = self.schools.list_short_accounts(institution)
        adapter = self.adapters[institution]
        if not late:
            return ExtensionReport()
        if Capability.ADOPT_PATRON not in adapter.capabilities:
            _log.warning("accounts.too_short", institution=institution, count=len(late))
            return ExtensionReport(by_hand=len(late))
        extended = failed = away = 0
        for account in late:
            if away >= _GIVE_UP_AFTER:
                break
            try:
                adapter.upsert_patron(
                    PatronInput(
                        external_id=account.patron_id,
                        card=account.ils_patron,
                        name="",
                        category=self.categories[institution],
                        expires=account.expires,
                        adopt=account.ils_patron,
                    )
                )
                self.register.set_account(
                    account.patron_id,
                    institution,
                    account.ils_patron,
                    kind=account.kind,
                    expires=account.expires,
                )
            except (AdapterError, NotFound) as err:
                failed += 1
                away += isinstance(err, AdapterUnavailable)
                away += _GIVE_UP_AFTER * isinstance(err, AdapterAuthFailed)
            else:
                extended, away = extended + 1, 0
        _log.info("accounts.extended", institution=institution, count=extended, failed=failed)
        return ExtensionReport(extended, failed)

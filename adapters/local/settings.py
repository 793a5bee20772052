"""Settings of the embedded ILS: its file, the language of its messages, its own loan rules.

Nothing here opens the file. The rules are this ILS's own and know nothing of any policy of the
connector; as shipped they are generous.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["DEFAULT_RULES", "LocalSettings", "RuleSettings"]


class RuleSettings(BaseModel):
    """One loan rule; the first whose ``category`` and ``item_type`` match (``*`` = any) applies.

    ``max_items = 0`` means not for loan; ``fee`` is charged at the checkout, once agreed to.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: str = "*"
    item_type: str = "*"
    loan_days: int = Field(default=30, ge=0)
    max_items: int = Field(default=20, ge=0)
    max_renewals: int = Field(default=2, ge=0)
    renewal_days: int = Field(default=30, ge=0)
    renewal_from: Literal["today", "due"] = "today"
    fee: Decimal = Field(default=Decimal(0), ge=0)
    overdue_fee_per_day: Decimal = Field(default=Decimal(0), ge=0)


DEFAULT_RULES = (RuleSettings(item_type="reference", max_items=0, max_renewals=0), RuleSettings())
"""As shipped: reference works stay here; all else 20 items, 30 days, 2 renewals from today."""


class LocalSettings(BaseModel):
    """The adapter's own table, ``[ils.local]``.

    Attributes:
        path: database file, relative to the data folder; empty = ``local-<library code>.db``.
        language: of the messages that this ILS sends to readers.
        demo: the file may be filled with sample records.
        fee_limit: unpaid fees above this bar checkouts and renewals; None = never.
        hold_shelf_days: how long an item waits on the hold shelf.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = ""
    language: Literal["zh", "en"] = "zh"
    demo: bool = False
    currency: str = Field(default="CNY", pattern=r"^[A-Z]{3}$")
    fee_limit: Decimal | None = Field(default=Decimal(100), ge=0)
    hold_shelf_days: int = Field(default=7, ge=1)
    rules: tuple[RuleSettings, ...] = DEFAULT_RULES

    def rule_for(self, category: str, item_type: str) -> RuleSettings:
        """Return the first matching rule; without one, the generous default."""
        for rule in self.rules:
            if rule.category in ("*", category) and rule.item_type in ("*", item_type):
                return rule
        return RuleSettings()

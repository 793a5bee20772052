"""One loan as ``--json`` prints it.

Nothing here reads or prints. Rule: ids, codes and dates; never a name or a number of a card.
"""

from __future__ import annotations

from typing import Any

from connector.domain.loan import Loan

__all__ = ["describe_loan"]


def describe_loan(loan: Loan) -> dict[str, Any]:
    """Return what is shown of a loan."""
    return {
        "loan": loan.loan_id,
        "patron": loan.patron_id,
        "item": str(loan.item),
        "owner": loan.item.owner,
        "barcode": loan.item.barcode,
        "lender": loan.lender,
        "state": loan.state.value,
        "language": loan.language.value,
        "origin": loan.origin.value,
        "asked_at": loan.asked_at.isoformat(),
        "due": loan.due.isoformat() if loan.due else None,
        "renewals": loan.renewals,
        "over_limit": loan.over_limit,
        "due_mismatch": loan.due_mismatch,
        "policy_version": loan.policy_version,
    }

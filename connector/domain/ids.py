"""Identifiers of the field as distinct types, so that no signature takes two bare ``str`` ids.

Nothing here knows how an identifier is stored or printed. Rules: decisions 2 and 5.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NewType

__all__ = [
    "Barcode",
    "BranchId",
    "Identifier",
    "IlsPatronId",
    "InstitutionId",
    "ItemId",
    "LoanId",
    "PatronId",
    "TerminalId",
]

InstitutionId = NewType("InstitutionId", str)
"""A library's ``code``; its ISIL is an attribute."""

BranchId = NewType("BranchId", str)
"""A branch, lending point or book corner within one library."""

TerminalId = NewType("TerminalId", str)
"""Login name of a self-check machine, book drop, sorter or desk."""

PatronId = NewType("PatronId", str)
"""Random UUID (36 characters) of a person whom we enrolled."""

IlsPatronId = NewType("IlsPatronId", str)
"""The patron identifier that one ILS answers to (AA); for people we did not enrol, whatever was
scanned.
"""

LoanId = NewType("LoanId", str)
"""UUID (36 characters) of a loan, which is its permit too."""

Barcode = NewType("Barcode", str)
"""Item identifier as normalised by the owning library's rule."""


@dataclass(frozen=True, slots=True, order=True)
class ItemId:
    """An item in the whole network: local barcodes repeat among libraries (``facts``: barcodes
    collide).
    """

    owner: InstitutionId
    barcode: Barcode

    def __str__(self) -> str:
        return f"{self.owner}:{self.barcode}"


@dataclass(frozen=True, slots=True)
class Identifier:
    """One number of a person: ``kind`` is an open string (card, id_card, ssc, student_no, old_card,
    chip_uid).
    """

    kind: str
    value: str = field(repr=False)

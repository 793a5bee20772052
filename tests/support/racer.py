"""A process that asks for the last place again and again: ``python -m tests.support.racer``.

Standard input gives one barcode per round; standard output answers with what became of it. Both
racers read their line at about the same moment, so that they meet in the database.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from connector.domain.ids import Barcode, IlsPatronId, InstitutionId, ItemId, PatronId
from connector.domain.item import LanguageClass
from connector.ports.ledger import Asked, AskLoan, Place
from connector.storage.crypto import Keyring
from connector.storage.store import Store

LIBRARY = InstitutionId("FDX")


def main() -> None:
    """Race for the places of one patron."""
    url, key_file, patron_id, limit = sys.argv[1:]
    store = Store(url, Keyring.load(Path(key_file)))
    print("ready", flush=True)  # noqa: T201 - the pipe to the test
    for line in sys.stdin:
        now = datetime.now(UTC)
        answer = store.ledger.ask(
            AskLoan(
                patron_id=PatronId(patron_id),
                item=ItemId(LIBRARY, Barcode(line.strip())),
                lender=LIBRARY,
                ils_patron=IlsPatronId("S1"),
                language=LanguageClass.CHINESE,
                place=Place(LIBRARY, now, now.date()),
                expires_at=now + timedelta(seconds=60),
                limit=int(limit),
                foreign_limit=None,
            )
        )
        won = answer.loan.loan_id if isinstance(answer, Asked) else type(answer).__name__
        print(won, flush=True)  # noqa: T201 - the pipe to the test
    store.close()


if __name__ == "__main__":
    main()

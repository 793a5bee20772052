"""Our own database as the rest of the program gets it: one object with the ports as attributes.

Nothing here has a statement of its own.
"""

from __future__ import annotations

from pathlib import Path

from connector.errors import ConfigurationError
from connector.ports.clock import Clock, utc_now
from connector.storage.crypto import Keyring
from connector.storage.engine import Database
from connector.storage.migrate import read_state
from connector.storage.outbox import Outbox
from connector.storage.repositories.audit import StoredAudit
from connector.storage.repositories.cards import StoredCards
from connector.storage.repositories.classes import StoredClasses
from connector.storage.repositories.closing import StoredClosings
from connector.storage.repositories.deferred import StoredDeferred
from connector.storage.repositories.enrolment import StoredEnrolment
from connector.storage.repositories.exchange import StoredExchanges
from connector.storage.repositories.feeds import StoredFeeds
from connector.storage.repositories.institutions import StoredInstitutions
from connector.storage.repositories.item_facts import StoredItemFacts
from connector.storage.repositories.ledger import StoredLedger
from connector.storage.repositories.lists import StoredLists
from connector.storage.repositories.modes import StoredModes
from connector.storage.repositories.operations import StoredOperations
from connector.storage.repositories.payments import StoredPayments
from connector.storage.repositories.people import StoredPeople
from connector.storage.repositories.privacy import StoredPrivacy
from connector.storage.repositories.rosters import StoredRosters
from connector.storage.repositories.tasks import StoredTasks
from connector.storage.repositories.terminal_clocks import StoredTerminalClocks
from connector.storage.repositories.violations import StoredViolations
from connector.storage.unit_of_work import UnitOfWorkFactory

__all__ = ["Store", "open_store"]


class Store:
    """The database and the keys, opened.

    Attributes:
        keyring: for pseudonyms in logs; what else it can do is storage's own business.
        work: begins units of work, for repositories that live elsewhere in this package.
        ledger, people, item_facts, violations, audit, enrolment, schools, tasks, cards, lists: the
            ports of ``connector.ports``.
        outbox: messages to other libraries.
        institutions: the copy of the configured libraries.
    """

    def __init__(self, url: str, keyring: Keyring, *, now: Clock = utc_now) -> None:
        self.keyring = keyring
        self.database = Database(url)
        self.work = UnitOfWorkFactory(self.database, keyring, now=now)
        self.ledger = StoredLedger(self.work)
        self.deferred = StoredDeferred(self.work)
        self.people = StoredPeople(self.work)
        self.item_facts = StoredItemFacts(self.work)
        self.violations = StoredViolations(self.work)
        self.audit = StoredAudit(self.work)
        self.enrolment = StoredEnrolment(self.work)
        self.schools = StoredClasses(self.work)
        self.rosters = StoredRosters(self.work)
        self.tasks = StoredTasks(self.work)
        self.terminal_clocks = StoredTerminalClocks(self.work)
        self.feeds = StoredFeeds(self.work)
        self.cards = StoredCards(self.work)
        self.lists = StoredLists(self.work)
        self.closings = StoredClosings(self.work)
        self.exchanges = StoredExchanges(self.work)
        self.privacy = StoredPrivacy(self.work)
        self.outbox = Outbox(self.work)
        self.institutions = StoredInstitutions(self.work)
        self.operations = StoredOperations(self.work)
        self.modes = StoredModes(self.work)
        self.payments = StoredPayments(self.work)

    def close(self) -> None:
        """Close every connection."""
        self.database.close()


def open_store(url: str, key_file: Path, *, now: Clock = utc_now) -> Store:
    """Open the database with the keys of the key file.

    Raises:
        ConfigurationError: the key file cannot be used or belongs to another database, or the
            tables are missing or older than this release.
        StorageUnavailable: the database cannot be reached.
    """
    store = Store(url, Keyring.load(key_file), now=now)
    try:
        _require_tables(store.database)
        _require_keys(store.database, store.keyring)
    except BaseException:
        store.close()
        raise
    return store


def _require_tables(database: Database) -> None:
    state = read_state(database)
    if not state.is_current:
        what = "has no tables" if state.found is None else "is older than this release"
        raise ConfigurationError(f"The database {what}.", "Run: onecard db upgrade")


def _require_keys(database: Database, keyring: Keyring) -> None:
    """Refuse other keys: with them no card is recognised, and every pupil passes as a stranger."""
    found = database.fetch("SELECT DISTINCT key_id FROM identifier", ())
    if any(row[0] not in keyring.key_ids for row in found):
        raise ConfigurationError(
            "The key file does not belong to this database.",
            "Restore the key file that was in use with it, or correct [store] key_file and url.",
        )

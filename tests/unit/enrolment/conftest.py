"""Enrolment on a real database, with a clock that stands still; every person is invented."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import xlsxwriter

from connector.domain.card import CardRange
from connector.domain.enrolment import ApplicationState, ConsentScope, SchoolStage
from connector.domain.ids import InstitutionId
from connector.domain.library import Library
from connector.ports.decisions import NoDecider
from connector.ports.enrolment import RowOutcome
from connector.services.closing import ClosingService
from connector.services.consents import ConsentService
from connector.services.enrolment import EnrolmentService
from connector.services.enrolment_rules import EnrolmentRules
from connector.services.facts import FactReader
from connector.services.provisioning import ProvisioningService
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database
from connector.storage.store import Store
from connector.testing.fake_ils import FakeIls
from tests.support.id_numbers import id_number

HEADERS_A49 = ["身份证号*", "姓名*", "联系电话*", "家长姓名", "家长电话", "班级", "区县*"]
NAMES = [
    "丁一一",
    "戴二二",
    "孙三三",
    "李四四",
    "吴五五",
    "陆六六",
    "戚七七",
    "巴八八",
    "久九九",
    "石十十",
]


def pupil(serial, **changes):
    """Return a valid row of the seven-column layout."""
    cells = {
        "id": id_number(serial),
        "name": NAMES[serial % len(NAMES)],
        "phone": f"138000{serial:05}",
        "parent": "家长" + "一二三四五六七八九十"[serial % 10],
        "parent_phone": f"139000{serial:05}",
        "class": "三年级2班",
        "district": "丰都",
    }
    return list((cells | changes).values())


def write_sheet(path, rows, headers=HEADERS_A49, *, title=None, sheet="名册", more=None):
    """Write a real xlsx file; ``more`` gets the workbook before it is closed."""
    book = xlsxwriter.Workbook(str(path))
    book.set_properties({"created": datetime(2026, 9, 1, tzinfo=UTC)})  # same content, same bytes
    page = book.add_worksheet(sheet)
    lines = ([[title]] if title else []) + [headers, *rows]
    for number, line in enumerate(lines):
        for position, cell in enumerate(line):
            if isinstance(cell, str):
                page.write_string(number, position, cell)
            elif cell is not None:
                page.write(number, position, cell)
    if more is not None:
        more(book)
    book.close()
    return path


@dataclass
class World:
    """Everything that a test of enrolment needs."""

    folder: Path
    store: Store
    ils: FakeIls
    enrolment: EnrolmentService
    provisioning: ProvisioningService
    consents: ConsentService
    time: list = field(default_factory=list)

    @property
    def library(self):
        return InstitutionId("FD")

    def school(self, code="s1", stage=SchoolStage.PRIMARY, **more):
        return self.enrolment.save_school(self.library, code, f"学校{code}", stage=stage, **more)

    def sheet(self, rows, headers=HEADERS_A49, name="roster.xlsx", **more):
        return write_sheet(self.folder / name, rows, headers, **more)

    def load(self, rows, school=None, *, dry_run=False, **more):
        """Import rows and return the report."""
        path = self.sheet(rows, **more)
        return self.enrolment.import_roster(
            path, school or self.school(), actor="clerk", dry_run=dry_run
        )

    def applications(self, report):
        return self.enrolment.list_applications(report.batch)

    def approved(self, rows, *, consent=True):
        """Import rows and bring them to the library's approval."""
        report = self.load(rows)
        self.enrolment.review(self.applications(report), actor="teacher")
        if consent:
            self.consent(self.applications(report))
        self.enrolment.approve(self.applications(report), actor="librarian")
        return self.applications(report)

    def consent(self, applications, scope=ConsentScope.CARD):
        self.consents.record(applications, [scope], evidence="folder 7", actor="teacher")

    def activate(self, applications):
        return self.provisioning.activate(applications, actor="librarian")

    def state_of(self, application) -> ApplicationState | None:
        found = self.store.enrolment.fetch_application(application.application_id)
        return found.state if found else None

    def pass_time(self, **more):
        self.time[0] += timedelta(**more)


def outcomes(report):
    """Return the outcomes that occurred, and check that they add up."""
    assert sum(report.counts.values()) == report.rows
    assert set(report.counts) == set(RowOutcome)
    return {outcome.value: n for outcome, n in report.counts.items() if n}


def codes(report):
    return [(problem.row, problem.column, problem.code) for problem in report.problems]


@pytest.fixture
def helpers():
    """The functions of this file, since test folders are no packages."""

    class Helpers:
        pass

    for function in (id_number, pupil, write_sheet, outcomes, codes):
        setattr(Helpers, function.__name__, staticmethod(function))
    return Helpers


@pytest.fixture
def world(tmp_path):
    url = f"sqlite:///{tmp_path}/onecard.db"
    upgrade_database(url)
    time = [datetime(2026, 9, 10, 2, 0, tzinfo=UTC)]

    def now():
        return time[0]

    store = Store(url, Keyring.generate(), now=now)
    ils = FakeIls("FD", now=now)
    rules = EnrolmentRules(
        institution=InstitutionId("FD"),
        zone=ZoneInfo("Asia/Shanghai"),
        cards=CardRange("FD", 1, 9999),
        districts=frozenset({"丰都县"}),
    )
    libraries = {rules.institution: Library(rules.institution, "丰都县图书馆", rules.zone)}
    facts = FactReader(
        libraries=libraries,
        adapters={rules.institution: ils},
        ledger=store.ledger,
        people=store.people,
        item_facts=store.item_facts,
        decider=NoDecider(),
        now=now,
    )
    closing = ClosingService(
        store=store.closings,
        register=store.people,
        facts=facts,
        libraries=libraries,
        adapters={rules.institution: ils},
        tasks=store.tasks,
        now=now,
    )
    enrolment = EnrolmentService(
        register=store.people,
        store=store.enrolment,
        rosters=store.rosters,
        schools=store.schools,
        tasks=store.tasks,
        closer=closing,
        audit=store.audit,
        rules={rules.institution: rules},
        now=now,
    )
    provisioning = ProvisioningService(
        adapter=ils,
        store=store.enrolment,
        register=store.people,
        rules=rules,
        now=now,
        tasks=store.tasks,
        sleep=lambda seconds: None,
    )
    library = Library(rules.institution, "丰都", rules.zone)
    libraries, adapters = {library.code: library}, {library.code: ils}
    closing = ClosingService(
        store=store.closings,
        register=store.people,
        facts=FactReader(
            libraries=libraries,
            adapters=adapters,
            ledger=store.ledger,
            people=store.people,
            item_facts=store.item_facts,
            decider=NoDecider(),
            now=now,
        ),
        libraries=libraries,
        adapters=adapters,
        tasks=store.tasks,
        now=now,
    )
    consents = ConsentService(
        register=store.people,
        store=store.enrolment,
        audit=store.audit,
        closing=closing,
        rules={rules.institution: rules},
        now=now,
    )
    yield World(tmp_path, store, ils, enrolment, provisioning, consents, time)
    store.close()

"""OneRoster CSV, versions 1.1 and 1.2: the pupils of each school as roster rows (A16).

Nothing here checks a value or knows an application. Rules —

- the bundle is a folder or a zip of CSV files; the manifest says which files are there, and whether
  they are whole (``bulk``) or changes (``delta``); nothing is unpacked to disk;
- a pupil is a user with the role ``student``; his class is the homeroom that he is enrolled in,
  else the class marked primary, else the only one;
- identity and registry numbers stand in ``userIds`` as ``{type:number}``, or in ``identifier``;
- rows keep their line number in ``users.csv`` for the report.

Source: 1EdTech OneRoster 1.1 and 1.2, CSV tables.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from connector.domain.ids import Identifier
from connector.enrolment.columns import ColumnMap
from connector.enrolment.sheets import Sheet
from connector.enrolment.workbook import Roster, RosterRows
from connector.errors import RecordError

__all__ = [
    "OneRoster",
    "OneRosterPupil",
    "OneRosterSchool",
    "build_roster",
    "list_gone",
    "read_oneroster",
]

_VERSIONS = ("1.1", "1.2")
_MAX_UNPACKED_BYTES = 500 * 1024 * 1024
_MAX_FIELD = 10_000
_MAX_LINES = 2_000_000
"""Of one file; tables are joined in memory."""
_CJK = re.compile(r"[\u3400-\u9fff\U00020000-\U0003ffff]")
_USER_ID = re.compile(r"\{([^:{}]+):([^{}]*)\}")
_REGISTRY_NUMBER = re.compile(r"[GJLgjl][0-9]{17}[0-9Xx]")
_IDENTITY_NUMBER = re.compile(r"[0-9]{17}[0-9Xx]")
_ID_TYPES: Mapping[str, str] = {
    "idcard": "id_number",
    "residentid": "id_number",
    "cnid": "id_number",
    "nationalid": "id_number",
    "身份证": "id_number",
    "身份证号": "id_number",
    "studentno": "student_no",
    "registryno": "student_no",
    "学籍号": "student_no",
}
_GRADES: Mapping[str, str] = {"PR": "小班", "IT": "小班", "PK": "中班", "TK": "大班", "KG": "大班"}
"""CEDS grade codes of the years before school; 01 to 12 are school years."""
_GUARDIANS = frozenset({"guardian", "parent", "relative"})
_ZIP_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError)

_COLUMNS = (
    "id_number",
    "name",
    "phone",
    "guardian_name",
    "guardian_phone",
    "class_name",
    "student_no",
    "grade",
)
_REQUIRED: Mapping[str, tuple[str, ...]] = {
    "orgs": ("sourcedId", "name", "type", "identifier"),
    "users": ("sourcedId", "givenName", "familyName", "identifier"),
    "classes": ("sourcedId", "title", "schoolSourcedId"),
    "enrollments": ("classSourcedId", "userSourcedId", "role"),
    "roles": ("userSourcedId", "role", "orgSourcedId"),
}


@dataclass(frozen=True, slots=True)
class OneRosterPupil:
    """One pupil: line in ``users.csv``, column key → cell.

    Attributes:
        deleted: the source says that he has left (status ``tobedeleted``).
    """

    row: int
    cells: Mapping[str, object] = field(repr=False)
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class OneRosterSchool:
    """One school of the bundle, by the code that its ``identifier`` gives."""

    code: str
    name: str
    pupils: tuple[OneRosterPupil, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class OneRoster:
    """A bundle as read.

    Attributes:
        complete: the users and enrolments are whole, not changes.
        homeless: pupils whose school is not in the bundle.
    """

    version: str
    complete: bool
    schools: tuple[OneRosterSchool, ...]
    homeless: int = 0


def read_oneroster(path: Path) -> OneRoster:
    """Read a OneRoster bundle.

    Raises:
        RecordError: ``file_missing``, ``file_too_large``, ``too_many_rows``,
            ``feed_not_oneroster`` (no manifest), ``feed_version``, ``feed_file_missing``,
            ``feed_column_missing`` or ``feed_encoding``.
    """
    try:
        with _open_bundle(path) as bundle:
            return _read(bundle)
    except _ZIP_ERRORS as err:
        raise RecordError(0, "feed_not_oneroster") from err
    except OSError as err:
        raise RecordError(0, "file_missing") from err


class _Bundle:
    """The CSV files, wherever they lie."""

    def __init__(
        self, files: Mapping[str, Path | zipfile.ZipInfo], archive: zipfile.ZipFile | None
    ) -> None:
        self._files = files
        self._archive = archive

    def has(self, name: str) -> bool:
        return f"{name}.csv" in self._files

    def rows(
        self, name: str, required: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, dict[str, str]]]:
        """Yield line number and cells of each row; an absent file has none."""
        source = self._files.get(f"{name}.csv")
        if source is None:
            return
        raw = source.open("rb") if isinstance(source, Path) else self._require(source)
        with raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            try:
                header = [cell.strip() for cell in next(reader, [])]
                if missing := [column for column in required if column not in header]:
                    raise RecordError(1, "feed_column_missing") from LookupError(missing[0])
                for cells in reader:
                    if any(len(cell) > _MAX_FIELD for cell in cells):
                        raise RecordError(reader.line_num, "feed_not_oneroster")
                    if reader.line_num > _MAX_LINES:
                        raise RecordError(reader.line_num, "too_many_rows")
                    values = dict.fromkeys(header, "")
                    values.update(zip(header, map(str.strip, cells), strict=False))
                    if any(values.values()):
                        yield reader.line_num, values
            except UnicodeDecodeError as err:
                raise RecordError(0, "feed_encoding") from err
            except csv.Error as err:
                raise RecordError(reader.line_num, "feed_not_oneroster") from err

    def _require(self, entry: zipfile.ZipInfo) -> IO[bytes]:
        assert self._archive is not None  # noqa: S101 - entries come from it
        return self._archive.open(entry)


@contextmanager
def _open_bundle(path: Path) -> Iterator[_Bundle]:
    if path.is_dir():
        files = [file for file in path.glob("*.csv") if file.is_file()]
        if sum(file.stat().st_size for file in files) > _MAX_UNPACKED_BYTES:
            raise RecordError(0, "file_too_large")
        yield _Bundle({file.name.lower(): file for file in files}, None)
        return
    if not path.is_file():
        raise RecordError(0, "file_missing")
    with zipfile.ZipFile(path) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        if sum(entry.file_size for entry in entries) > _MAX_UNPACKED_BYTES:
            raise RecordError(0, "file_too_large")
        yield _Bundle(_list_beside_manifest(entries), archive)


def _list_beside_manifest(entries: Sequence[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """Return the entries of the manifest's own folder by name, and of no other."""
    found = [(PurePosixPath(entry.filename), entry) for entry in entries]
    manifests = [path for path, _ in found if path.name.lower() == "manifest.csv"]
    folder = min(manifests, key=lambda path: len(path.parts), default=PurePosixPath()).parent
    return {path.name.lower(): entry for path, entry in found if path.parent == folder}


def _read(bundle: _Bundle) -> OneRoster:
    if not bundle.has("manifest"):
        raise RecordError(0, "feed_not_oneroster")
    manifest = {
        values.get("propertyName", ""): values.get("value", "")
        for _, values in bundle.rows("manifest", ("propertyName", "value"))
    }
    version = manifest.get("oneroster.version", "")
    if not version.startswith(_VERSIONS):
        raise RecordError(0, "feed_version")
    needed = {"users", "orgs", "enrollments", "classes"}
    if version.startswith("1.2"):
        needed.add("roles")
    for name in sorted(needed):
        if manifest.get(f"file.{name}") != "absent" and not bundle.has(name):
            raise RecordError(0, "feed_file_missing")
    complete = all(manifest.get(f"file.{name}") == "bulk" for name in ("users", "enrollments"))
    return _Reader(bundle).read(version, complete=complete)


class _Reader:
    """Joins the tables of one bundle."""

    def __init__(self, bundle: _Bundle) -> None:
        self._bundle = bundle
        self._schools: dict[str, tuple[str, str]] = {}
        self._classes: dict[str, dict[str, str]] = {}
        self._class_of: dict[str, tuple[int, str]] = {}
        self._roles: dict[str, tuple[str, str]] = {}

    def read(self, version: str, *, complete: bool) -> OneRoster:
        self._read_orgs()
        self._classes = {
            values["sourcedId"]: values for _, values in self._rows("classes") if _is_kept(values)
        }
        self._read_enrolments()
        if version.startswith("1.2"):
            self._read_roles()
        pupils: dict[str, list[OneRosterPupil]] = {}
        homeless = 0
        users = {values["sourcedId"]: (line, values) for line, values in self._rows("users")}
        for source_id, (line, values) in users.items():
            role, org = self._role_of(source_id, values)
            if role != "student":
                continue
            if org not in self._schools:
                homeless += 1
                continue
            cells = self._describe(source_id, values, users)
            deleted = not _is_kept(values)
            pupils.setdefault(org, []).append(OneRosterPupil(line, cells, deleted))
        schools = tuple(
            OneRosterSchool(code, name, tuple(pupils.get(org, ())))
            for org, (code, name) in self._schools.items()
        )
        return OneRoster(version, complete, schools, homeless)

    def _rows(self, name: str) -> Iterator[tuple[int, dict[str, str]]]:
        return self._bundle.rows(name, _REQUIRED[name])

    def _read_orgs(self) -> None:
        for _, values in self._rows("orgs"):
            if values["type"].lower() == "school" and _is_kept(values):
                code = values["identifier"] or values["sourcedId"]
                self._schools[values["sourcedId"]] = (code, values["name"])

    def _read_enrolments(self) -> None:
        for _, values in self._rows("enrollments"):
            known = self._classes.get(values["classSourcedId"])
            if values["role"].lower() != "student" or known is None or not _is_kept(values):
                continue
            is_homeroom = known.get("classType", "").lower() == "homeroom"
            is_primary = values.get("primary", "").lower() == "true"
            rank = 2 if is_homeroom else 1 if is_primary else 0
            best = self._class_of.get(values["userSourcedId"])
            if best is None or rank > best[0]:
                self._class_of[values["userSourcedId"]] = (rank, values["classSourcedId"])

    def _read_roles(self) -> None:
        for _, values in self._rows("roles"):
            is_primary = values.get("roleType", "").lower() != "secondary"
            if _is_kept(values) and (is_primary or values["userSourcedId"] not in self._roles):
                role = values["role"].lower()
                self._roles[values["userSourcedId"]] = (role, values["orgSourcedId"])

    def _role_of(self, source_id: str, values: Mapping[str, str]) -> tuple[str, str]:
        """Return role and school of a user; 1.2 has a table of its own for it."""
        if self._roles:
            role, org = self._roles.get(source_id, ("", ""))
        else:
            role = values.get("role", "").lower()
            org = ""
        orgs = [
            org,
            *values.get("orgSourcedIds", "").split(","),
            values.get("primaryOrgSourcedId", ""),
        ]
        if source_id in self._class_of:
            orgs.append(self._classes[self._class_of[source_id][1]]["schoolSourcedId"])
        return role, next((one.strip() for one in orgs if one.strip() in self._schools), "")

    def _describe(
        self,
        source_id: str,
        values: Mapping[str, str],
        users: Mapping[str, tuple[int, Mapping[str, str]]],
    ) -> dict[str, object]:
        cells: dict[str, object] = {
            "name": _name_of(values),
            "phone": values.get("sms") or values.get("phone", ""),
            **_numbers_of(values),
        }
        for agent_id in values.get("agentSourcedIds", "").split(","):
            _, agent = users.get(agent_id.strip(), (0, {}))
            role, _ = self._role_of(agent_id.strip(), agent) if agent else ("", "")
            if agent and (role in _GUARDIANS or not role):
                cells["guardian_name"] = _name_of(agent)
                cells["guardian_phone"] = agent.get("sms") or agent.get("phone", "")
                break
        grades = values.get("grades", "")
        if source_id in self._class_of:
            school_class = self._classes[self._class_of[source_id][1]]
            cells["class_name"] = school_class["title"]
            grades = grades or school_class.get("grades", "")
        if grade := _grade_of(grades):
            cells["grade"] = grade
        return cells


def _is_kept(values: Mapping[str, str]) -> bool:
    return values.get("status", "").lower() != "tobedeleted"


def _name_of(values: Mapping[str, str]) -> str:
    family = values.get("preferredFamilyName") or values.get("familyName", "")
    given = values.get("preferredGivenName") or values.get("givenName", "")
    if _CJK.search(family + given):
        return family + given
    return " ".join(part for part in (given, values.get("middleName", ""), family) if part)


def _numbers_of(values: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for kind, number in _USER_ID.findall(values.get("userIds", "")):
        column = _ID_TYPES.get(re.sub(r"[\s_-]", "", kind).lower())
        if column is not None and number.strip():
            found.setdefault(column, number.strip())
    identifier = values.get("identifier", "")
    if _REGISTRY_NUMBER.fullmatch(identifier):
        found.setdefault("student_no", identifier)
    elif _IDENTITY_NUMBER.fullmatch(identifier):
        found.setdefault("id_number", identifier)
    return found


def _grade_of(grades: str) -> str:
    code = grades.split(",", maxsplit=1)[0].strip().upper()
    return _GRADES.get(code, code.lstrip("0") if code.isdigit() else "")


def list_gone(school: OneRosterSchool) -> tuple[Identifier, ...]:
    """Return the numbers of pupils whom the source takes out."""
    kinds = {"id_number": "id_card", "student_no": "student_no"}
    return tuple(
        Identifier(kind, str(pupil.cells[column]))
        for pupil in school.pupils
        if pupil.deleted
        for column, kind in kinds.items()
        if pupil.cells.get(column)
    )


def build_roster(school: OneRosterSchool) -> Roster:
    """Return a school's pupils as a roster, each at the line that he has in ``users.csv``."""
    columns = ColumnMap({column: place for place, column in enumerate(_COLUMNS)})
    kept = {pupil.row: pupil.cells for pupil in school.pupils if not pupil.deleted}

    def iter_rows() -> Iterator[Sequence[object]]:
        yield _COLUMNS
        for line in range(2, max(kept, default=1) + 1):
            cells = kept.get(line)
            yield () if cells is None else [cells.get(column) for column in _COLUMNS]

    sheet = Sheet(f"users.csv/{school.code}", iter_rows)
    return Roster(sheet.name, 1, columns, RosterRows(sheet, 1, columns), sheet)

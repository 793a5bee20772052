"""An archive file: rows and files as members of a ``tar.gz``, with a manifest that vouches for it.

Nothing here knows a table or a database. Rules —

- members are plain files with fixed names; whoever reads takes no path from an archive;
- rows are JSON lines, each an array in the order of the manifest's columns; bytes are base64,
  moments and days ISO 8601;
- the manifest comes last, with rows and SHA-256 of every member, and is tied to the installation by
  a keyed hash: a changed, cut or foreign archive is known before anything of it is used;
- memory stays flat: a member is written to an unnamed temporary file first, since a tar header
  needs its size, and read line by line;
- an archive is written under a name of its own, synced, and then renamed by ``publish``; a crash
  leaves the former one.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import os
import re
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import date, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, cast

from connector.errors import ConfigurationError

__all__ = [
    "ArchiveWriter",
    "Manifest",
    "Member",
    "decode_row",
    "encode_row",
    "publish",
    "read_lines",
    "read_manifest",
    "walk",
]

_MANIFEST = "manifest.json"
_NAME = re.compile(r"[a-z_]{1,40}\.jsonl|onecard\.key|manifest\.json")
_LONGEST_LINE = 64 * 1024 * 1024
_LONGEST_FILE = 1024 * 1024
_CHUNK = 256 * 1024
_BROKEN = (tarfile.TarError, EOFError, OSError, zlib.error, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Member:
    """What the manifest says of a member.

    Attributes:
        columns: column → ``text``, ``int``, ``bool``, ``bytes``, ``moment`` or ``date``; empty for
            a file that has no rows.
    """

    name: str
    rows: int
    sha256: str
    columns: Mapping[str, str]

    @property
    def table(self) -> str:
        """The table whose rows they are."""
        return self.name.removesuffix(".jsonl")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The last member of an archive.

    Attributes:
        format: ``onecard-data-1`` or ``onecard-keys-1``.
        revision: of the tables.
        lasting: id of the installation's first key, which tells installations apart.
        mac: keyed hash over all the rest.
    """

    format: str
    revision: str
    created: datetime
    lasting: str
    members: tuple[Member, ...]
    mac: str = ""

    def signed(self) -> bytes:
        """Return what the keyed hash is made of."""
        content = {
            "format": self.format,
            "revision": self.revision,
            "created": self.created.isoformat(),
            "lasting": self.lasting,
            "members": [asdict(member) for member in self.members],
        }
        return json.dumps(content, separators=(",", ":")).encode("ascii")

    def require(self, mac: Callable[[bytes], bytes]) -> None:
        """Raise ``ConfigurationError`` unless this installation wrote the archive."""
        if not hmac.compare_digest(mac(self.signed()).hex(), self.mac):
            raise ConfigurationError(
                "The archive was changed, or belongs to other keys.",
                "Use data and keys of one installation.",
            )


class ArchiveWriter:
    """Writes one archive; use it in a ``with`` statement, and ``finish`` it.

    Args:
        path: made new, mode 0600; removed again when the ``with`` statement ends by an exception.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: list[Member] = []

    def __enter__(self) -> Self:
        self.path.unlink(missing_ok=True)
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(handle, "wb")
        self._gzip = gzip.GzipFile("", "wb", compresslevel=6, fileobj=self._file, mtime=0)
        self._tar = tarfile.open(fileobj=self._gzip, mode="w|", format=tarfile.GNU_FORMAT)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._file.closed:
            self._file.close()
        if kind is not None:
            self.path.unlink(missing_ok=True)

    def add_rows(
        self, table: str, columns: Mapping[str, str], rows: Iterable[Sequence[Any]]
    ) -> int:
        """Write the rows of a table; return how many there were."""
        digest, count = hashlib.sha256(), 0
        with tempfile.TemporaryFile(dir=self.path.parent) as spool:
            for row in rows:
                line = encode_row(row)
                digest.update(line)
                spool.write(line)
                count += 1
            self._add(f"{table}.jsonl", spool)
        self._members.append(Member(f"{table}.jsonl", count, digest.hexdigest(), dict(columns)))
        return count

    def add_file(self, name: str, content: bytes) -> None:
        """Write a small file."""
        with tempfile.TemporaryFile(dir=self.path.parent) as spool:
            spool.write(content)
            self._add(name, spool)
        self._members.append(Member(name, 0, hashlib.sha256(content).hexdigest(), {}))

    def finish(self, manifest: Manifest, mac: Callable[[bytes], bytes]) -> Manifest:
        """Write the manifest and bring everything to the disk; return it with its members.

        Args:
            manifest: without members and keyed hash.
        """
        values = {name: getattr(manifest, name) for name in manifest.__slots__}
        plain = Manifest(**values | {"members": tuple(self._members), "mac": ""})
        whole = Manifest(**values | {"members": plain.members, "mac": mac(plain.signed()).hex()})
        content = json.loads(plain.signed()) | {"mac": whole.mac}
        with tempfile.TemporaryFile(dir=self.path.parent) as spool:
            spool.write(json.dumps(content, indent=1).encode("ascii"))
            self._add(_MANIFEST, spool)
        self._tar.close()
        self._gzip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return whole

    def _add(self, name: str, spool: IO[bytes]) -> None:
        info = tarfile.TarInfo(name)
        info.mode = 0o600
        info.size = spool.tell()
        spool.seek(0)
        self._tar.addfile(info, spool)


def publish(part: Path, path: Path) -> None:
    """Give a finished file its name, in place of a former one, and wait for the folder."""
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def walk(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Yield (name, content) of each member in turn; a content is read before the next is asked for.

    Raises:
        ConfigurationError: the archive is damaged or holds something else.
    """
    with _damaged(path), path.open("rb") as raw, gzip.open(raw) as unpacked:
        with tarfile.open(fileobj=unpacked, mode="r|") as tar:
            for info in tar:
                content = tar.extractfile(info) if info.isfile() else None
                if content is None or not _NAME.fullmatch(info.name):
                    raise ValueError("a member that does not belong there")
                yield info.name, content
        while unpacked.read(_CHUNK):  # to the end, where its checksum stands
            pass


def read_manifest(path: Path, form: str) -> tuple[Manifest, bytes]:
    """Read a whole archive; return its manifest and the key file in it, if there is one.

    Raises:
        ConfigurationError: the archive is damaged, cut, or of another format.
    """
    found: dict[str, tuple[int, str]] = {}
    raw = key_file = b""
    for name, content in walk(path):
        with _damaged(path):
            if raw or name in found:
                raise ValueError("a member too many")
            if name == _MANIFEST:
                raw = _read_small(content)
            elif name.endswith(".jsonl"):
                found[name] = _measure(content)
            else:
                key_file = _read_small(content)
                found[name] = 0, hashlib.sha256(key_file).hexdigest()
    with _damaged(path):
        manifest = _parse_manifest(raw)
        told = {member.name: (member.rows, member.sha256) for member in manifest.members}
        if told != found or len(told) != len(manifest.members):
            raise ValueError("the manifest says otherwise")
    if manifest.format != form:
        raise ConfigurationError(
            f"{path} is not an archive of this kind.", f"It is {manifest.format}; give {form}."
        )
    return manifest, key_file


def read_lines(content: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a member; raises ``ValueError`` for one that is far too long."""
    while line := content.readline(_LONGEST_LINE):
        if not line.endswith(b"\n"):
            raise ValueError("a line without an end")
        yield line


def encode_row(row: Sequence[Any]) -> bytes:
    """Return a row as one line."""
    values = [_encode(value) for value in row]
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def decode_row(line: bytes, columns: Mapping[str, str]) -> dict[str, Any]:
    """Return a row as column → value; raises ``ValueError`` or ``TypeError``."""
    values = json.loads(line)
    return {
        name: None if value is None else _DECODE[kind](value)
        for (name, kind), value in zip(columns.items(), values, strict=True)
    }


def _encode(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds")
    if isinstance(value, date):
        return value.isoformat()
    return value


def _as(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise ValueError("a value of another type")
        return value

    return check


_DECODE: Mapping[str, Callable[[Any], Any]] = {
    "text": _as(str),
    "int": _as(int),
    "bool": _as(bool),
    "bytes": lambda value: base64.b64decode(value, validate=True),
    "moment": datetime.fromisoformat,
    "date": date.fromisoformat,
}


def _measure(content: IO[bytes]) -> tuple[int, str]:
    digest, rows = hashlib.sha256(), 0
    for line in read_lines(content):
        digest.update(line)
        rows += 1
    return rows, digest.hexdigest()


def _read_small(content: IO[bytes]) -> bytes:
    text = content.read(_LONGEST_FILE + 1)
    if len(text) > _LONGEST_FILE:
        raise ValueError("a file that is far too long")
    return text


def _parse_manifest(raw: bytes) -> Manifest:
    content = cast("dict[str, Any]", json.loads(raw))
    members = tuple(
        Member(
            str(member["name"]),
            int(member["rows"]),
            str(member["sha256"]),
            {str(name): str(kind) for name, kind in member["columns"].items()},
        )
        for member in content["members"]
    )
    created = datetime.fromisoformat(content["created"])
    if created.tzinfo is None or any(
        kind not in _DECODE for member in members for kind in member.columns.values()
    ):
        raise ValueError("a manifest of another release")
    return Manifest(
        format=str(content["format"]),
        revision=str(content["revision"]),
        created=created,
        lasting=str(content["lasting"]),
        members=members,
        mac=str(content["mac"]),
    )


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as err:
        raise ConfigurationError(f"There is no {path}.", "Name an archive.") from err
    except PermissionError as err:
        raise ConfigurationError(f"{path} may not be read.", "Check who owns it.") from err
    except _BROKEN as err:
        raise ConfigurationError(
            f"The archive {path} is damaged ({type(err).__name__}); nothing was changed.",
            "Use another backup.",
        ) from err

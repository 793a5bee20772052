"""Turns mistakes in the settings into one sentence with the line, and one with the remedy.

Nothing here knows what a setting means. Rules: the value of a setting is never repeated, since it
may be a secret; an unknown key names the nearest known one.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from connector.errors import ConfigurationError

__all__ = ["Source", "explain_secrets", "explain_validation"]

Path = tuple[str | int, ...]

SECRET_KEYS = frozenset({"password", "secret", "client_secret", "token", "api_key", "pin"})
"""Keys whose text is a secret; only the ``pin`` of a terminal is a policy."""

_HEADER = re.compile(r"^\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?")
_KEY = re.compile(
    r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*="""
)
_PART = re.compile(r"""[A-Za-z0-9_-]+|"[^"]*"|'[^']*'""")


class Source:
    """Finds the line of a key in a TOML text: headers and keys, but not inside inline tables."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self._lines: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        table: Path = ()
        for number, line in enumerate(text.splitlines(), start=1):
            if header := _HEADER.match(line):
                table = self._locate(header.group(2), counts, is_array=header.group(1) == "[[")
                self._lines.setdefault(table, number)
            elif key := _KEY.match(line):
                self._lines.setdefault((*table, *_parts(key.group(1))), number)

    @staticmethod
    def _locate(header: str, counts: dict[Path, int], *, is_array: bool) -> Path:
        path: Path = ()
        parts = _parts(header)
        for position, part in enumerate(parts):
            path = (*path, part)
            if is_array and position == len(parts) - 1:
                counts[path] = counts.get(path, -1) + 1
            if path in counts:
                path = (*path, counts[path])
        return path

    def at(self, path: Path) -> str:
        """Return ``file line N`` of a key, of the nearest table above it, or just the file."""
        for length in range(len(path), 0, -1):
            for candidate in _spellings(path[:length]):
                if candidate in self._lines:
                    return f"{self.name} line {self._lines[candidate]}"
        return self.name


def explain_validation(
    err: ValidationError, model: type[BaseModel], source: Source
) -> ConfigurationError:
    """Return the first mistake as an error that tells how many more there are."""
    problems = [
        _explain_one(detail, model, source)
        for detail in err.errors(include_url=False, include_input=False)
    ]
    message, remedy = problems[0]
    more = len(problems) - 1
    return ConfigurationError(
        message, f"{remedy} ({more} more of the kind after that.)" if more else remedy
    )


def explain_secrets(raw: Mapping[str, Any], source: Source, path: Path = ()) -> None:
    """Raise ``ConfigurationError`` when the file holds a secret itself."""
    for key, value in raw.items():
        here = (*path, key)
        is_terminal_pin = key == "pin" and "terminals" in path
        is_header = path[-2:] == ("handoff", "columns")  # its value is the name of a field
        if key in SECRET_KEYS and isinstance(value, str) and not (is_terminal_pin or is_header):
            raise ConfigurationError(
                f"{source.at(here)}: {_dotted(here)} is a secret; none may stand in the file.",
                f"Use {key}_file, or a variable.",
            )
        if key == "url" and isinstance(value, str) and _has_password(value):
            raise ConfigurationError(
                f"{source.at(here)}: {_dotted(here)} holds a password.",
                "Take it out of the URL and use password_file, or give the URL by a variable.",
            )
        if isinstance(value, Mapping):
            explain_secrets(value, source, here)
        elif isinstance(value, list):
            for index, entry in enumerate(value):
                if isinstance(entry, Mapping):
                    explain_secrets(entry, source, (*here, index))


def _explain_one(detail: Any, model: type[BaseModel], source: Source) -> tuple[str, str]:
    path: Path = tuple(detail["loc"])
    where = source.at(path)
    if detail["type"] == "extra_forbidden":
        known = _keys_of(model, path[:-1])
        near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
        remedy = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(sorted(known))}."
        return f"{where}: unknown key {_dotted(path)}.", remedy
    if detail["type"] == "missing":
        if path == ("libraries",):
            return f"{where}: no library is configured.", "Add [library] with code and name."
        return f"{where}: {_dotted(path)} is missing.", f"Add {path[-1]} = …"
    text = str(detail["msg"]).removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    return f"{where}: {_dotted(path)}: {text}.", "Change that value."


def _keys_of(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys that are known in the table at ``path``."""
    here: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        table = _table_in(here)
        if table is not None and part in table.model_fields:
            here = table.model_fields[part].annotation
    table = _table_in(here)
    keys = [key for key in table.model_fields if key not in SECRET_KEYS] if table else []
    return [*keys, "library"] if table is model else keys


def _table_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model in an annotation such as ``dict[str, tuple[Model, ...]]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in get_args(annotation):
        found = _table_in(argument)
        if found is not None:
            return found
    return None


def _spellings(path: Path) -> Sequence[Path]:
    """Return how a path may stand in the file: ``[library]``, or a table instead of a list."""
    variants = [path]
    if path[0] == "libraries":
        variants.append(("library", *path[2:]))
    variants.append(tuple(part for part in path if part != 0))
    return variants


def _parts(dotted: str) -> Path:
    return tuple(part.strip("\"'") for part in _PART.findall(dotted))


def _dotted(path: Path) -> str:
    return ".".join(f"[{part + 1}]" if isinstance(part, int) else part for part in path).replace(
        ".[", "["
    )


def _has_password(url: str) -> bool:
    try:
        return urlsplit(url).password is not None
    except ValueError:
        return False

"""What ``sip2 send`` and ``shell`` share: building a message from words, sending it, showing it.

The commands and their options are in ``connector.cli.sip2``. Rules: secrets are masked on the
screen unless the user asks for them; every error is one line and names what to change.
"""

from __future__ import annotations

import json
import ssl
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from connector.errors import LocalProtocolError, RemoteProtocolError
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Frame, Message, decode
from connector.sip2.dialects import find_dialect
from connector.sip2.spec import MessageSpec
from connector.sip2.tags import describe_fields, describe_fixed
from connector.sip2.terminal import WireProfile

__all__ = ["Answer", "Target", "compose", "describe", "is_accepted", "print_answer"]

_VERDICTS = ("ok", "payment_accepted", "end_session", "item_properties_ok")
_ALSO_OPEN = frozenset({"AF", "AG"})
_DEFAULTS = {
    "language": "000",
    "max_print_width": "080",
    "protocol_version": "2.00",
    "status_code": "0",
    "uid_algorithm": "0",
    "pwd_algorithm": "0",
    "hold_mode": "+",
    "fee_type": "01",
    "payment_type": "00",
    "currency": "CNY",
}
_NOW = frozenset({"transaction_date", "return_date"})
_ERRORS = {
    "not_understood": "The server says 96 (send again) each time; try --encoding or --delimiter.",
    "bad_checksum": "The answers have wrong checksums; try --checksum ignore.",
    "wrong_pair": "The server answered with a message that does not belong to the request.",
    "unreadable": "The server's answer is no SIP2 message that this dialect knows; try --dialect.",
    "closed": "The server closed the connection without an answer; it may want a login (--login).",
}
_CLOSED_OVER_TLS = (
    "The server closed the connection without an answer; it may want a client certificate, which "
    "this command cannot show (try openssl s_client), or a login (--login)."
)


@dataclass(slots=True)
class Answer:
    """What came back, and how long it took."""

    frame: Frame
    took_ms: float


@dataclass(slots=True)
class Target:
    """A SIP2 server and how to talk to it; connects when first used, and again after an error."""

    host: str
    port: int
    profile: WireProfile
    timeout_s: float
    tls: ssl.SSLContext | None = None
    login: str | None = None
    password: str = field(default="", repr=False)
    location: str = ""
    _client: Sip2Client | None = field(default=None, repr=False)

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def send(self, request: Message | str) -> Answer:
        """Send a message, or the text of a frame as it is, and return the answer.

        Raises:
            click.ClickException: with the one line that says what to do.
        """
        client = self._connect()
        started = time.monotonic()
        try:
            if isinstance(request, str):
                raw = client.exchange_raw(request.encode(self.profile.encoding, "replace"))
                frame = decode(raw, self.profile)
            else:
                frame = client.exchange_frame(request)
        except TimeoutError as err:
            self.close()
            message = f"No answer within {self.timeout_s:g} s; raise --timeout."
            raise click.ClickException(message) from err
        except (RemoteProtocolError, LocalProtocolError) as err:
            self.close()
            message = self._explain(str(err))
            raise click.ClickException(message) from err
        return Answer(frame, (time.monotonic() - started) * 1000)

    def _explain(self, error: str) -> str:
        if error == "closed" and self.tls is not None:
            return _CLOSED_OVER_TLS
        return _ERRORS.get(error, f"The exchange failed: {error}.")

    def _connect(self) -> Sip2Client:
        if self._client is not None and self._client.is_open:
            return self._client
        self.close()
        where = f"{self.host}:{self.port}"
        try:
            client = Sip2Client(
                self.host, self.port, profile=self.profile, timeout_s=self.timeout_s, tls=self.tls
            )
        except ssl.SSLError as err:
            message = f"No TLS with {where} ({err.reason}); check --port, --tls-ca, --tls-insecure."
            raise click.ClickException(message) from err
        except OSError as err:
            reason = err.strerror or type(err).__name__
            message = f"No connection to {where} ({reason}); check --host and --port."
            raise click.ClickException(message) from err
        if self.login is not None:
            try:
                accepted = client.login(self.login, self.password, self.location)
            except (RemoteProtocolError, TimeoutError) as err:
                client.close()
                message = "The server did not answer the login; check --checksum and --tls."
                if self.tls is not None and str(err) == "closed":
                    message = _CLOSED_OVER_TLS
                raise click.ClickException(message) from err
            if not accepted:
                client.close()
                raise click.ClickException("The login was refused; check --login and the password.")
        self._client = client
        return client


def compose(words: tuple[str, ...], profile: WireProfile) -> Message | str:
    """Build what the user asked for.

    Args:
        words: a code (``63``) or name (``patron-information``), then ``TAG=value`` and
            ``fixed_name=value``; or one
            word that is a whole frame.

    Raises:
        click.UsageError: what is wrong and what would be right.
    """
    if not words:
        raise click.UsageError("Say which message, such as: 99, or: 63 AO=MAIN AA=0001")
    first, *rest = words
    if len(first) > 2 and first[:2].isdigit():
        if rest:
            raise click.UsageError("A raw frame is one word; quote it.")
        return first
    spec = _find_spec(first, profile)
    fixed = {one.name: _default_fixed(one.name, one.length, one.default) for one in spec.fixed}
    fields: list[tuple[str, str]] = []
    for word in rest:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.UsageError(f"'{word}' is neither TAG=value nor name=value.")
        if name in fixed:
            fixed[name] = value
        elif len(name) == 2 and name.isascii() and name.isupper() and name.isalnum():
            fields.append((name, value))
        else:
            names = ", ".join(fixed) or "none"
            raise click.UsageError(
                f"'{name}' is no tag (two capitals) and no fixed field of {spec.code} ({names})."
            )
    return Message(spec.code, fixed, fields)


def describe(frame: Frame, profile: WireProfile, *, show: bool) -> dict[str, Any]:
    """Return the frame as plain data for ``--json``; closed values are masked unless ``show``."""
    spec = find_dialect(profile.dialect).specs.get(frame.code)
    message = frame.message
    return {
        "code": frame.code,
        "name": "" if spec is None else spec.name,
        "checksum": str(frame.checksum),
        "sequence": frame.sequence,
        "problems": list(frame.problems),
        "accepted": None if message is None else is_accepted(message),
        "fixed": {} if message is None else describe_fixed(message, show=show),
        "fields": []
        if message is None
        else [
            {"tag": tag, "name": name, "value": value}
            for tag, name, value in describe_fields(message, show=show, also_open=_ALSO_OPEN)
        ],
    }


def is_accepted(message: Message) -> bool | None:
    """Return what the answer says, or None where the pair has no yes and no."""
    for name in _VERDICTS:
        verdict = message.fixed.get(name)
        if verdict is not None:
            return verdict in {"1", "Y"}
    return None


def print_answer(answer: Answer, profile: WireProfile, *, show: bool, as_json: bool) -> None:
    """Write the answer to standard output, as a table or as one JSON document."""
    document = describe(answer.frame, profile, show=show)
    document["ms"] = round(answer.took_ms, 1)
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False))
        return
    title = f"{document['code']} {document['name']}".strip()
    notes = [f"{document['ms']} ms", f"checksum {document['checksum']}", *document["problems"]]
    table = Table(title=f"{title}  ({', '.join(notes)})", title_justify="left", title_style="bold")
    table.add_column("tag", no_wrap=True)
    table.add_column("name")
    table.add_column("value", overflow="fold")
    for name, value in document["fixed"].items():
        table.add_row("", name.replace("_", " "), f"'{value}'" if " " in value else value)
    for one in document["fields"]:
        table.add_row(one["tag"], one["name"], one["value"])
    Console(highlight=False, markup=False, emoji=False).print(table)


def _find_spec(word: str, profile: WireProfile) -> MessageSpec:
    specs = find_dialect(profile.dialect).specs
    wanted = word.replace("-", " ").replace("_", " ").casefold()
    for spec in specs.values():
        if word == spec.code or wanted == spec.name.casefold():
            return spec
    names = ", ".join(f"{spec.code} {spec.name}" for spec in specs.values() if spec.answer)
    raise click.UsageError(f"'{word}' is no message; there are: {names}.")


def _default_fixed(name: str, length: int, default: str) -> str:
    if name in _NOW:
        local = datetime.now(UTC).astimezone()
        return local.strftime("%Y%m%d    %H%M%S")
    return _DEFAULTS.get(name, default or " " * length)

"""``onecard sip2``: talk SIP2 to any server, watch others talk, and list one's own terminals.

Building and showing messages is in ``connector.cli.sip2_talk``, the relay in
``connector.sip2.tracer``. Exit codes: 0 done, 1 refused or failed, 2 wrong usage.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import IO, Any, Literal, TypeVar

import click

from connector.cli.sip2_shell import Shell, read_lines
from connector.cli.sip2_talk import Target, compose, describe, is_accepted, print_answer
from connector.cli.sip2_terminals import terminals
from connector.errors import ConfigurationError
from connector.sip2.codec import decode
from connector.sip2.dialects import dialect_names, find_dialect
from connector.sip2.profiles import check_profile
from connector.sip2.tags import describe_fields, describe_fixed
from connector.sip2.terminal import ChecksumPolicy, WireProfile
from connector.sip2.tracer import PassedFrame, TraceRelay

__all__ = ["sip2"]

_F = TypeVar("_F", bound=Callable[..., Any])
_TERMINATORS: dict[str, Literal["\r", "\r\n", "\n"]] = {"cr": "\r", "crlf": "\r\n", "lf": "\n"}

_READ_OPTIONS = (
    click.option("--encoding", default="utf-8", show_default=True, help="gb18030, big5, cp850 …"),
    click.option("--delimiter", default="|", show_default=True, help="One character."),
    click.option(
        "--dialect", type=click.Choice(dialect_names()), default="standard", show_default=True
    ),
    click.option("--show", is_flag=True, help="Show names, PINs and card numbers too."),
)
_TLS_OPTIONS = (
    click.option("--tls", is_flag=True, help="Connect with TLS."),
    click.option("--tls-ca", type=click.Path(exists=True, dir_okay=False), help="Trust this CA."),
    click.option("--tls-insecure", is_flag=True, help="Do not check the certificate."),
)
_TARGET_OPTIONS = (
    click.option("--host", default="127.0.0.1", show_default=True),
    click.option("--port", default=6001, show_default=True, type=click.IntRange(1, 65535)),
    click.option("--login", help="Terminal login (93 CN); without it no login is sent."),
    click.option(
        "--password",
        envvar="ONECARD_SIP2_PASSWORD",
        show_envvar=True,
        help="Terminal password, better in the variable; asked for on a terminal.",
    ),
    click.option("--location", default="", help="Terminal location (93 CP)."),
    click.option("--timeout", default=10.0, show_default=True, type=click.FloatRange(min=0.1)),
    *_TLS_OPTIONS,
    click.option(
        "--terminator", type=click.Choice(list(_TERMINATORS)), default="cr", show_default=True
    ),
    click.option(
        "--checksum",
        type=click.Choice(["strict", "log", "ignore", "off"]),
        default="strict",
        show_default=True,
        help="What a wrong checksum in an answer does; off sends none either.",
    ),
    *_READ_OPTIONS,
)


def _with(options: tuple[Callable[[_F], _F], ...]) -> Callable[[_F], _F]:
    def decorate(function: _F) -> _F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@click.group("sip2", help="Talk SIP2 to any server.")
def sip2() -> None:
    """Group of the SIP2 commands."""


sip2.add_command(terminals)


@sip2.command("send")
@click.argument("message", nargs=-1)
@_with(_TARGET_OPTIONS)
@click.option("--json", "as_json", is_flag=True, help="One JSON document instead of a table.")
def send(message: tuple[str, ...], *, as_json: bool, show: bool, **options: Any) -> None:
    """Send one MESSAGE and print the decoded answer.

    MESSAGE is a code or name followed by TAG=value and fixed_field=value words, or one raw frame.
    Dates are filled in. Exit code 1 when the answer is "no".

    \b
    Examples:
      onecard sip2 send 99
      onecard sip2 send --login kiosk1 63 AO=MAIN AA=0001 AD=1234 summary='  Y'
      onecard sip2 send --encoding gb18030 checkout AO=MAIN AA=0001 AB=B100 --json
      onecard sip2 send '9900802.00'
    """
    profile = _profile(options)
    request = compose(message, profile)
    target = _target(options, profile)
    try:
        answer = target.send(request)
    finally:
        target.close()
    print_answer(answer, profile, show=show, as_json=as_json)
    if answer.frame.message is None or is_accepted(answer.frame.message) is False:
        sys.exit(1)


@sip2.command("shell")
@_with(_TARGET_OPTIONS)
def shell(*, show: bool, **options: Any) -> None:
    """Send messages one after another over one connection.

    The history is kept in memory only.

    \b
    Example:
      onecard sip2 shell --host 10.0.0.5 --login kiosk1
      sip2> 63 AO=MAIN AA=0001
      sip2> !!
    """
    target = _target(options, _profile(options))
    conversation = Shell(target, show=show)
    try:
        conversation.run(read_lines())
    finally:
        target.close()
    if conversation.failed:
        sys.exit(1)


@sip2.command("trace")
@click.option("--listen", default="127.0.0.1:6002", show_default=True, help="HOST:PORT for kiosks.")
@click.option("--to", required=True, help="HOST:PORT of the SIP2 server.")
@click.option("--output", type=click.Path(dir_okay=False), help="Append to this file (mode 0600).")
@click.option("--json", "as_json", is_flag=True, help="One JSON document per line.")
@_with(_TLS_OPTIONS)
@_with(_READ_OPTIONS)
def trace(
    listen: str, to: str, output: str | None, *, as_json: bool, show: bool, **options: Any
) -> None:
    """Relay kiosks to a SIP2 server and write every frame, without personal data.

    Point the kiosk at the relay's port; the bytes pass unchanged. Ends with Ctrl-C.

    \b
    Example:
      onecard sip2 trace --listen 0.0.0.0:6002 --to 10.0.0.5:6001 --output kiosk.trace
    """
    profile = _profile(options)
    listen_host, listen_port = _parse_address(listen, "--listen")
    host, port = _parse_address(to, "--to")
    tls = _tls(options)
    with _open_output(output) as stream:

        def write(passed: PassedFrame) -> None:
            text = _trace_line(passed, profile, show=show, as_json=as_json)
            stream.write(text + "\n")
            stream.flush()

        relay = TraceRelay(host, port, write, tls=tls)
        try:
            asyncio.run(_run_relay(relay, listen_host, listen_port))
        except OSError as err:
            reason = err.strerror or type(err).__name__
            message = f"Cannot listen on {listen} ({reason}); choose another --listen."
            raise click.ClickException(message) from err


async def _run_relay(relay: TraceRelay, host: str, port: int) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await relay.start(host, port)
    click.echo(f"Listening on {host}:{relay.port}; Ctrl-C ends.", err=True)
    await stop.wait()
    await relay.stop()


def _trace_line(passed: PassedFrame, profile: WireProfile, *, show: bool, as_json: bool) -> str:
    at = datetime.now(UTC).astimezone().isoformat(timespec="milliseconds")
    if passed.direction in "+-!":
        event = {"+": "opened", "-": "closed", "!": "no connection to the server"}[passed.direction]
        if as_json:
            return json.dumps({"at": at, "connection": passed.connection, "event": event})
        return f"{at} #{passed.connection} {event}"
    frame = decode(passed.raw, profile)
    code = frame.code if frame.code.isdigit() or show else "??"
    if as_json:
        document = describe(frame, profile, show=show)
        document["code"] = code
        if not show and frame.message is not None:
            document["fields"] = [
                {"tag": tag, "name": name, "value": value}
                for tag, name, value in describe_fields(frame.message)
            ]
        start = {"at": at, "connection": passed.connection, "direction": passed.direction}
        return json.dumps({**start, **document}, ensure_ascii=False)
    spec = find_dialect(profile.dialect).specs.get(frame.code)
    parts = [at, f"#{passed.connection}", passed.direction, code]
    if spec is not None:
        parts.append(spec.name)
    if frame.message is None:
        parts.append(f"({len(passed.raw)} bytes that are no message)")
    else:
        fixed = describe_fixed(frame.message, show=show)
        parts += [f"{name}={value!r}" for name, value in fixed.items()]
        parts += [f"{tag}={value!r}" for tag, _, value in describe_fields(frame.message, show=show)]
    parts += [f"AY={frame.sequence}"] if frame.sequence is not None else []
    parts += [f"checksum={frame.checksum}", *frame.problems]
    return " ".join(parts)


def _open_output(path: str | None) -> Any:
    if path is None:
        return _Stdout()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as err:
        message = f"Cannot write {path} ({err.strerror}); choose another --output."
        raise click.ClickException(message) from err
    return os.fdopen(descriptor, "a", encoding="utf-8")


class _Stdout:
    """Standard output as a context that leaves it open."""

    def __enter__(self) -> IO[str]:
        return sys.stdout

    def __exit__(self, *_exc: object) -> None:
        sys.stdout.flush()


def _profile(options: dict[str, Any]) -> WireProfile:
    checksum = options.get("checksum", "ignore")
    profile = WireProfile(
        encoding=options["encoding"],
        delimiter=options["delimiter"],
        terminator=_TERMINATORS[options.get("terminator", "cr")],
        checksum=ChecksumPolicy.IGNORE if checksum == "off" else ChecksumPolicy(checksum),
        error_detection="never" if checksum == "off" else "always",
        dialect=options["dialect"],
        max_value_length=0,
    )
    try:
        check_profile(profile)
    except ConfigurationError as err:
        raise click.UsageError(str(err)) from err
    return profile


def _target(options: dict[str, Any], profile: WireProfile) -> Target:
    password = options["password"]
    if options["login"] and password is None:
        password = (
            click.prompt("Password", hide_input=True, default="", show_default=False, err=True)
            if sys.stdin.isatty()
            else ""
        )
    return Target(
        host=options["host"],
        port=options["port"],
        profile=profile,
        timeout_s=options["timeout"],
        tls=_tls(options),
        login=options["login"],
        password=password or "",
        location=options["location"],
    )


def _tls(options: dict[str, Any]) -> ssl.SSLContext | None:
    if not (options["tls"] or options["tls_ca"] or options["tls_insecure"]):
        return None
    try:
        context = ssl.create_default_context(cafile=options["tls_ca"])
    except ssl.SSLError as err:
        raise click.UsageError("--tls-ca is no PEM file with a certificate.") from err
    if options["tls_insecure"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _parse_address(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or not 0 <= int(port) <= 65535:
        raise click.UsageError(f"{option} {text} is not HOST:PORT.")
    return host.strip("[]") or "127.0.0.1", int(port)

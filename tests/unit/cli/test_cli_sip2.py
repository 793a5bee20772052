"""``onecard sip2`` against a small SIP2 server on a real socket."""

from __future__ import annotations

import json
import signal
import socketserver
import subprocess
import sys
import threading

import pytest
from click.testing import CliRunner

from connector.cli.sip2 import sip2
from connector.sip2.client import Sip2Client
from connector.sip2.codec import Message, decode, encode
from connector.sip2.terminal import WireProfile

PROFILE = WireProfile()
CARD, PIN, NAME = "440682201305012317", "4711", "张三丰"


class _Answer(socketserver.StreamRequestHandler):
    def handle(self):
        data = b""
        while chunk := self.request.recv(4096):
            data += chunk
            while b"\r" in data:
                raw, _, data = data.partition(b"\r")
                self._reply(decode(raw, PROFILE))

    def _reply(self, frame):
        request = frame.message
        if request is None:
            return
        self.server.seen.append(request)
        screen = ("AF", "Good day")
        reply = {
            "93": Message("94", {"ok": "1" if request.get("CO") == "secret" else "0"}, []),
            "23": Message("24", {}, [("AO", "M"), ("AA", request.get("AA")), ("AE", NAME), screen]),
            "11": Message("12", {"ok": "0"}, [("AO", "M"), ("AB", request.get("AB")), screen]),
        }.get(frame.code, Message("98", {"online": "Y"}, [("AO", "M"), ("BX", "Y" * 16)]))
        has_tail = frame.sequence is not None
        self.request.sendall(
            encode(reply, PROFILE, sequence=frame.sequence, error_detection=has_tail)
        )


@pytest.fixture
def server():
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Answer) as server:
        server.seen = []
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        server.port = server.server_address[1]
        yield server
        server.shutdown()
        thread.join()


def call(*words, stdin=None):
    return CliRunner().invoke(sip2, [str(word) for word in words], input=stdin)


@pytest.mark.parametrize("command", ["send", "shell", "trace"])
def test_help_has_an_example(command):
    result = call(command, "--help")
    assert result.exit_code == 0
    assert f"onecard sip2 {command}" in result.output


@pytest.mark.parametrize("words", [["99"], ["sc-status"], ["9900802.00"]])
def test_send_by_code_name_and_raw_frame(server, words):
    result = call("send", "--port", server.port, *words)
    assert result.exit_code == 0
    assert "ACS Status" in result.output
    assert server.seen[0].fixed["protocol_version"] == "2.00"


def test_send_json(server):
    result = call("send", "--port", server.port, "23", "AO=M", f"AA={CARD}", "--json")
    document = json.loads(result.output)
    assert (document["code"], document["checksum"]) == ("24", "good")
    assert {"tag": "AO", "name": "institution id", "value": "M"} in document["fields"]


def test_send_fills_in_dates_and_takes_fixed_fields(server):
    call("send", "--port", server.port, "63", "AA=1", "language=001", "summary=  Y")
    request = server.seen[0]
    assert (request.fixed["language"], request.fixed["summary"]) == ("001", "  Y       ")
    assert request.fixed["transaction_date"].replace(" ", "").isdigit()


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_secrets_are_masked_unless_asked_for(server, as_json):
    words = ["send", "--port", server.port, "23", f"AA={CARD}", f"AD={PIN}", *as_json]
    masked, shown = call(*words).output, call(*words, "--show").output
    for value in (CARD, NAME):
        assert value not in masked
        assert value in shown
    assert "Good day" in masked


def test_refusal_is_exit_code_1(server):
    result = call("send", "--port", server.port, "checkout", "AA=1", "AB=2")
    assert result.exit_code == 1
    assert "Checkout Response" in result.output


def test_login(server):
    options = ("--port", server.port, "--login", "kiosk1")
    assert call("send", *options, "--password", "secret", "99").exit_code == 0
    refused = call("send", *options, "--password", "guess", "99")
    assert refused.exit_code == 1
    assert refused.output == "Error: The login was refused; check --login and the password.\n"


def test_no_server(server):
    result = call("send", "--port", 1, "99")
    assert result.exit_code == 1
    assert result.output.count("\n") == 1
    assert "127.0.0.1:1" in result.output


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["77"],
        ["63", "AA"],
        ["63", "colour=red"],
        ["--encoding", "klingon", "99"],
        ["--encoding", "utf-16", "99"],
        ["--delimiter", "||", "99"],
        ["--delimiter", "A", "99"],
    ],
)
def test_wrong_usage_is_exit_code_2(words):
    result = call("send", *words)
    assert result.exit_code == 2
    assert "Error: " in result.output
    assert "Traceback" not in result.output


def test_shell(server):
    lines = f"99\n23 AA={CARD} AD={PIN}\n!!\nhistory\nmessages\nhelp\nnonsense\n!9\n!1\nquit\n99\n"
    result = call("shell", "--port", server.port, stdin=lines)
    assert [request.code for request in server.seen] == ["99", "23", "23", "99"]
    assert result.exit_code == 0
    assert "AA=***" in result.output
    for value in (CARD, PIN, NAME):
        assert value not in result.output
    assert "Error: 'nonsense' is no message" in result.output
    assert "Error: '!9' is not in the history" in result.output


def test_shell_shows_on_demand(server):
    result = call("shell", "--port", server.port, stdin=f"show\n23 AA={CARD}\nhide\n23 AA={CARD}\n")
    assert result.output.count(NAME) == 1


def test_shell_that_ends_with_an_error(server):
    assert call("shell", "--port", 1, stdin="99\n").exit_code == 1


@pytest.mark.parametrize("extra", [[], ["--json"]])
def test_trace_relays_and_writes_no_secrets(server, tmp_path, extra):
    path = tmp_path / "kiosk.trace"
    program = "from connector.cli.sip2 import sip2; sip2()"
    words = [
        "trace",
        "--listen",
        "127.0.0.1:0",
        "--to",
        f"127.0.0.1:{server.port}",
        "--output",
        path,
    ]
    with subprocess.Popen(
        [sys.executable, "-c", program, *words, *extra], stderr=subprocess.PIPE, text=True
    ) as process:
        port = int(process.stderr.readline().split(":")[1].split(";")[0])
        with Sip2Client("127.0.0.1", port, timeout_s=20) as client:
            assert client.login("kiosk1", "secret")
            reply = client.exchange(Message("23", {}, [("AA", CARD), ("AD", PIN)]))
        assert reply.get("AE") == NAME
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stderr.read()
    text = path.read_text("utf-8")
    for value in (CARD, PIN, NAME, "secret", "Good day"):
        assert value not in text
    assert "Patron Status" in text
    assert path.stat().st_mode & 0o777 == 0o600
    if extra:
        assert [json.loads(line).get("code") for line in text.splitlines()][1:5] == [
            "93",
            "94",
            "23",
            "24",
        ]


@pytest.mark.parametrize("words", [["--to", "nowhere"], [], ["--to", "a:1", "--listen", "x"]])
def test_trace_wrong_usage(words):
    assert call("trace", *words).exit_code == 2


def test_trace_port_in_use(server):
    result = call("trace", "--listen", f"127.0.0.1:{server.port}", "--to", "127.0.0.1:1")
    assert result.exit_code == 1
    assert "choose another --listen" in result.output

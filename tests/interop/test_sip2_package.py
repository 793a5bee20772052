"""The PyPI client ``Sip2`` 1.1 goes through a patron's visit at our server.

It runs as a program of its own in a temporary folder: it writes every frame to ``sip2.log`` where it stands, never
closes that file and prints when it ends.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(
        importlib.util.find_spec("Sip2") is None, reason="the package Sip2 is not installed"
    ),
]

VISIT = """
import json, sys
from Sip2.wrapper import Sip2Wrapper

to = json.loads(sys.argv[1])
wrapper = Sip2Wrapper(
    {
        "hostName": "127.0.0.1", "hostPort": to["port"], "tlsEnable": False, "hostEncoding": "utf-8",
        "institutionId": to["institution"], "scLocation": "hall", "socketTimeout": 20, "loglevel": "WARNING",
    },
    True,
)
steps = {}
steps["login and status"] = wrapper.login_device(to["login"], to["password"])
steps["patron status"] = wrapper.login_patron(to["patron"], to["pin"])
info = wrapper.sip_patron_information("charged")
steps["patron information"] = info["variable"]["AA"][0]
# The wrapper takes a "Y" in patron status for "allowed", so it would not even ask; its inner class does.
inner = wrapper.return_sip2()

def ask(name, *words):
    request = getattr(inner, f"sip_{name}_request")(*words)
    return getattr(inner, f"sip_{name}_response")(inner.get_response(request))

steps["checkout"] = ask("checkout", to["item"])["fixed"]["Ok"]
steps["charged"] = ask("patron_information", "charged")["variable"]["AU"]
steps["renew"] = ask("renew", to["item"])["fixed"]["Ok"]
steps["checkin"] = ask("checkin", to["item"])["fixed"]["Ok"]
steps["fee paid"] = wrapper.sip_fee_paid(1, 0, "1.50", currencyType="CNY")["fixed"]["PaymentAccepted"]
wrapper.sip_patron_session_end()
steps["end session"] = True
wrapper.disconnect()
print("STEPS " + json.dumps(steps))
"""


@pytest.mark.parametrize("server", ["gateway_server", "local_server"])
def test_visit(server, request, tmp_path):
    gateway_server = request.getfixturevalue(server)
    done = subprocess.run(
        [sys.executable, "-c", VISIT, json.dumps(vars(gateway_server))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("STEPS "))
    steps = json.loads(line.removeprefix("STEPS "))
    assert steps["login and status"] is True
    assert steps["patron status"] is True
    assert steps["patron information"] == gateway_server.patron
    assert (steps["checkout"], steps["renew"], steps["checkin"]) == ("1", "1", "1")
    assert gateway_server.item in str(steps["charged"])
    assert steps["fee paid"] in {"Y", "N"}
    assert steps["end session"] is True


def test_wrong_password(gateway_server, tmp_path):
    gateway_server.password = "guess"
    done = subprocess.run(
        [sys.executable, "-c", VISIT, json.dumps(vars(gateway_server))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "Login failed" in done.stderr

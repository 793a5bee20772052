"""``onecard doctor`` on registration machines."""

import json

TERMINAL = """
[[sip2.terminals]]
login = "reg-1"
dialect = "{dialect}"
permissions = ["register_patrons"]
school = "s1"
"""


def look(onecard):
    done = onecard("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    return checks.get("registration machines")


def test_a_machine_that_cannot_register_is_named(installation, onecard, monkeypatch):
    monkeypatch.setenv("ONECARD_TERMINAL_REG_1_PASSWORD", "secret")
    monkeypatch.setenv("ONECARD_TERMINAL_KIOSK_1_PASSWORD", "secret")
    path = installation / "onecard.toml"
    text = path.read_text(encoding="utf-8")
    assert look(onecard) is None, "there is none"
    path.write_text(text + TERMINAL.format(dialect="standard"), encoding="utf-8")
    assert "dialect" in look(onecard)["message"]
    path.write_text(text + TERMINAL.format(dialect="chinese-kiosk"), encoding="utf-8")
    assert "there is no school s1" in look(onecard)["message"]
    onecard("enrol", "school", "add", "s1", "一小", "--entry-mode", "batch")
    assert "one by one" in look(onecard)["message"]
    onecard("enrol", "school", "add", "s1", "一小", "--entry-mode", "both")
    assert look(onecard)["status"] == "ok"

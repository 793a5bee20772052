"""``onecard doctor``: each thing that can be wrong, with its remedy."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from connector.cli import doctor as doctor_module
from connector.cli.context import CliContext
from connector.cli.doctor import run_checks
from connector.cli.doctor_kiosks import check_tls_port
from connector.plugins.hookspecs import HealthCheck, HealthResult
from connector.settings import TlsSettings
from connector.storage import tables
from tests.support.certificates import Authority


def checks_of(result):
    document = json.loads(result.stdout)
    assert document["ok"] is all(check["status"] != "fail" for check in document["checks"])
    assert result.exit_code == (0 if document["ok"] else 1)
    assert all(
        set(check) == {"name", "status", "message", "remedy"} for check in document["checks"]
    )
    return {check["name"]: check for check in document["checks"]}


def test_everything_is_checked(installation, onecard):
    checks = checks_of(onecard("doctor", "--json"))
    assert set(checks) >= {
        "settings", "keys", "database", "clock", "zone LIB", "policy LIB", "adapter LIB", "loan rules LIB",
    }  # fmt: skip
    assert {check["status"] for check in checks.values()} == {"ok"}


def test_wrong_setting_is_named_with_its_line(installation, onecard):
    path = installation / "onecard.toml"
    path.write_text(path.read_text("utf-8").replace("max_items = ", "max_itms = "), "utf-8")
    (check,) = checks_of(onecard("doctor", "--json")).values()
    assert check["name"] == "settings"
    assert "line" in check["message"]
    assert "max_items" in check["remedy"]


def test_key_file_that_others_can_read_fails(installation, onecard):
    (installation / "onecard.key").chmod(0o644)
    check = checks_of(onecard("doctor", "--json"))["keys"]
    assert check["status"] == "fail"
    assert "chmod 600" in check["remedy"]


@pytest.mark.parametrize("name", ["kiosk-1.password", "ils.password"])
def test_password_file_that_others_can_read_is_a_warning(installation, onecard, name):
    text = (installation / "onecard.toml").read_text("utf-8")
    ils = 'adapter = "sip2"\nhost = "127.0.0.1"\nport = 1\nlogin = "g"\npassword_file = "ils.password"'
    text = text.replace('adapter = "local"', ils)
    (installation / "onecard.toml").write_text(text, "utf-8")
    (installation / "ils.password").write_text("secret", "utf-8")
    (installation / "ils.password").chmod(0o600)
    assert checks_of(onecard("doctor", "--json"))["files"]["status"] == "ok"
    (installation / name).chmod(0o644)
    check = checks_of(onecard("doctor", "--json"))["files"]
    assert check["status"] == "warn"
    assert name in check["message"]
    assert f"chmod 600 {installation / name}" in check["remedy"]


def with_tls(installation):
    """Add a TLS port with a certificate of today; it ends tomorrow."""
    certificate, key, _ = Authority(installation, "ca").issue("gateway")
    key.chmod(0o600)
    with (installation / "onecard.toml").open("a", encoding="utf-8") as file:
        file.write(f'\n[sip2.tls]\ncert_file = "{certificate.name}"\nkey_file = "{key.name}"\n')
    return certificate, key


def test_certificate_that_ends_soon_is_a_warning(installation, onecard):
    with_tls(installation)
    check = checks_of(onecard("doctor", "--json"))["kiosk TLS port"]
    assert check["status"] == "warn"
    assert "gateway.crt" in check["remedy"]


@pytest.mark.parametrize(("days", "verb"), [(2, "ended"), (-2, "begins")])
def test_certificate_that_does_not_hold_today_fails(installation, days, verb):
    certificate, key = with_tls(installation)
    settings = TlsSettings(cert_file=certificate, key_file=key)
    result = check_tls_port(settings, datetime.now(UTC) + timedelta(days=days))
    assert result.status == "fail"
    assert verb in result.message


def test_files_of_the_tls_port_that_are_missing_fail(installation, onecard):
    certificate, _ = with_tls(installation)
    certificate.unlink()
    check = checks_of(onecard("doctor", "--json"))["kiosk TLS port"]
    assert check["status"] == "fail"
    assert "gateway.crt" in check["remedy"]


def test_encoding_of_a_library_system_that_nobody_knows_is_told_with_its_library(
    installation, onecard
):
    text = (installation / "onecard.toml").read_text("utf-8")
    ils = 'adapter = "sip2"\nhost = "127.0.0.1"\nencoding = "gb-k"'
    (installation / "onecard.toml").write_text(text.replace('adapter = "local"', ils), "utf-8")
    check = checks_of(onecard("doctor", "--json"))["start"]
    assert check["status"] == "fail"
    assert "LIB" in check["message"]
    assert "gb-k" in check["message"]
    assert "gb18030" in check["remedy"]


def test_lost_key_file_fails(installation, onecard):
    (installation / "onecard.key").unlink()
    assert checks_of(onecard("doctor", "--json"))["keys"]["status"] == "fail"


def test_missing_database_fails_and_is_not_created(installation, onecard):
    (installation / "onecard.db").unlink()
    check = checks_of(onecard("doctor", "--json"))["database"]
    assert check["status"] == "fail"
    assert "db upgrade" in check["remedy"]
    assert not (installation / "onecard.db").exists()


def test_database_without_tables_fails(installation, onecard):
    (installation / "onecard.db").write_bytes(b"")
    check = checks_of(onecard("doctor", "--json"))["database"]
    assert check["status"] == "fail"
    assert "db upgrade" in check["remedy"]


def test_ils_rule_that_is_stricter_than_the_policy_is_a_warning(installation, onecard):
    path = installation / "onecard.toml"
    rules = '[[library.ils.rules]]\ncategory = "student"\nmax_items = 5\nmax_renewals = 0\n'
    text = path.read_text("utf-8").replace('adapter = "local"\n', f'adapter = "local"\n{rules}')
    path.write_text(text, "utf-8")
    result = onecard("doctor")
    assert result.exit_code == 0
    warnings = [line for line in result.stdout.splitlines() if line.startswith("warn")]
    assert len(warnings) == 2
    assert "max_items is 5, the policy says 8" in warnings[0]


def test_policy_that_is_not_yet_in_force_fails(installation, onecard):
    path = installation / "onecard.toml"
    path.write_text(path.read_text("utf-8").replace("= 2026-09-01", "= 2099-09-01"), "utf-8")
    check = checks_of(onecard("doctor", "--json"))["policy LIB"]
    assert check["status"] == "fail"
    assert "effective_from" in check["remedy"]


def test_adapter_that_does_not_exist_fails_with_the_known_ones(installation, onecard):
    path = installation / "onecard.toml"
    path.write_text(
        path.read_text("utf-8").replace('adapter = "local"', 'adapter = "kohaa"'), "utf-8"
    )
    check = checks_of(onecard("doctor", "--json"))["start"]
    assert check["status"] == "fail"
    assert "local" in check["remedy"]


def test_ils_that_does_not_answer_fails(installation, onecard):
    path = installation / "onecard.toml"
    text = path.read_text("utf-8").replace(
        'adapter = "local"\n', 'adapter = "local"\npath = "ils.db"\n'
    )
    path.write_text(text, "utf-8")
    (installation / "ils.db").mkdir()
    check = checks_of(onecard("doctor", "--json"))["adapter LIB"]
    assert check["status"] == "fail"
    assert check["remedy"]


def test_library_without_a_terminal_is_a_warning(installation, onecard):
    path = installation / "onecard.toml"
    head, _, rest = path.read_text("utf-8").partition("[[sip2.terminals]]")
    path.write_text(
        head + "[policy.student]\n" + rest.partition("\n[policy.student]\n")[2], "utf-8"
    )
    assert checks_of(onecard("doctor", "--json"))["terminals LIB"]["status"] == "warn"


def test_clock_of_the_past_fails(installation, onecard, monkeypatch):
    class Past(doctor_module.datetime):
        @classmethod
        def now(cls, tz=None):
            return cls(1970, 1, 1, tzinfo=tz)

    monkeypatch.setattr(doctor_module, "datetime", Past)
    assert checks_of(onecard("doctor", "--json"))["clock"]["status"] == "fail"


def broken():
    raise ValueError("张三")


@pytest.mark.parametrize(
    ("run", "status"),
    [(lambda: HealthResult("warn", "nearly full", "make room"), "warn"), (broken, "fail")],
)
def test_checks_of_plugins_are_run_and_may_break(installation, monkeypatch, run, status):
    cli = CliContext(installation / "onecard.toml")
    monkeypatch.setattr(
        type(cli.app.plugins), "health_checks", lambda self, app: (HealthCheck("disk", run),)
    )
    try:
        (check,) = [check for check in run_checks(cli) if check.name == "disk"]
    finally:
        cli.close()
    assert check.status == status
    assert check.message
    assert check.remedy
    assert "张三" not in check.message


def run_without_privileges(*arguments):
    """Run as somebody whom file permissions bind, root too."""
    drop = []
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv: root may write every file")
        drop = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    command = [*drop, sys.executable, "-m", "connector.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_database_that_may_only_be_read(installation):
    (installation / "onecard.db").chmod(0o444)
    arguments = ("--config", str(installation / "onecard.toml"), "doctor", "--json")
    result = run_without_privileges(*arguments)
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert (result.returncode, checks["database"]["status"]) == (1, "fail"), result.stderr
    assert "not written" in checks["database"]["message"]


def test_database_that_others_may_read_is_a_warning(installation, onecard, application, patron):
    assert checks_of(onecard("doctor", "--json"))["files"]["status"] == "ok"
    for path in installation.glob("local-*.db"):
        path.chmod(0o640)
    found = checks_of(onecard("doctor", "--json"))["files"]
    assert (found["status"], "local-LIB.db" in found["message"]) == ("warn", True)
    assert "chmod 600" in found["remedy"]


def test_keys_of_the_erased_in_the_last_backup_are_a_warning(installation, onecard, application):
    def found():
        return checks_of(onecard("doctor", "--json"))["backup"]["status"]

    audit, now = application.store.audit, application.now()
    for action in ("person.erased", "backup.made", "person.erased"):
        audit.append(action, actor="li")
        assert found() == "ok"
    with application.store.work.begin() as unit:
        for days, action in ((4, "backup.made"), (3, "person.erased")):
            unit.connection.execute(
                update(tables.audit)
                .where(tables.audit.c.action == action)
                .values(at=now - timedelta(days=days))
            )
    assert found() == "warn"

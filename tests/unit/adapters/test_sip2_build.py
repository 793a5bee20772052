"""The adapter from its settings: secrets, TLS, and mistakes that show at the start."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import pytest
from pydantic import ValidationError

from adapters.sip2 import register_ils_adapters
from adapters.sip2.adapter import SPEC, build_adapter
from adapters.sip2.settings import FeatureSettings, Sip2Settings, TlsSettings
from connector.bootstrap import build_adapter as build_by_name
from connector.errors import AdapterUnavailable, ConfigurationError
from connector.ports.clock import utc_now
from connector.ports.ils import AdapterContext
from connector.settings import load_settings
from tests.support.certificates import Authority
from tests.support.scripted_ils import ScriptedIls


@pytest.fixture
def make(tmp_path):
    made = []

    def build_it(code="LIB", **settings):
        given = {"host": "127.0.0.1", "heartbeat_s": 0} | settings
        context = AdapterContext(code, "Asia/Shanghai", str(tmp_path), utc_now)
        made.append(build_adapter(Sip2Settings(**given), context))
        return made[-1]

    yield build_it
    for adapter in made:
        adapter.close()


def test_the_plugin_offers_one_adapter():
    assert register_ils_adapters() == (SPEC,)


# -- secrets ---------------------------------------------------------------------------------------


def test_the_password_comes_from_a_file_in_the_data_folder(make, tmp_path):
    (tmp_path / "ils.password").write_text("p4ss\n")
    with ScriptedIls() as ils:
        make(port=ils.port, login="gw", password_file="ils.password").ping()
    assert (ils.seen[0].get("CN"), ils.seen[0].get("CO")) == ("gw", "p4ss")


@pytest.mark.parametrize(
    ("code", "settings", "variable"),
    [
        ("LIB", {}, "ONECARD_ILS_LIB_PASSWORD"),
        ("cn-340100", {}, "ONECARD_ILS_CN_340100_PASSWORD"),
        ("LIB", {"password_env": "OURS"}, "OURS"),
    ],
)
def test_or_from_a_variable(make, monkeypatch, code, settings, variable):
    monkeypatch.setenv(variable, "p4ss")
    with ScriptedIls() as ils:
        make(code, port=ils.port, login="gw", **settings).ping()
    assert ils.seen[0].get("CO") == "p4ss"


def test_a_missing_password_is_a_mistake_at_the_start(make, monkeypatch):
    monkeypatch.delenv("ONECARD_ILS_LIB_PASSWORD", raising=False)
    with pytest.raises(ConfigurationError, match="ONECARD_ILS_LIB_PASSWORD"):
        make(login="gw")
    with pytest.raises(ConfigurationError, match=r"nowhere\.password"):
        make(login="gw", password_file="nowhere.password")


def test_the_password_of_requests_goes_as_ac(make, tmp_path):
    (tmp_path / "ac").write_text("t3rm")
    with ScriptedIls() as ils:
        make(port=ils.port, terminal_password_file="ac").fetch_item("B1")
    assert ils.last("17").get("AC") == "t3rm"


def test_no_password_in_a_repr(make, tmp_path):
    (tmp_path / "ils.password").write_text("p4ss")
    adapter = make(login="gw", password_file="ils.password", terminal_password_file="ils.password")
    assert "p4ss" not in repr(adapter.channel.options)
    assert "p4ss" not in repr(adapter.requests._rules)


def test_a_password_in_the_file_is_refused(tmp_path):
    path = tmp_path / "onecard.toml"
    path.write_text(
        '[library]\ncode = "A"\nname = "A"\n[library.ils]\nadapter = "sip2"\nhost = "h"\n'
        'login = "gw"\npassword = "p4ss"\n'
    )
    with pytest.raises(ConfigurationError, match="secret"):
        load_settings(path, {})


# -- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": "utf-16"},
        {"encoding": "klingon"},
        {"delimiter": "A"},
        {"dialect": "nobody"},
        {"tls": {"ca_file": "missing.pem"}},
    ],
)
def test_what_cannot_work_shows_at_the_start(make, settings):
    with pytest.raises(ConfigurationError):
        make(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 0},
        {"host": ""},
        {"timeout": 3},
        {"answer_s": 0},
        {"success_words": ["("]},
        {"charged_pattern": "["},
        {"refusal_codes": {"(": "x"}},
        {"language_tag": "la"},
        {"charged_items": "cards"},
        {"features": {"flying": True}},
    ],
)
def test_settings_that_mean_nothing(make, settings):
    with pytest.raises(ValidationError):
        make(**settings)


def test_it_is_built_from_the_file_like_any_other(tmp_path):
    path = tmp_path / "onecard.toml"
    path.write_text(
        '[library]\ncode = "A"\nname = "A"\n[library.ils]\nadapter = "sip2"\nhost = "127.0.0.1"\n'
        'charged_separator = ","\n[library.ils.refusal_codes]\n"(?i)blocked" = "patron_blocked"\n'
    )
    settings = load_settings(path, {})
    adapter = build_by_name(settings.libraries[0], settings, {"sip2": SPEC}, utc_now)
    assert (adapter.name, adapter.settings.host) == ("sip2", "127.0.0.1")
    adapter.close()


# -- TLS -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """Return a file with a key, a certificate for ``localhost`` and its authority's."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "ca")
    certificate, key, _ = authority.issue("localhost", names=("localhost",))
    path = folder / "ils.pem"
    path.write_bytes(b"".join(file.read_bytes() for file in (key, certificate, authority.file)))
    return path


@pytest.fixture
def tls_ils(pem):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with ScriptedIls(tls=context) as ils:
        yield ils, context


def test_tls_with_the_librarys_own_authority(make, tls_ils, pem):
    adapter = make(port=tls_ils[0].port, tls={"ca_file": str(pem), "server_hostname": "localhost"})
    assert adapter.fetch_item("B1").title == "红楼梦"
    assert adapter.fetch_item("B1").title == "红楼梦"
    assert tls_ils[0].connections == 1


@pytest.mark.parametrize(
    "tls", [{}, {"server_hostname": "localhost"}, {"ca_file": "it", "server_hostname": "other"}]
)
def test_a_certificate_that_is_not_right_is_not_taken(make, tls_ils, pem, tls):
    if "ca_file" in tls:
        tls = tls | {"ca_file": str(pem)}
    with pytest.raises(AdapterUnavailable) as caught:
        make(port=tls_ils[0].port, tls=tls).ping()
    assert caught.value.code == "tls_certificate"
    assert tls_ils[0].seen == []


def test_verification_can_be_switched_off_for_a_trial(make, tls_ils):
    make(port=tls_ils[0].port, tls={"verify": False}).ping()


def test_a_client_certificate(make, tls_ils, pem):
    ils, context = tls_ils
    context.load_verify_locations(pem)
    context.verify_mode = ssl.CERT_REQUIRED
    shared = {"ca_file": str(pem), "server_hostname": "localhost"}
    with pytest.raises(AdapterUnavailable):
        make(port=ils.port, tls=shared).ping()
    make(port=ils.port, tls=shared | {"cert_file": str(pem), "key_file": str(pem)}).ping()


def test_plain_text_to_a_tls_port_is_no_answer(make, tls_ils):
    with pytest.raises(AdapterUnavailable):
        make(port=tls_ils[0].port, answer_s=1, connect_s=0.5).ping()


@pytest.mark.parametrize("table", [Sip2Settings, TlsSettings, FeatureSettings])
def test_every_setting_stands_in_the_readme(table):
    text = (Path(__file__).parents[3] / "adapters" / "sip2" / "README.md").read_text("utf-8")
    words = set(re.findall(r"\w+", text))
    assert not table.model_fields.keys() - words


def test_every_capability_stands_in_the_table_of_the_readme():
    text = (Path(__file__).parents[3] / "adapters" / "sip2" / "README.md").read_text("utf-8")
    table = text.split("## Capabilities", 1)[1].split("\n## ", 1)[0]
    first = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = {name for cell in first for name in re.findall(r"`(\w+)`", cell)}
    assert named == {capability.value for capability in SPEC.capabilities}

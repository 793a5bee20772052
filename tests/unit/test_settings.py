"""Settings: what is read, what is refused, and how a mistake is explained."""

import re
from datetime import date
from pathlib import Path

import pytest

from connector.domain.ids import Barcode
from connector.domain.item import Shelving
from connector.domain.library import Mode
from connector.domain.policy import STUDENT, RenewalBar, select_policy
from connector.errors import ConfigurationError
from connector.settings import (
    IlsSettings,
    Settings,
    example_toml,
    load_settings,
    parse_settings,
)
from connector.settings.explain import _table_in

MINIMAL = '[library]\ncode = "A"\nname = "Library A"\n'
SECRET = "5d0c1f-not-for-eyes"


def parse(text: str, base: Path = Path("/nowhere"), **environ: str) -> Settings:
    return parse_settings(text, base_dir=base, environ=environ)


def test_minimal_file_has_working_defaults():
    settings = parse(MINIMAL)
    assert [library.code for library in settings.libraries] == ["A"]
    assert settings.ils.adapter == "local"
    assert settings.store.url == "sqlite:////nowhere/onecard.db"
    assert settings.store.key_file == Path("/nowhere/onecard.key")
    assert settings.sip2.port == 6001
    assert settings.loan_policies() == (STUDENT,)


def test_example_is_read_and_carries_the_shipped_policy():
    settings = parse(
        example_toml().replace('password_file = "kiosk-1.password"', ""),
        ONECARD_TERMINAL_KIOSK_1_PASSWORD="pw",
    )
    (policy,) = settings.loan_policies()
    assert policy.version == STUDENT.version
    shipped = {name: getattr(STUDENT, name) for name in STUDENT.__slots__ if name != "author"}
    assert {name: getattr(policy, name) for name in shipped} == shipped
    assert settings.sip2.terminals[0].password == "pw"


def test_every_switched_off_line_of_the_example_is_a_known_setting(tmp_path):
    switched_on = []
    for line in example_toml().splitlines():
        bare = re.sub(r"^# (?=(\[\[?[a-z0-9_.]+\]\]?$)|([a-z_]+ = ))", "", line)
        switched_on.append(bare)
    (tmp_path / "kiosk-1.password").write_text("secret")
    (tmp_path / "db.password").write_text("secret")
    toml = "\n".join(switched_on).replace("sqlite:///onecard.db", "postgresql+psycopg://u@h/d")
    settings = parse(toml, tmp_path)
    assert settings.libraries[0].branches[0].code == "main"
    assert settings.libraries[0].items.shelving[0].shelving is Shelving.CLOSED_STACK
    assert settings.sip2.messages["zh"]["item_limit"]
    assert toml.count("# [") == 0


@pytest.mark.parametrize(
    ("text", "line", "words", "remedy"),
    [
        (MINIMAL + "[stroe]\n", 4, "unknown key stroe", "Did you mean store?"),
        (MINIMAL + '[store]\nkey_fil = "k"\n', 5, "unknown key store.key_fil", "key_file"),
        (MINIMAL + "[policy.student]\neffective_from = 2026-09-01\nmax_itms = 3\n", 6, "policy.student[1].max_itms", "max_items"),
        (MINIMAL + "[[policy.student]]\neffective_from = 2026-09-01\n[[policy.student]]\neffective_from = 2027-09-01\nlone_days = 3\n", 8, "policy.student[2].lone_days", "loan_days"),
        (MINIMAL + '[[sip2.terminals]]\nlogin = "k"\nallow_from = ["10.0.0.0/8"]\nchecksumm = "log"\n', 7, "sip2.terminals[1].checksumm", "checksum"),
        (MINIMAL + 'colour = "red"\n', 4, "libraries[1].colour", "Known here"),
        (MINIMAL + "[libary]\n", 4, "unknown key libary", "Did you mean library?"),
        ('[library]\ncode = "A"\n', 1, "libraries[1].name is missing", "Add name"),
        ("", None, "no library is configured", "[library]"),
        (MINIMAL + "[sip2]\nport = 70000\n", 5, "sip2.port", "Change"),
        (MINIMAL + 'timezone = "Mars/Base"\n', 4, "time zone", "Change"),
        (MINIMAL + '[[sip2.terminals]]\nlogin = "k"\nencoding = "klingon"\n', 6, "not a known encoding", "Change"),
        (MINIMAL + '[library.items]\nforeign = { colour = ["x"] }\n', 5, "is not one of", "Change"),
        (MINIMAL + '[[sip2.terminals]]\nlogin = "k"\n', 4, "neither a password nor allow_from", "ONECARD_TERMINAL_K_PASSWORD"),
        (MINIMAL + '[[sip2.terminals]]\nlogin = "k"\nlibrary = "B"\n', 6, "there is no library 'B'", "A"),
        (MINIMAL + '[[sip2.terminals]]\nlogin = "k"\nbranch = "x"\n', 6, "has no branch 'x'", "add"),
        (MINIMAL + '[[sip2.terminals]]\nlogin = "k"\npassword_file = "gone"\n', 6, "cannot be read", "Create"),
        (MINIMAL + '[[libraries]]\ncode = "B"\nname = "B"\n', 1, "cannot both", "[[libraries]]"),
        ('[[libraries]]\ncode = "B"\nname = "B"\n[[libraries]]\ncode = "B"\nname = "C"\n', 4, "library B is there 2 times", "Keep one"),
        (MINIMAL + "[[policy.x]]\neffective_from = 2026-09-01\n[[policy.x]]\neffective_from = 2026-09-01\n", 6, "2026-09-01 is there 2 times", "Keep one"),
        ("[library\n", None, "no valid TOML", "Mend"),
    ],
)  # fmt: skip
def test_mistake_is_explained_with_line_and_remedy(text, line, words, remedy):
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert words in caught.value.message
    assert remedy in caught.value.remedy
    if line is not None:
        assert f"onecard.toml line {line}:" in caught.value.message


@pytest.mark.parametrize(
    "table",
    [
        f'[[sip2.terminals]]\nlogin = "k"\npassword = "{SECRET}"\n',
        f'[library.ils]\nadapter = "koha"\nclient_secret = "{SECRET}"\n',
        f'[store]\nurl = "postgresql://u:{SECRET}@h/d"\n',
    ],
)
def test_secret_in_the_file_is_refused_and_not_repeated(table):
    with pytest.raises(ConfigurationError) as caught:
        parse(MINIMAL + table)
    assert SECRET not in str(caught.value)
    assert caught.value.remedy


def test_pin_policy_of_a_terminal_is_no_secret():
    text = (
        MINIMAL + '[[sip2.terminals]]\nlogin = "k"\nallow_from = ["10.0.0.0/8"]\npin = "always"\n'
    )
    assert parse(text).sip2.terminals[0].pin == "always"


def test_a_column_that_is_called_like_a_secret_is_none():
    table = '[library.ils.handoff]\ncolumns = { "card" = "card", "password" = "pin" }\n'
    assert parse(MINIMAL + table).libraries
    with pytest.raises(ConfigurationError, match="is a secret"):
        parse(MINIMAL + table + 'fixed = { "password" = "123456" }\n')


def test_secrets_come_from_files_and_variables_and_stay_out_of_reprs(tmp_path):
    (tmp_path / "k.password").write_text(f"{SECRET}\n")
    (tmp_path / "db.password").write_text("p@ss/word")
    text = MINIMAL + (
        '[store]\nurl = "postgresql+psycopg://u@h/d"\npassword_file = "db.password"\n'
        '[[sip2.terminals]]\nlogin = "k"\npassword_file = "k.password"\n'
        '[[sip2.terminals]]\nlogin = "kiosk 2"\n'
        '[[sip2.terminals]]\nlogin = "k3"\npassword_env = "OTHER"\n'
    )
    settings = parse(text, tmp_path, ONECARD_TERMINAL_KIOSK_2_PASSWORD="two", OTHER="three")
    assert [terminal.password for terminal in settings.sip2.terminals] == [SECRET, "two", "three"]
    assert {terminal.library for terminal in settings.sip2.terminals} == {"A"}
    assert settings.store.url == "postgresql+psycopg://u:p%40ss%2Fword@h/d"
    assert SECRET not in repr(settings)
    assert "p%40ss" not in repr(settings)


def test_empty_secret_file_is_refused(tmp_path):
    (tmp_path / "k.password").write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        parse(MINIMAL + '[[sip2.terminals]]\nlogin = "k"\npassword_file = "k.password"\n', tmp_path)


def test_variables_win_over_the_file(monkeypatch):
    monkeypatch.setenv("ONECARD_STORE__URL", "postgresql+psycopg://u:pw@h/d")
    monkeypatch.setenv("ONECARD_SIP2__PORT", "7001")
    settings = parse(
        MINIMAL + '[store]\nurl = "sqlite:///x.db"\nkey_file = "k"\n[sip2]\nport = 6002\n'
    )
    assert settings.store.url == "postgresql+psycopg://u:pw@h/d"
    assert settings.store.key_file == Path("/nowhere/k")
    assert settings.sip2.port == 7001


def test_a_variable_with_an_unknown_key_is_refused(monkeypatch):
    monkeypatch.setenv("ONECARD_STORE__ULR", "x")
    with pytest.raises(ConfigurationError, match=r"store\.ulr"):
        parse(MINIMAL)


def test_library_becomes_a_value_of_the_domain():
    settings = parse(
        MINIMAL
        + """
isil = "CN-1"
mode = "observe"
closed_weekdays = ["Monday", 6]
closed_dates = [2026-10-01]
[library.barcodes]
prefixes = ["34"]
upper = true
[library.items]
foreign = { item_type = ["FB*"] }
[[library.items.shelving]]
attribute = "call_number"
pattern = "R*"
shelving = "reference"
"""
    )
    (library,) = settings.domain_libraries()
    assert library.mode is Mode.OBSERVE
    assert library.closed_weekdays == {0, 6}
    assert library.is_closed(date(2026, 10, 1))
    assert library.barcodes.normalise(" a1 ") == Barcode("A1")
    assert library.item_rules.foreign == {"item_type": ("FB*",)}
    assert library.item_rules.shelving == (("call_number", "R*", Shelving.REFERENCE),)
    assert library.policies == (STUDENT,)


def test_a_stripped_check_digit_needs_a_length():
    with pytest.raises(ConfigurationError, match="strip_check_digit needs digits"):
        parse(MINIMAL + '[library.barcodes]\nstrip_check_digit = true\ncheck_digit = "mod10"\n')
    settings = parse(
        MINIMAL
        + '[library.barcodes]\nstrip_check_digit = true\ncheck_digit = "mod10"\ndigits = 8\n'
    )
    (library,) = settings.domain_libraries()
    assert library.barcodes.normalise("000012344") == Barcode("00001234")
    assert library.barcodes.is_misread("000012345")


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("[sip2]\nproxy_protocol = true\n", "proxy_protocol needs proxy_allow_from"),
        (
            '[[sip2.terminals]]\nlogin = "k"\nallow_from = ["127.0.0.1"]\ncertificate = "k.lib"\n',
            "certificate of terminal k needs",
        ),
    ],
)
def test_settings_that_need_each_other(table, text):
    with pytest.raises(ConfigurationError, match=text):
        parse(MINIMAL + table)


def test_policy_versions_follow_their_dates():
    settings = parse(
        MINIMAL
        + """
[[policy.student]]
effective_from = 2026-09-01
max_items = 8
[[policy.student]]
effective_from = 2027-09-01
max_items = 10
no_renewal_when = ["overdue"]
loanable_locations = ["open-shelf", "reference"]
version = "v2"
[policy.teacher]
effective_from = 2026-09-01
max_items = 40
"""
    )
    policies = settings.loan_policies()
    old = select_policy(policies, "student", date(2027, 8, 31))
    new = select_policy(policies, "student", date(2027, 9, 1))
    assert old is not None
    assert new is not None
    assert (old.max_items, old.version) == (8, "student-2026-09-01")
    assert (new.max_items, new.version) == (10, "v2")
    assert new.no_renewal_when == {RenewalBar.OVERDUE}
    assert new.loanable_shelving == {Shelving.OPEN_SHELF, Shelving.REFERENCE}
    assert select_policy(policies, "teacher", date(2026, 9, 1)).max_items == 40


@pytest.mark.parametrize(
    "table",
    [
        '[library.ils]\nadapter = "koha"\nurl = "https://koha.invalid"\n',
        '[ils]\nadapter = "koha"\n[ils.koha]\nurl = "https://koha.invalid"\n',
    ],
)
def test_adapter_gets_its_own_table(table):
    settings = parse(MINIMAL + table)
    ils = settings.ils_of(settings.libraries[0])
    assert ils.adapter == "koha"
    assert ils.options == {"url": "https://koha.invalid"}


def test_unknown_library_names_the_known_ones():
    with pytest.raises(ConfigurationError) as caught:
        parse(MINIMAL).find_library("B")
    assert "A" in caught.value.remedy


def test_missing_file_says_how_to_write_one(tmp_path):
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path / "none.toml")
    assert "onecard init" in caught.value.remedy


def test_file_that_is_not_utf8_is_refused(tmp_path):
    path = tmp_path / "onecard.toml"
    path.write_bytes("[library]\nname = '图书馆'".encode("gbk"))
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert "UTF-8" in caught.value.remedy


def test_data_dir_is_relative_to_the_file(tmp_path):
    path = tmp_path / "onecard.toml"
    path.write_text('data_dir = "var"\n' + MINIMAL, encoding="utf-8")
    settings = load_settings(path)
    assert settings.data_dir == tmp_path / "var"
    assert settings.store.url == f"sqlite:///{tmp_path}/var/onecard.db"


def tables(model, path=()):
    """Yield (path, name) of every setting, and of every table."""
    for name, field in model.model_fields.items():
        inner = _table_in(field.annotation)
        if inner is not None and inner is not IlsSettings:
            yield from tables(inner, (*path, name))
        else:
            yield (*path, name)


def test_example_shows_every_setting():
    shown = set()
    table = ()
    for line in example_toml().splitlines():
        bare = re.sub(r"^# (?=(\[\[?[a-z0-9_.]+\]\]?$)|([a-z_]+ = ))", "", line)
        if header := re.match(r"\[\[?([a-z0-9_.]+)\]", bare):
            table = tuple(header.group(1).replace("library", "libraries").split("."))
            shown.add(table)
        elif key := re.match(r"([a-z_]+) =", bare):
            shown.add((*table, key.group(1)))
    shown = {tuple(part for part in path if part not in {"student", "zh"}) for path in shown}
    secret = {("sip2", "terminals", "password")}
    common = {("ils",)}  # the same table as [library.ils], for all libraries
    assert set(tables(Settings)) - shown == secret | common

"""The texts that guardians sign: those that are shipped, and a library's own."""

import pytest

from connector.domain.enrolment import ConsentScope
from connector.enrolment.consent_texts import TextKind, list_versions, list_widening, load_text
from connector.errors import ConfigurationError


def write(folder, name, body="# 授权书\n", head="scopes: card\nsupersedes: none"):
    (folder / name).write_text(f"---\n{head}\n---\n{body}", encoding="utf-8")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_shipped_consent_has_a_section_per_scope(language):
    text = load_text("2026-09", language)
    assert text.scopes == frozenset(ConsentScope)
    for scope in ConsentScope:
        assert f"[{scope.value}]" in text.text
    assert "---" not in text.text
    assert text.text.startswith("# ")
    assert not text.widens


@pytest.mark.parametrize(
    ("language", "words"),
    [
        (
            "zh",
            [
                "免押金",
                "目的|为什么",
                "监护人",
                "保存",
                "加密",
                "更正",
                "删除",
                "撤回",
                "投诉",
                "不同意",
            ],
        ),
        (
            "en",
            [
                "deposit",
                "needed for",
                "guardian",
                "kept",
                "encrypted",
                "correct",
                "delete",
                "withdraw",
                "Complaints",
                "do not agree",
            ],
        ),
    ],
)
def test_the_notice_says_what_the_rules_for_children_ask(language, words):
    """儿童个人信息网络保护规定, article 10; PIPL 17 and 30."""
    text = load_text("2026-09", language).text
    for word in words:
        assert any(each in text for each in word.split("|")), word


@pytest.mark.parametrize("language", ["zh", "en"])
def test_the_shipped_undertaking(language):
    text = load_text("2026-09", language, kind=TextKind.UNDERTAKING)
    assert text.scopes == frozenset()
    assert "30" in text.text


def test_the_digest_is_that_of_the_wording(tmp_path):
    write(tmp_path, "2027-09.zh.md", "# 一\n")
    first = load_text("2027-09", "zh", tmp_path).digest
    write(tmp_path, "2027-09.zh.md", "# 一个\n")
    assert load_text("2027-09", "zh", tmp_path).digest != first
    assert len(first) == 64


def test_line_ends_do_not_change_the_digest(tmp_path):
    write(tmp_path, "2027-09.zh.md")
    first = load_text("2027-09", "zh", tmp_path)
    file = tmp_path / "2027-09.zh.md"
    file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert load_text("2027-09", "zh", tmp_path) == first


def test_own_texts_come_beside_the_shipped_ones(tmp_path):
    write(tmp_path, "2027-09.zh.md", head="scopes: card, online\nsupersedes: widens")
    write(tmp_path, "2027-09.undertaking.zh.md", head="supersedes: none")
    (tmp_path / "notes.txt").write_text("no text")
    assert list_versions(tmp_path) == {"2026-09": ("en", "zh"), "2027-09": ("zh",)}
    assert list_widening(tmp_path) == ("2027-09",)
    assert load_text("2026-09", "en", tmp_path).language == "en"
    assert load_text("2027-09", "zh", tmp_path, kind=TextKind.UNDERTAKING).version == "2027-09"


def test_an_own_version_is_taken_whole(tmp_path):
    write(tmp_path, "2026-09.zh.md")
    assert load_text("2026-09", "zh", tmp_path).scopes == {ConsentScope.CARD}
    with pytest.raises(ConfigurationError, match="not there in en"):
        load_text("2026-09", "en", tmp_path)


def test_an_unknown_version_names_the_known_ones(tmp_path):
    write(tmp_path, "2027-09.zh.md")
    with pytest.raises(ConfigurationError, match="known: 2026-09, 2027-09"):
        load_text("2030-01", "zh", tmp_path)
    with pytest.raises(ConfigurationError, match="undertaking text of version 2027-09"):
        load_text("2027-09", "zh", tmp_path, kind=TextKind.UNDERTAKING)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"# no head\n", "head"),
        (b"---\nscopes: card\n", "head"),
        (b"---\nscopes: card, moon\n---\n", "scopes takes card"),
        (b"---\nsupersedes: none\n---\n", "names no scopes"),
        (b"---\nscopes: card\nsupersedes: perhaps\n---\n", "neither none nor widens"),
        ("---\nscopes: card\n---\n授权".encode("gb18030"), "not UTF-8"),
        (b"---\nscopes: card\n---\n" + b"x" * 200_001, "larger"),
    ],
    ids=["no head", "open head", "unknown scope", "no scope", "supersedes", "charset", "size"],
)
def test_what_is_not_a_text_is_named(tmp_path, content, why):
    (tmp_path / "2027-09.zh.md").write_bytes(content)
    with pytest.raises(ConfigurationError, match=why) as caught:
        load_text("2027-09", "zh", tmp_path)
    assert "2027-09.zh.md" in str(caught.value)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(ConfigurationError, match="not there"):
        list_widening(tmp_path / "nowhere")

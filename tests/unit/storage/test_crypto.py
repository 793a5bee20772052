"""Keys: the file, sealed values, digests, pseudonyms, rotation."""

from __future__ import annotations

import json
import os
import stat
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.ids import Identifier
from connector.errors import ConfigurationError, StorageUnavailable
from connector.storage.crypto import Keyring

CARD = Identifier("card", "S0001")


@pytest.fixture(scope="module")
def keyring():
    return Keyring.generate()


@pytest.fixture(scope="module")
def cipher(keyring):
    _, wrapped = keyring.new_person_key("p1")
    return keyring.open_person("p1", wrapped)


def test_key_file_is_private_and_comes_back(tmp_path, keyring):
    file = tmp_path / "onecard.key"
    keyring.save(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    loaded = Keyring.load(file)
    assert loaded.key_ids == keyring.key_ids
    assert loaded.digest(CARD) == keyring.digest(CARD)
    loaded.rotate().save(file)
    assert len(Keyring.load(file).key_ids) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["onecard.key"]


def test_key_file_that_others_may_read_is_refused(tmp_path, keyring):
    file = tmp_path / "onecard.key"
    keyring.save(file)
    file.chmod(0o640)
    with pytest.raises(ConfigurationError) as caught:
        Keyring.load(file)
    assert caught.value.remedy == f"Run `chmod 600 {file}`."


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_key_file_stays_its_owners(tmp_path, keyring):
    file = tmp_path / "onecard.key"
    keyring.save(file)
    os.chown(file, 65534, 65534)
    Keyring.load(file).rotate().save(file)
    found = file.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (65534, 65534, 0o600)


def test_key_file_of_somebody_else_is_left_as_it_is(tmp_path, keyring, monkeypatch):
    file = tmp_path / "onecard.key"
    keyring.save(file)
    before = file.read_bytes()

    def refuse(*_):
        raise PermissionError

    monkeypatch.setattr(os, "fchown", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(ConfigurationError, match="another user"):
        keyring.rotate().save(file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["onecard.key"]


def test_key_file_that_is_mended_is_read_again(tmp_path, keyring, monkeypatch):
    monkeypatch.setattr("connector.storage.crypto.CHECK_EVERY_S", 0.0)
    file = tmp_path / "onecard.key"
    keyring.save(file)
    mine = Keyring.load(file)
    rotated = mine.rotate()
    rotated.save(file)
    file.chmod(0o644)
    assert mine.key_ids == keyring.key_ids, "others may read it: the keys in memory stay"
    file.chmod(0o600)
    assert mine.key_ids == rotated.key_ids


def test_missing_key_file_says_what_to_do(tmp_path):
    with pytest.raises(ConfigurationError, match="onecard init"):
        Keyring.load(tmp_path / "absent.key")


GOOD = b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "nonsense",
        '{"keys": {}, "active": "a", "lasting": "a"}',
        json.dumps({"keys": {"a": "AAAA"}, "active": "a", "lasting": "a"}),
        json.dumps({"keys": {"a": "not base64"}, "active": "a", "lasting": "a"}),
        json.dumps({"keys": {"a": GOOD}, "active": "b", "lasting": "a"}),
        json.dumps({"keys": {"a": GOOD}, "active": "a", "lasting": "b"}),
        json.dumps({"keys": {"a": GOOD}, "active": "a"}),
        json.dumps({"keys": {"a" * 40: GOOD}, "active": "a" * 40, "lasting": "a" * 40}),
    ],
)
def test_damaged_key_file_is_refused_without_showing_keys(tmp_path, content):
    file = tmp_path / "onecard.key"
    file.write_text(content)
    file.chmod(0o600)
    with pytest.raises(ConfigurationError) as caught:
        Keyring.load(file)
    assert GOOD not in str(caught.value)


def test_repr_shows_no_key(keyring):
    assert repr(keyring) == f"Keyring(active={keyring.active!r}, 1 keys)"


@given(st.text())
def test_sealed_value_opens_again_and_never_looks_the_same(cipher, value):
    first, second = (cipher.seal("person", "name", value) for _ in range(2))
    assert first != second
    assert cipher.open("person", "name", first) == cipher.open("person", "name", second) == value


@given(st.data())
def test_any_altered_byte_is_noticed(cipher, data):
    sealed = bytearray(cipher.seal("person", "name", "张晓明"))
    position = data.draw(st.integers(0, len(sealed) - 1))
    sealed[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(StorageUnavailable):
        cipher.open("person", "name", bytes(sealed))


@given(st.integers(0, 40))
def test_cut_value_is_noticed(cipher, length):
    sealed = cipher.seal("person", "name", "张晓明")
    with pytest.raises(StorageUnavailable):
        cipher.open("person", "name", sealed[: min(length, len(sealed) - 1)])


def test_value_opens_in_its_own_place_only(keyring, cipher):
    sealed = cipher.seal("person", "name", "张晓明", row="r1")
    assert cipher.open("person", "name", sealed, row="r1") == "张晓明"
    for table, column, row in (
        ("person", "name", "r2"),
        ("person", "name", None),
        ("person", "phone", "r1"),
        ("other", "name", "r1"),
        ("perso", "nname", "r1"),
    ):
        with pytest.raises(StorageUnavailable):
            cipher.open(table, column, sealed, row=row)
    _, wrapped = keyring.new_person_key("p1")
    with pytest.raises(StorageUnavailable):
        keyring.open_person("p1", wrapped).open("person", "name", sealed, row="r1")


def test_wrapped_key_belongs_to_one_person(keyring):
    key_id, wrapped = keyring.new_person_key("p1")
    assert key_id == keyring.active
    with pytest.raises(StorageUnavailable):
        keyring.open_person("p2", wrapped)
    with pytest.raises(StorageUnavailable):
        keyring.open_person("p1", b"")
    with pytest.raises(StorageUnavailable, match="missing from the key file"):
        Keyring.generate().open_person("p1", wrapped)


def test_rotation_keeps_old_values_open_and_rewrapping_frees_the_old_key(keyring):
    _, wrapped = keyring.new_person_key("p1")
    sealed = keyring.open_person("p1", wrapped).seal("person", "name", "张晓明")
    rotated = keyring.rotate()
    assert rotated.active != keyring.active
    assert rotated.key_ids == (rotated.active, keyring.active)
    assert rotated.open_person("p1", wrapped).open("person", "name", sealed) == "张晓明"
    key_id, again = rotated.rewrap("p1", wrapped)
    assert key_id == rotated.active
    assert rotated.open_person("p1", again).open("person", "name", sealed) == "张晓明"
    with pytest.raises(StorageUnavailable):
        keyring.open_person("p1", again)


def test_key_in_use_is_not_retired(keyring):
    twice = keyring.rotate().rotate()
    middle = twice.key_ids[2]
    assert middle not in {twice.active, twice.lasting}
    assert middle not in twice.retire(middle).key_ids
    for key_id in (twice.active, twice.lasting):
        with pytest.raises(ConfigurationError):
            twice.retire(key_id)


def test_digests_differ_by_kind_key_and_value(keyring):
    rotated = keyring.rotate()
    digests = {
        rotated.digest(CARD)[1],
        keyring.digest(CARD)[1],
        keyring.digest(Identifier("ssc", "S0001"))[1],
        keyring.digest(Identifier("card", "S0002"))[1],
        keyring.refusal_digests(CARD)[0][1],
    }
    assert len(digests) == 5
    assert dict(rotated.digests(CARD))[keyring.active] == keyring.digest(CARD)[1]
    assert (
        dict(rotated.refusal_digests(CARD))[keyring.active] == keyring.refusal_digests(CARD)[0][1]
    )


def test_pseudonyms_outlast_rotation_and_differ_by_purpose(keyring):
    rotated = keyring.rotate()
    assert rotated.patron_ref("p1") == keyring.patron_ref("p1")
    assert rotated.pseudonym("p1") == keyring.pseudonym("p1")
    assert len(keyring.patron_ref("p1")) == 12
    assert len(keyring.pseudonym("p1")) == 32
    assert not keyring.pseudonym("p1").startswith(keyring.patron_ref("p1"))
    assert keyring.pseudonym("p1") != Keyring.generate().pseudonym("p1")

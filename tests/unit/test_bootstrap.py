"""What is refused before anything is built."""

from __future__ import annotations

import threading

import pytest

from connector.bootstrap import build
from connector.errors import ConfigurationError
from connector.settings import parse_settings
from connector.storage.crypto import Keyring
from connector.storage.migrate import upgrade_database

SETTINGS = """
data_dir = "data"

[[libraries]]
code = "LIB"
name = "Library"

[[sip2.terminals]]
login = "kiosk-1"
library = "LIB"
"""


@pytest.mark.parametrize(
    ("line", "message", "remedy"),
    [
        ('dialect = "klingon"', "Terminal kiosk-1: The dialect 'klingon'", "chinese-kiosk"),
        ('encoding = "utf-16"', "Terminal kiosk-1: The encoding 'utf-16'", "gb18030"),
        ('delimiter = "A"', "Terminal kiosk-1: The delimiter 'A'", "punctuation"),
    ],
)
def test_a_terminal_that_nobody_could_talk_to_is_refused(tmp_path, line, message, remedy):
    settings = parse_settings(
        SETTINGS + line,
        base_dir=tmp_path,
        environ={"ONECARD_TERMINAL_KIOSK_1_PASSWORD": "kiosk-secret"},
    )
    with pytest.raises(ConfigurationError) as caught:
        build(settings)
    assert caught.value.message.startswith(message)
    assert remedy in caught.value.remedy
    assert list(tmp_path.rglob("*")) == []


def test_a_request_of_every_connection_finds_a_place_in_the_pool(tmp_path):
    settings = parse_settings(
        SETTINGS.replace("[[sip2.terminals]]", "[sip2]\nmax_connections = 9\n[[sip2.terminals]]"),
        base_dir=tmp_path,
        environ={"ONECARD_TERMINAL_KIOSK_1_PASSWORD": "kiosk-secret"},
    )
    (tmp_path / "data").mkdir()
    Keyring.generate().save(settings.store.key_file)
    upgrade_database(settings.store.url)
    app = build(settings)
    pool = app.pools(workers=1)["LIB"]
    gate = threading.Event()
    try:
        waiting = [pool.submit(gate.wait, 30) for _ in range(9)]
    finally:
        gate.set()
        pool.shutdown(wait=True)
        app.close()
    assert all(future.result() for future in waiting)

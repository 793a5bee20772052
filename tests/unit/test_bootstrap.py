"""What is refused before anything is built."""

from __future__ import annotations

import pytest

from connector.bootstrap import build
from connector.errors import ConfigurationError
from connector.settings import parse_settings

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

"""The log: allowed keys only, no texts of exceptions."""

import io
import json
from types import SimpleNamespace

import pytest
import structlog

from connector import log


@pytest.fixture
def out():
    stream = io.StringIO()
    log.configure(SimpleNamespace(level="info", format="json"), stream=stream)
    yield stream
    structlog.reset_defaults()


def lines(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_line_is_json_with_event_level_time_and_module(out):
    log.get_logger("m").info("loan.opened", institution="A", count=1)
    (line,) = lines(out)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "loan.opened", "level": "info", "module": "m", "institution": "A", "count": 1,
    }  # fmt: skip


def test_unknown_key_raises_under_pytest(out):
    with pytest.raises(KeyError, match="student_name"):
        log.get_logger("m").info("loan.opened", student_name="张三")
    assert out.getvalue() == ""


def test_unknown_key_is_dropped_in_production(out, monkeypatch):
    monkeypatch.delenv("PYTEST_CURRENT_TEST")
    log.get_logger("m").info("loan.opened", student_name="张三", count=2)
    (line,) = lines(out)
    assert line["count"] == 2
    assert "张三" not in out.getvalue()


def test_exception_is_logged_without_its_text(out):
    try:
        try:
            raise ValueError("张三 110101200001011232")
        except ValueError as err:
            raise RuntimeError("张三") from err
    except RuntimeError as err:
        log.get_logger("m").error("plugin.failed", exc_info=err)
    (line,) = lines(out)
    assert "张三" not in out.getvalue()
    assert "110101" not in out.getvalue()
    assert line["exception"].startswith("RuntimeError at test_log.py:")
    assert "<- ValueError at test_log.py:" in line["exception"]


def test_current_exception_is_logged_without_its_text(out):
    try:
        raise ValueError("张三")
    except ValueError:
        log.get_logger("m").exception("plugin.failed")
    (line,) = lines(out)
    assert line["exception"].startswith("ValueError at ")
    assert "张三" not in out.getvalue()


def test_level_is_obeyed():
    stream = io.StringIO()
    log.configure(SimpleNamespace(level="warning", format="json"), stream=stream)
    log.get_logger("m").info("loan.opened")
    log.get_logger("m").warning("loan.disputed")
    assert [line["event"] for line in lines(stream)] == ["loan.disputed"]
    structlog.reset_defaults()


def test_auto_is_json_where_nobody_watches_and_readable_on_a_terminal():
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for stream, is_json in ((io.StringIO(), True), (Terminal(), False)):
        log.configure(stream=stream)
        log.get_logger("m").info("loan.opened", count=1)
        assert stream.getvalue().startswith("{") is is_json
        assert "loan.opened" in stream.getvalue()
    structlog.reset_defaults()

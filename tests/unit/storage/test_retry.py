"""A method is tried twice after a conflict, never more, and only after a conflict."""

import pytest

from connector.errors import NotFound, StorageConflict, StorageUnavailable
from connector.storage.retry import retry_once


class Desk:
    """Fails as often as it is told, then answers."""

    def __init__(self, *failures):
        self.failures = list(failures)
        self.calls = []

    @retry_once
    def lend(self, barcode, *, place):
        """Lend."""
        self.calls.append((barcode, place))
        if self.failures:
            raise self.failures.pop(0)
        return "lent"


def test_work_without_a_conflict_is_done_once():
    desk = Desk()
    assert desk.lend("B1", place="hall") == "lent"
    assert desk.calls == [("B1", "hall")]


@pytest.mark.parametrize("code", ["40P01", "40001", "constraint", "item"])
def test_work_is_done_again_after_a_conflict(code):
    desk = Desk(StorageConflict(code))
    assert desk.lend("B1", place="hall") == "lent"
    assert desk.calls == [("B1", "hall")] * 2


def test_a_second_conflict_is_told():
    desk = Desk(StorageConflict("40P01"), StorageConflict("40001"))
    with pytest.raises(StorageConflict) as caught:
        desk.lend("B1", place="hall")
    assert caught.value.code == "40001"
    assert len(desk.calls) == 2


@pytest.mark.parametrize(
    "failure", [StorageConflict("busy"), StorageUnavailable("gone"), NotFound("loan")]
)
def test_whatever_else_fails_is_not_repeated(failure):
    desk = Desk(failure)
    with pytest.raises(type(failure)):
        desk.lend("B1", place="hall")
    assert len(desk.calls) == 1


def test_the_method_keeps_its_name_and_its_words():
    assert (Desk.lend.__name__, Desk.lend.__doc__) == ("lend", "Lend.")

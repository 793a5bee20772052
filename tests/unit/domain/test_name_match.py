"""Names that are the same however they are written."""

import pytest

from connector.domain.name_match import fold_name


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("阿依·古丽", "阿依•古丽"),
        ("阿依·古丽", "阿依 古丽"),
        ("阿依‧古丽", "阿依．古丽"),
        ("张三", "张 三"),
        ("张三", "张\u200b三"),
        ("Anna Li", "ANNA  LI"),
        ("Ａｎｎａ", "anna"),
        ("O'Neill", "ONeill"),
        ("〇一", "〇 一"),
    ],
)
def test_the_same_name(one, other):
    assert fold_name(one) == fold_name(other)


@pytest.mark.parametrize(("one", "other"), [("张三", "张山"), ("张三", "张三三"), ("Anna", "Ana")])
def test_another_name(one, other):
    assert fold_name(one) != fold_name(other)


def test_a_usual_name_is_left_as_it_is():
    assert fold_name("丁一一") == "丁一一"

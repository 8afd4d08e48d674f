"""Texts, some at a time.

.venv/bin/python -m pytest tests/data/test_text.py
"""

import pytest

from mmclf.data.text import portions


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ([], []),
        (["abc"], [["abc"]]),
        (["a", "bc", "d", "e"], [["a", "bc"], ["d", "e"]]),
        (["abcdefg", "", "a"], [["abcdefg"], ["", "a"]]),
        (["", "", "abcd", "abc"], [["", ""], ["abcd"], ["abc"]]),
    ],
)
def test_a_portion_is_one_text_or_as_many_as_fit(texts, expected):
    assert list(portions(texts, 3)) == expected

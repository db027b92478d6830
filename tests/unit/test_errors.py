"""The form of messages: one line."""

import pytest

from beft.errors import UserError, one_line


@pytest.mark.parametrize(
    ("text", "most", "line"),
    [
        ("a\n  b\tc ", None, "a b c"),
        (UserError("file:\nkey"), None, "file: key"),
        ("abc def", 5, "abc d"),
        ("", 5, ""),
    ],
)
def test_any_text_becomes_one_line(text, most, line):
    assert one_line(text, most) == line

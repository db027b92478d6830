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


def test_details_stand_below_the_line_and_stay_there():
    """Lines to copy keep their spaces; a wrapped error keeps its details."""
    error = UserError("a\nb", ["  sites:", "    q: x\ry"]).within("model m")
    assert str(error).split("\n") == ["model m: a b", "  sites:", "    q: x y"]
    assert error.details == ("  sites:", "    q: x y")

"""Texts in csv files: none that a spreadsheet runs, each read as it was."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from beft.report.spreadsheet import SIGNS, guarded, unguarded


@pytest.mark.parametrize(
    ("value", "written"),
    [
        *(
            (text, f"'{text}")
            for text in ("=1+1", "@x", "-x", "+x", "-", "\tx", "=", "'=x", "''-x")
        ),
        *((text, text) for text in ("", "x=1", "-0.5", "+1", "-1e-05", "-inf", "'", "'x", "b_v")),
        *((value, value) for value in (-1.5, None, True, 3)),
    ],
)
def test_what_is_guarded(value, written):
    assert guarded(value) == written and unguarded(written) == value


@settings(deadline=None, derandomize=True)
@given(st.text("'=+-@\t\r1.e x", max_size=6))
@example("'-1")
def test_every_text_is_read_as_it_was(text):
    written = guarded(text)
    assert unguarded(written) == text
    if str(written).startswith(SIGNS):
        float(str(written))

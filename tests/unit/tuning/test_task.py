"""A call's examples: what is said of them before anything is trained."""

import csv

import numpy as np
import pytest

from beft.errors import UserError
from beft.tuning.task import about, read_task
from beft.tuning.tokens import Reading
from beft.tuning.wish import Wish

TRAIN = [(f"text number {i}", ("bad", "good")[i % 2]) for i in range(40)]
TEST = [(f"other number {i}", ("bad", "good")[i % 2]) for i in range(10)]


def written(path, rows) -> str:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return str(path)


@pytest.fixture
def said(tmp_path):
    """The lines for a file and a test file, and the warnings of the card."""

    def read(train, test):
        data = written(tmp_path / "train.csv", train)
        task = read_task(data, Wish("m", test=written(tmp_path / "new.csv", test)))
        tokens = np.full(len(task.all), 8)
        return [*about(task, Reading(16, tokens, tokens > 16))], task.warnings()

    return read


def test_a_test_file_without_oddities_is_not_told_of(said):
    lines, warnings = said(TRAIN, TEST)
    assert lines == [
        "40 rows; label 'label': bad (20), good (20); guessing the most frequent: 50.0 %",
        "text 'text': 3 words in the middle, 3 at most",
        "test: 10 rows, read once at the end: an interval of about +-25 points; 40 rows in 5 folds",
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("test", "told"),
    [
        ([*TEST, TEST[0], TEST[0]], "2 rows with the text of an earlier one"),
        ([*TEST, (TEST[0][0], "good")], "1 row with the text of an earlier one; "
         "2 rows with one text and different labels"),
        ([("", "bad"), *TEST, ("a", "")],
         "2 rows without text or label left out, first row 0 (line 2)"),
        (TEST[1::2], "no row of bad"),
        ([*TEST, *TRAIN[:3]], "3 rows of train.csv not trained on: it has them, too"),
    ],
)  # fmt: skip
def test_what_is_odd_about_a_test_file_is_one_line_and_a_warning_of_the_card(said, test, told):
    lines, warnings = said(TRAIN, test)
    assert lines[2] == f"new.csv: {told}" and len(lines) == 4
    assert warnings == [lines[2]]


def test_all_that_may_be_odd_is_six_lines(said):
    odd = [("", "bad"), *TEST[1::2], TEST[1], (TEST[1][0], "bad"), *TRAIN[:3]]
    lines, _ = said([*TRAIN, TRAIN[0], (TRAIN[1][0], "bad"), ("", "")], odd)
    assert len(lines) == 5 and all(line.count("; ") >= 1 for line in lines[2:4])


@pytest.mark.parametrize("test", [[*TEST, ("a", "neutral"), ("b", "fine")], [("a", "Good")] * 2])
def test_a_label_that_only_the_test_file_has_is_refused(said, test):
    with pytest.raises(UserError, match=r"new\.csv: row \d+ \(line .*\): label '.*' is not one of "
                       r"bad, good; remove such rows \(2\), or add some to the rows"):  # fmt: skip
        said(TRAIN, test)


def test_a_test_file_of_other_columns_is_refused(tmp_path):
    (tmp_path / "new.csv").write_text("sentence,label\na,bad\n")
    wish = Wish("m", test=str(tmp_path / "new.csv"))
    with pytest.raises(UserError, match=r"new\.csv: no column 'text', which .*train\.csv has; "
                       "rename one of 'sentence', 'label'"):  # fmt: skip
        read_task(written(tmp_path / "train.csv", TRAIN), wish)

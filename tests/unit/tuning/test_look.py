"""What becomes of the rows of a file: examples, groups, counts, and refusals."""

import numpy as np
import pytest

from beft.errors import UserError
from beft.tuning.columns import guess
from beft.tuning.examples import Columns
from beft.tuning.files import from_frame, read_file
from beft.tuning.look import check, examples, too_long

PAIR = Columns(("text",), "label", ("bad", "good"))
VALUES = Columns(("text",), "label", ())


def table(count: int = 20, **changes) -> dict:
    """Different texts, good and bad in turn."""
    made = {
        "text": [f"text number {row}" for row in range(count)],
        "label": ["good" if row % 2 else "bad" for row in range(count)],
    }
    return made | changes


def looked(made: dict, columns: Columns = PAIR, **given):
    return examples(from_frame(made, "data"), columns, **given)


def test_labels_are_matched_by_value():
    columns = Columns(("text",), "label", ("0", "1", "true"))
    labels = ["1", 1, 1.0, "+1", "0", -0.0, True, "TRUE"] * 8
    found, seen = looked(table(64, label=labels), columns)
    assert found.labels.tolist() == [1, 1, 1, 1, 0, 0, 2, 2] * 8
    assert seen.classes == {"0": 16, "1": 32, "true": 16}


def test_never_by_position():
    with pytest.raises(UserError, match="data: row 0: label '1' is not one of bad, good"):
        looked(table(label=[1, 0] * 10))


def test_rows_without_text_or_label_are_left_out_and_counted():
    made = table(24)
    made["text"][2], made["text"][3], made["label"][5] = None, " \n", ""
    found, seen = looked(made)
    assert found.rows.tolist() == [0, 1, 4, *range(6, 24)]
    assert (seen.rows, seen.empty, seen.first_empty) == (21, 3, "row 2")
    assert seen.lines(PAIR)[2] == "3 rows without text or label left out, first row 2"


def test_a_pair_needs_both_texts():
    columns = Columns(("text", "other"), "label", ("bad", "good"))
    found, seen = looked(table(other=[7, True, None, *["x"] * 17]), columns)
    assert found.texts[:2] == (("text number 0", "7"), ("text number 1", "true"))
    assert len(found) == 19 and seen.empty == 1


def test_equal_texts_and_equal_groups_stay_together():
    made = table(20, who=["a", "b", None, "a", "", *map(str, range(15))])
    made["text"][6] = " TEXT  number 1"  # as row 1, which is of b
    made["text"][7] = "text number 0"
    alone, _ = looked(made)
    assert alone.groups.tolist() == [0, 1, 2, 3, 4, 5, 1, 0, *range(6, 18)]
    assert alone.named == ()
    found, _ = looked(made, group="who")
    assert found.groups.tolist() == [0, 1, 2, 0, 3, 4, 1, 0, *range(5, 17)]
    assert found.named[:5] == ("a", "b", "", "a", "") and found.take(np.array([3])).named == ("a",)


def test_the_two_of_a_pair_in_another_order_stay_together_but_contradict_nothing():
    columns = Columns(("text", "other"), "label", ("bad", "good"))
    made = table(other=[f"other {row}" for row in range(20)])
    made["text"][1], made["other"][1] = "other 0", "text number 0"
    found, seen = looked(made, columns)
    assert found.groups[0] == found.groups[1]
    assert (seen.duplicates, seen.contradictions) == (0, 0)


def test_repeated_and_contradictory_rows_are_counted():
    made = table(40)
    made["text"][2] = made["text"][4] = "text number 0"  # all bad
    made["text"][3] = "text number 6"  # good and bad
    _, seen = looked(made)
    assert (seen.duplicates, seen.contradictions) == (3, 2)
    assert seen.lines(PAIR)[-1] == (
        "3 rows with the text of an earlier one; 2 rows with one text and different labels"
    )


def test_what_is_said_of_classes():
    made = table(30, label=["good"] * 20 + ["bad"] * 10)
    made["text"][0] = "one two three four five"
    _, seen = looked(made)
    assert seen.guessing == pytest.approx(2 / 3) and (seen.longest, seen.median) == (5, 3)
    assert seen.lines(PAIR) == [
        "30 rows; label 'label': good (20), bad (10); guessing the most frequent: 66.7 %",
        "text 'text': 3 words in the middle, 5 at most",
    ]


def test_many_classes_are_counted():
    columns = Columns(("text",), "label", tuple("0123456789"))
    _, seen = looked(table(100, label=list("0123456789") * 10), columns)
    assert seen.lines(PAIR)[0] == (
        "100 rows; label 'label': 10 classes of 10 to 10 rows; guessing the most frequent: 10.0 %"
    )


def test_whole_numbers_that_may_be_classes():
    _, seen = looked(table(44, label=list(range(22)) * 2), VALUES)
    assert seen.lines(VALUES)[0] == (
        "44 rows; label 'label': numbers of mean 10.5 and deviation 6.344; "
        "if they are classes, ask for a metric of classes, as accuracy"
    )


def test_what_is_said_of_numbers():
    found, seen = looked(table(40, label=["1,5", "2,25"] * 20), VALUES)
    assert found.labels.tolist() == [1.5, 2.25] * 20 and found.labels.dtype == np.float64
    assert (seen.mean, seen.deviation, seen.commas) == (1.875, 0.375, True)
    assert seen.lines(VALUES)[0] == (
        "40 rows; label 'label': numbers of mean 1.875 and deviation 0.375; "
        "decimal commas are read as points"
    )


@pytest.mark.parametrize(
    ("made", "columns", "message"),
    [
        (table(label=["good"] * 20), Columns(("text",), "label", ("good",)), "one class only"),
        (table(15), PAIR, "class 'good' has only 7 different texts; add rows, or remove or re"),
        (table(20, text=["a", "b"] * 10), PAIR, "'bad' has only 1 different text .others too few"),
        (table(39, label=[0.5 * row for row in range(39)]), VALUES, "numbers for only 39 diff"),
        (table(40, label=[0.5] * 40), VALUES, "same number in every row"),
        (table(202, label=[row % 101 for row in range(202)]),
         Columns(("text",), "label", tuple(map(str, range(101)))), "101 different labels in 202 r"),
        (table(20, label=list("abcdefghijk") + ["a"] * 9), Columns(("text",), "label",
         tuple("abcdefghijk")), "11 different labels in 20 rows, so it looks like ids or texts"),
        (table(text=[""] * 20), PAIR, "no row has both a text and a label"),
        (table(text=[["a"]] * 20), PAIR, "row 0: 'text' holds a list, not text"),
        (table(text=["a\ud800"] * 20), PAIR, "row 0: 'text' is not UTF-8"),
        (table(40, label=["0.5"] * 39 + ["n/a"]), VALUES, "row 39: label 'n/a' is not a number"),
        (table(40, label=["1e39"] * 40), VALUES, "row 0: label 1e39 is a number that a run cannot"),
        (table(40, label=["1,5", "2.5"] * 20), VALUES, "'1,5' may have a decimal comma or one of"),
        ({"text": ["a"], "stars": [1]}, PAIR, "data: no column 'label'"),
    ],
)  # fmt: skip
def test_what_nothing_can_be_learned_from_is_refused(made, columns, message):
    with pytest.raises(UserError, match=message) as caught:
        looked(made, columns)
    assert str(caught.value).startswith("data: ") and "\n" not in str(caught.value)


def test_groups_count_where_they_are_given():
    made = table(40, who=["a", "b"] * 20)
    with pytest.raises(UserError, match="class 'bad' has only 1 group of rows"):
        looked(made, group="who")
    with pytest.raises(UserError, match="no column 'customer'; did you mean"):
        looked(table(40, customers=["a"] * 40), group="customer")


def test_a_test_file_may_be_small():
    found, _ = looked(table(2), enough=False)
    assert len(found) == 2
    with pytest.raises(UserError, match="class 'bad' has only 1 different text"):
        check(found, PAIR, "data")


def test_quotes_that_merge_rows_are_named(tmp_path):
    lines = [f"text {row};{'good' if row % 2 else 'bad'}" for row in range(20)]
    lines[4], lines[6] = '"text 4;bad', 'text 6";bad'
    (tmp_path / "a.csv").write_text("\n".join(["text;label", *lines]))
    rows = read_file(tmp_path / "a.csv")
    assert rows.count == 18  # as any reader of csv has it
    with pytest.raises(UserError, match=r"line 6: a quote opens here and takes in .* up to 8"):
        examples(rows, guess(rows))


class Words:
    """A tokenizer of one token a word, and two special ones."""

    def __call__(self, first, second=None, truncation=True, verbose=True):
        assert not truncation and not verbose
        pairs = zip(first, second or [""] * len(first), strict=True)
        return {"input_ids": [[0, *f"{one} {other}".split(), 1] for one, other in pairs]}


def test_texts_that_a_model_would_cut():
    made = table(3000, other=["x"] * 3000)
    made["text"][7] = "a much longer text than all others"
    found, _ = looked(made)
    assert [too_long(found, Words(), length) for length in (4, 5, 8, 9)] == [3000, 1, 1, 0]
    both, _ = looked(made, Columns(("text", "other"), "label", ("bad", "good")))
    assert [too_long(both, Words(), length) for length in (5, 6, 9, 10)] == [3000, 1, 1, 0]

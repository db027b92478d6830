"""Labels are matched by value; positions are used where no class is named by a number."""

import pytest

from beft.tasks.labels import Matched, Number, Wrong, ambiguous, fits, match, spelt, target

NAMES = ("negative", "positive")


@pytest.mark.parametrize(
    ("values", "names", "expected"),
    [
        (["positive", "negative"], NAMES, [1, 0]),
        ([" positive", "negative\t"], NAMES, [1, 0]),
        ([True, False], ("true", "false"), [0, 1]),
        (["True", "FALSE"], ("true", "false"), [0, 1]),
        ([True, "false"], ("False", "True"), [1, 0]),
        ([Number("1"), Number("3")], ("1", "2", "3"), [0, 2]),
        ([Number("0"), Number("1")], ("1", "0"), [1, 0]),
        (["1.0", Number("2.000"), "+1", Number("10e-1")], ("1", "2"), [0, 1, 0, 0]),
        ([Number("1"), "-0.0"], ("0.0", "1.0"), [1, 0]),
        (["0.5", Number("5e-1")], ("0.50", "1"), [0, 0]),
        (["007", "7"], ("7", "007"), [1, 0]),
        (["2020-01-02"], ("2020-01-01", "2020-01-02"), [1]),
        (["NA", ""], ("", "NA"), [1, 0]),
        (["1", "b"], ("b", "1"), [1, 0]),
    ],
)
def test_labels_are_matched_by_value(values, names, expected):
    assert match(values, names) == Matched(expected, by_position=False)


@pytest.mark.parametrize("values", [["1", "0"], [Number("1"), Number("0.0")], ["1.0", " 0 "]])
def test_numbers_are_positions_where_no_class_is_a_number(values):
    assert match(values, NAMES) == Matched([1, 0], by_position=True)
    assert match(["1", "0"], ("true", "false")) == Matched([1, 0], by_position=True)


def test_what_a_dataset_calls_its_classes_counts_as_well():
    booleans = ("False", "True")
    assert match([True, "false"], ("no", "yes"), booleans) == Matched([1, 0], by_position=False)
    assert match(["yes", "no"], ("no", "yes"), booleans) == Matched([1, 0], by_position=False)
    assert isinstance(match(["yes", True], ("no", "yes"), booleans), Wrong)


@pytest.mark.parametrize(
    ("values", "names", "row", "reason"),
    [
        (["positive", "Positive"], NAMES, 1, "label 'Positive' is not one of negative, positive"),
        (["1", "2"], NAMES, 1, "label 2 is not one of 0 to 1 (negative, positive)"),
        (["1", "-1"], NAMES, 1, "label -1 is not one of 0 to 1 (negative, positive)"),
        (["positive", "0"], NAMES, 1, "label 0 is not one of negative, positive"),
        (["0", "positive"], NAMES, 1, "label 'positive' is not one of 0 to 1"),
        ([True], NAMES, 0, "label 'true' is not one of negative, positive; booleans are"),
        (["0", "1"], ("1", "2"), 0, "label 0 is not one of 1, 2; names that are numbers"),
        (["1", "0"], ("1", "b"), 1, "label 0 is not one of 1, b; names that are numbers"),
        (["7"], ("1", "007"), 0, "label 7 is not one of 1, 007"),
        ([Number("1e999")], NAMES, 0, "label 1e999 is not one of 0 to 1"),
        (["x" * 500], NAMES, 0, f"label '{'x' * 60}' is not one of"),
    ],
)
def test_the_first_label_that_is_no_class_is_named(values, names, row, reason):
    found = match(values, names)
    assert isinstance(found, Wrong) and found.row == row and found.reason.startswith(reason)


def test_huge_numbers_are_texts():
    many = "9" * 5000
    assert spelt(many) == many and spelt(f"1e{many}") == f"1e{many}"
    assert match([Number(many)], ("a", many)) == Matched([1], by_position=False)


@pytest.mark.parametrize(
    ("names", "expected"),
    [(NAMES, False), (("True", "False"), True), (("a", "2"), True), (("1 star", "2 stars"), False)],
)
def test_names_that_a_reader_may_take_for_something_else(names, expected):
    assert ambiguous(names) is expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3.5", 3.5),
        (Number("-2"), -2.0),
        (" 1e3 ", 1000.0),
        (".5", 0.5),
        ("2.", 2.0),
        ("0e0", 0.0),
        ("9007199254740992.0", 2.0**53),
        ("0.1000000000000000055", 0.1),
        ("1e23", 1e23),
        ("4503599627370497.25", 4503599627370497.0),
    ],
)
def test_targets(value, expected):
    assert target(value) == expected and fits(str(value), ())


@pytest.mark.parametrize(
    "value",
    [
        "nan",
        "inf",
        "1e999",
        "1e39",
        "9007199254740993",
        "9007199254740993.0",
        "-9007199254740993.",
        Number("9007199254740993.000"),
        "1" * 5000,
        "1e-400",
        "1_0",
        "１",
        "",
        True,
    ],
)
def test_targets_that_a_run_cannot_hold(value):
    with pytest.raises(ValueError, match="label .* is (not a|a) number"):
        target(value)

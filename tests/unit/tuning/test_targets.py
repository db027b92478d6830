"""Columns of labels: classes by name, numbers, and several labels in one row."""

import pytest

from beft.errors import UserError
from beft.tasks.labels import Number
from beft.tuning.targets import commas, kind_of, number, ordered, refuse_several


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["10", "9", "1.0", Number("1"), "+1"], ("1", "9", "10")),
        (["b", "B", "a", " a "], ("a", "B", "b")),
        (["10", "9", "x"], ("10", "9", "x")),
        ([True, "false", "TRUE"], ("false", "true")),
        (["-1", "0", "1"], ("-1", "0", "1")),
        (["1e3", "999"], ("999", "1000")),
        (["1e" + "9" * 30, "2"], ("1e" + "9" * 30, "2")),
        (["007", "7"], ("007", "7")),
    ],
)
def test_classes_are_named_by_their_texts_in_a_natural_order(values, names):
    assert ordered(values) == names


@pytest.mark.parametrize(
    ("values", "metric", "kind"),
    [
        (["1", "2", "3"], None, "classes"),
        ([str(n) for n in range(20)], None, "classes"),
        ([str(n) for n in range(21)], None, "regression"),
        ([str(n) for n in range(21)], "accuracy", "classes"),
        (["1", "2", "3"], "spearman", "regression"),
        (["1", "2", "2.5"], None, "regression"),
        (["1.0", "2.0"], None, "classes"),
        (["1,5", "2"], None, "regression"),
        (["1.000,5", "2"], None, "regression"),
        ([True, False], None, "classes"),
        (["a", "b"], None, "classes"),
        (["0.5"] * 19 + ["n/a"], None, "regression"),
        (["0.5"] * 3 + ["n/a"], None, "classes"),
        ([Number("inf"), Number("0.5")], None, "regression"),
    ],
)
def test_classes_or_a_regression(values, metric, kind):
    assert kind_of(values, metric) == kind


def test_decimal_commas():
    assert commas(["3,5", "2", "-1,25"]) and number("-1,25", True) == -1.25
    assert not commas(["3.5", "2"]) and not commas(["3,5", "many"])
    for values in (["3,5", "2.5"], ["1,234", "12,500"]):
        with pytest.raises(ValueError, match="a decimal comma or one of thousands"):
            commas(values)
    with pytest.raises(ValueError, match=r"'3,5' may have a decimal comma or be two \(multi-label"):
        commas(["3,5", "5", "3"])


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b", "a;b"],
        ["a|b", "b|c", "a|c"],
        ["a", "b", "a, b"],
        ["1", "2", "1,2,3", "3"],
        ["['a']", "['b', 'c']"],
        ['["a"]'],
        ["[]"],
        ["[" + "," * 1_000_000 + "]"],
        [["a"]],
        [{"a": 1}],
    ],
)
def test_several_labels_in_a_row_are_called_multi_label(values):
    with pytest.raises(UserError, match="several labels in one row .* multi-label"):
        refuse_several(values, "column")


@pytest.mark.parametrize(
    "values",
    [
        ["sports, outdoors", "food, drink"],
        ["sports|football", "sports|tennis"],
        ["a", "b"],
        ["[neutral]", "{positive}"],
        ["a;", "b;"],
        ["[" + "," * 1_000_000],
        [";" * 1_000_000 + "a"] * 100,
    ],
)
def test_names_with_separators_are_classes(values):
    refuse_several(values, "column")

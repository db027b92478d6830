"""Runs of different precision: which differ, in which words, and which were meant to."""

import pytest

from beft.store.precision import Computed, differences, recorded, remarks

PLACE = ("m", "t", "low")
HERE, THERE = "bfloat16", "float32"


def runs(given: dict[str, list[str]], setting: str = "auto", place=PLACE) -> list[Computed]:
    """Runs of one place: the precision that each seed of a technique had."""
    return [Computed(place, name, setting, each) for name, own in given.items() for each in own]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"b_v": [HERE, HERE], "b_q": [HERE, HERE]}, []),
        ({"b_v": [THERE, HERE, THERE]}, [("b_v", 3, "2 float32, 1 bfloat16")]),
        ({"b_v": [HERE], "b_q": [THERE]}, [("", 2, "bfloat16: b_v; float32: b_q")]),
        (  # a technique whose own runs differ is told once
            {"b_v": [HERE, THERE], "b_q": [THERE, THERE]},
            [("b_v", 2, "1 float32, 1 bfloat16")],
        ),
        (
            {"b_v": [HERE, THERE], "b_q": [HERE], "full": [THERE]},
            [("b_v", 2, "1 float32, 1 bfloat16"), ("", 2, "bfloat16: b_q; float32: full")],
        ),
        ({"b_v": ["", HERE], "b_q": [HERE], "full": [""]}, []),  # what is unknown differs from none
        ({"b_v": ["", HERE, THERE]}, [("b_v", 2, "1 float32, 1 bfloat16")]),
        ({}, []),
    ],
)
def test_what_differs(given, expected):
    found = differences(runs(given))
    assert [(d.technique, d.runs, d.words) for d in found] == expected
    assert all(d.place == PLACE and not d.asked for d in found)


def test_places_are_not_compared_with_each_other():
    other = ("m", "t", "high")
    assert differences([*runs({"b_v": [HERE]}), *runs({"b_v": [THERE]}, place=other)]) == []


def test_settings_that_name_both_ask_for_the_difference():
    named = [Computed(PLACE, "b_v", HERE, HERE), Computed(PLACE, "all_biases", THERE, THERE)]
    assert [d.asked for d in differences(named)] == [True]
    assert remarks(named) == []
    half = [Computed(PLACE, "b_v", "auto", HERE), named[1]]
    assert [d.asked for d in differences(half)] == [False]
    # a run that did not have what its recipe names was not asked for
    wrong = [named[0], Computed(PLACE, "b_q", HERE, THERE)]
    assert [d.asked for d in differences(wrong)] == [False]


def test_remarks_are_a_line_of_each_kind_with_the_first_case():
    mixed = runs({"b_v": [HERE, THERE], "b_q": [HERE, THERE]})
    apart = runs({"b_v": [HERE], "full": [THERE], "icl": [""]}, place=("m", "t", "high"))
    first, second, third = remarks([*mixed, *apart])
    assert "in 2 cells, the runs of one technique" in first
    assert first.endswith("The first: m/t/low/b_v: 1 float32, 1 bfloat16")
    assert "in 1 cell, techniques" in second
    assert second.endswith("The first: m/t/high: bfloat16: b_v; float32: full")
    assert third == "unknown precision: 1 of 7 runs do not record theirs"


@pytest.mark.parametrize("value", [None, "", "auto", "float16", 16, ["float32"], {}])
def test_anything_else_is_not_recorded(value):
    assert recorded(value) == ""
    assert remarks(runs({"b_v": [recorded(value)]})) == [
        "unknown precision: 1 of 1 runs do not record theirs"
    ]

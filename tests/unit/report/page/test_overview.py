"""The answer: how often a term came out best, and whether its lead is separated from the others."""

from dataclasses import replace

import pandas as pd
import pytest

from beft.report.frames.schema import frame
from beft.report.page.overview import overview

PLACE = {"model": "m", "task": "t", "regime": "low", "split": "validation", "epoch": "best"}


def compared(first: str, second: str, low: float, high: float, p: float = 0.01) -> dict:
    both = {"p_examples_corrected": p, "p_runs_corrected": float("nan")}
    return {**PLACE, "first": first, "second": second, "low": low, "high": high, **both}


@pytest.fixture
def study(decoders):
    """b_v is the best of three terms in one cell."""
    numbers = {("m", "t", f"b_{t}"): [v, v] for t, v in (("v", 0.9), ("q", 0.8), ("k", 0.5))}
    return decoders(numbers)


def sure(study, *rows: dict, column: str = "best") -> dict:
    return overview(replace(study, comparisons=frame("comparisons", rows)), column)["sure"]


def test_nothing_compared_is_not_sure(study) -> None:
    assert set(sure(study).values()) == {0}


def test_a_lead_over_both_others_is_separated(study) -> None:
    found = sure(study, compared("b_v", "b_q", 0.02, 0.2), compared("b_k", "b_v", -0.5, -0.3))
    assert (found["compared"], found["apart"]) == (1, 1)
    assert (found["examples"], found["tested_examples"]) == (1, 1)
    assert (found["runs"], found["tested_runs"]) == (0, 0)  # there is no such p-value


def test_one_interval_with_zero_is_enough_for_doubt(study) -> None:
    rows = compared("b_v", "b_q", -0.01, 0.2, p=0.2), compared("b_v", "b_k", 0.3, 0.5)
    found = sure(study, *rows)
    assert (found["compared"], found["apart"], found["examples"]) == (1, 0, 0)


def test_other_epochs_pairs_and_splits_do_not_count(study) -> None:
    rows = [compared("b_q", "b_k", 0.2, 0.4), compared("full", "b_v", 0.2, 0.4)]
    rows += [{**compared("b_v", "b_q", 0.02, 0.2), "epoch": "last"}]
    rows += [{**compared("b_v", "b_q", 0.02, 0.2), "split": "validation_mismatched"}]
    assert sure(study, *rows)["compared"] == 0
    assert sure(study, *rows, column="last")["compared"] == 1


def test_terms_that_win_equally_often_are_both_named(decoders) -> None:
    numbers = {("m", "a", "b_v"): [0.9], ("m", "a", "b_q"): [0.8],
               ("m", "b", "b_v"): [0.7], ("m", "b", "b_q"): [0.8]}  # fmt: skip
    answer = overview(decoders(numbers))["answer"]
    assert answer["top"] == ["q", "v"] and answer["decided"] == 2


def test_a_cell_in_which_no_term_is_ahead_is_nobodys(decoders) -> None:
    """In a, no term learned anything; in b, two are equal; in c, b_v is ahead."""
    values = {"a": (0.0, 0.0, 0.0), "b": (0.8, 0.8, 0.1), "c": (0.9, 0.8, 0.8)}
    numbers = {
        ("m", task, f"b_{term}"): [value]
        for task, each in values.items()
        for term, value in zip("vqk", each, strict=True)
    }
    answer = overview(decoders(numbers))["answer"]
    assert answer["wins"] == {"q": 0, "k": 0, "v": 1} and answer["top"] == ["v"]
    assert (answer["decided"], answer["ahead"], answer["unanimous"]) == (3, 1, 1)
    assert answer["closest"] == "10.0 points (m, c, low)"
    flat = {place: value for place, value in numbers.items() if place[1] == "a"}
    assert overview(decoders(flat))["answer"]["top"] == []


def test_an_empty_study_has_no_answer(nothing) -> None:
    found = overview(nothing)
    assert found["answer"]["top"] == [] and found["board"] == []
    assert isinstance(nothing.runs, pd.DataFrame)

"""The lines that say what was found."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from beft.tuning.candidates import PAIRS, Candidate
from beft.tuning.choice import Outcome
from beft.tuning.examples import Meaning
from beft.tuning.race import Raced
from beft.tuning.result import Result
from beft.tuning.tested import score_rows

PROBE = Outcome(Candidate("linear_probe", "mean"), 0, (0.70, 0.72, 0.71))
V = Outcome(Candidate("b_v", "mean", rate=4e-3), 5, (0.80, 0.82, 0.81))
MEANING = Meaning(("text",), "label", ("bad", "good"))


def result(chosen: Outcome, last: list[Outcome], right: int = 8) -> Result:
    truth = np.array([0, 1] * 5)
    predicted = np.where(np.arange(10) < right, truth, 1 - truth)
    tested = score_rows("accuracy", predicted, truth, 0, MEANING)
    raced = Raced([], last, {"b_k": "no gradient"}, {})
    return Result(chosen, raced, 0.5, tested, MEANING, "accuracy", 100.0, Path("adapter"))


def test_the_choice_and_the_test_are_said():
    said = "\n".join(result(V, [PROBE, V]).lines())
    assert "choice: b_v at 0.004, 5 epochs: the best on held-out folds" in said
    assert "test: accuracy 80.0 (" in said and "on 10 rows, read once; guessing 50.0" in said
    assert "left out, cannot change the output: b_k" in said


def test_the_table_has_the_best_first_and_each_minus_the_choice():
    head, first, second = result(V, [PROBE, V]).table()
    assert first.split()[:2] == [">", "b_v"] and "81.0" in first
    assert "-10.0 (" in second and "probe" in second


def test_a_probe_that_is_chosen_is_never_called_as_good():
    said = "\n".join(result(PROBE, [PROBE, V]).lines())
    assert "choice: linear probe: nothing tuned is better on held-out folds" in said


def test_what_is_not_separated_from_the_choice_is_said_the_cheaper_first():
    best = Outcome(Candidate("all_biases", "first", rate=1e-3), 4, (0.82, 0.81, 0.83))
    pairs = Outcome(Candidate("all_biases", "mean", PAIRS, 1e-3), 4, (0.83, 0.80, 0.81))
    probe = Outcome(Candidate("linear_probe", "mean"), 0, (0.9, 0.7, 0.8))
    said = "\n".join(result(best, [best, pairs, V, probe, PROBE]).lines())
    assert (
        "not separated from it on these folds: b_v at 0.004 (trains less), linear probe (nothing "
        "to tune), all biases, pairs at 0.001\n" in said
    )


def test_a_term_that_is_preferred_to_the_best_one_says_so():
    q = Outcome(Candidate("b_q", "mean", rate=1e-2), 4, (0.83, 0.81, 0.82))
    said = "\n".join(result(V, [q, V]).lines())
    assert "choice: b_v at 0.004, 5 epochs: as good as b_q within one standard error" in said


@pytest.mark.parametrize(("right", "warned"), [(5, True), (10, False)])
def test_a_test_that_cannot_tell_from_guessing_is_a_warning(right, warned):
    found = result(V, [PROBE, V], right)
    assert any("guessing" in line for line in found.warnings()) == warned
    assert any("which it does not clearly beat" in line for line in found.lines()) == warned


def test_a_chosen_one_beyond_the_shown_rows_is_shown():
    many = [Outcome(Candidate("b_q", "mean", rate=i), 1, (0.9, 0.9, 0.9)) for i in range(8)]
    table = result(PROBE, [*many, PROBE]).table()
    assert "> linear probe" in table[-1] and len(table) == 7


def test_lines_are_twelve_at_most():
    """With the six of the data, the plan and the folder there are twenty."""
    many = [
        Outcome(Candidate("b_q", "mean", rate=i), 1, (0.7, 0.7, 0.7 + i / 100)) for i in range(9)
    ]
    found = result(V, [*many, V])
    failed = {f"b_v at {i}": "diverged" for i in range(3)}
    raced = Raced([], found.raced.last, {"b_k": "no gradient", "b_q": "also"}, failed)
    lines = replace(found, raced=raced).lines()
    assert len(lines) == 12 and max(map(len, lines)) < 160
    assert lines[0] == (
        "left out, cannot change the output: b_k, b_q; "
        "did not end well: b_v at 0 (and 2 more): diverged"
    )


def test_a_class_that_no_test_row_has_is_not_called_missed():
    found = score_rows("accuracy", np.array([0, 1]), np.array([1, 1]), 0, MEANING)
    said = "\n".join(replace(result(V, [PROBE, V]), tested=found).lines())
    assert "found of each class: good 50% of 2" in said and "bad" not in said

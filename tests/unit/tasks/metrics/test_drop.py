"""DROP's metrics: by hand, and for answers of made-up annotators as the hub writes them."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beft.tasks import TABLE
from beft.tasks.metrics.answers import score_words
from beft.tasks.metrics.drop import least, most, scores
from beft.tasks.prompts import view_of
from beft.tasks.words import Words


@pytest.mark.parametrize(
    ("predicted", "gold", "exact", "f1"),
    [
        ("3", ("3.0",), 1, 1),
        ("1,500 men", ("1500",), 0, 0.67),  # 1 of 2 and 1 of 1: 2/3, rounded
        ("three", ("3",), 0, 0),
        ("4 yards", ("3 yards",), 0, 0),  # the gold answer's number is not there
        ("yards", ("3 yards",), 0, 0),
        ("3 yards", ("yards",), 0, 0.67),  # the gold answer has no number to match
        ("-3", ("3",), 1, 1),  # a hyphen separates words, so a sign is lost
        ("0.50", (".5",), 1, 1),
        ("The Bears.", ("bears",), 1, 1),
        ("Bears Bears", ("bears",), 0, 1),  # words are a set for F1, not for the exact match
        ("left-handed man", ("left handed",), 0, 0.8),  # 2 of 3 and 2 of 2
        ("", ("bears",), 0, 0),
        ("pears, plums", ("plums", "pears"), 1, 1),  # any order
        ("pears", ("plums", "pears"), 0, 0.5),  # one of two spans
        ("pears, plums, figs", ("plums", "pears"), 0, 0.67),  # two of three spans
        ("red pears, plums", ("pears", "red plums"), 0, 0.67),  # 2/3 and 2/3 beats 2/4 and 0
        ("Chicago, Illinois", ("Chicago, Illinois",), 1, 1),  # one span, with a comma
        ("pears, pears", ("pears", "plums"), 0, 0.5),  # each span has one partner
        # a span that holds ", " is one span
        ("Chicago, Illinois, Paris", ("Chicago, Illinois", "Paris"), 1, 1),
        ("paris, chicago, illinois", ("Chicago, Illinois", "Paris"), 1, 1),
        ("Chicago, Paris", ("Chicago, Illinois", "Paris"), 0, 0.83),  # (2/3 + 1) / 2, rounded
        ("West Chicago, Illinois, Paris", ("Chicago, Illinois", "Paris"), 0, 0.56),
    ],
)
def test_an_answer_and_one_gold_answer(predicted, gold, exact, f1):
    assert scores(predicted, gold) == (exact, pytest.approx(f1))


@pytest.mark.parametrize(
    ("predicted", "spans", "highest", "lowest"),
    [
        ("a1", ("a1",), (1, 1), (1, 1)),
        ("a1", ("a1", "a1", "A1."), (1, 1), (1, 1)),  # nobody says the same twice
        # one person with both spans, or two with one each
        ("a1", ("a1", "b2"), (1, 1), (0, 0.5)),
        ("a1, b2", ("a1", "b2"), (1, 1), (0, 0.67)),
        # all four readings have "a1" as an answer, or with "b2"
        ("a1", ("a1", "b2", "a1", "b2"), (1, 1), (0, 0.5)),
        ("a1, b2", ("a1", "b2", "a1", "b2"), (1, 1), (0, 0.67)),
        # the first "a1" ends an answer, since the next begins with it
        ("a1", ("a1", "a1", "b2"), (1, 1), (1, 1)),
        ("c3", ("a1", "b2"), (0, 0), (0, 0)),
    ],
)
def test_both_ends_of_what_spans_may_mean(predicted, spans, highest, lowest):
    assert most(predicted, spans) == highest
    assert least(predicted, spans) == lowest


SPANS = ("pears", "two plums", "3 figs", "the pears", "Rome, Italy", "12 May 1920", "red-hot figs")
PEOPLE = st.lists(
    st.lists(st.sampled_from(SPANS), min_size=1, max_size=3, unique=True), min_size=1, max_size=4
)
SAID = st.lists(st.sampled_from((*SPANS, "figs", "Italy", "4")), min_size=1, max_size=3)


def row(people: list[list[str]], kinds: list[str] | None = None) -> Words:
    """The example of a validation row as the hub writes it: all answers in one list, with types."""
    types = [k for k, own in zip(kinds or ["span"] * len(people), people, strict=True) for _ in own]
    given = {"spans": [span for own in people for span in own], "types": types}
    view = view_of(TABLE["drop"].prompt_dict(), "drop")
    return view({"passage": "", "question": "", "answers_spans": given})


@given(PEOPLE)
def test_everybodys_own_answer_is_right(people):
    example = row(people)
    for own in people:
        for metric in ("drop_f1", "drop_exact_match"):
            assert score_words(metric, [", ".join(own)], [example]) == 1


@given(PEOPLE, SAID)
def test_the_official_number_lies_between_both(people, said):
    """The official evaluator knows each answer and takes the best."""
    predicted, flat = ", ".join(said), tuple(span for own in people for span in own)
    different = all(len({s.removeprefix("the ") for s in own}) == len(own) for own in people)
    for place in (0, 1):
        official = max(scores(predicted, tuple(own))[place] for own in people)
        assert official <= most(predicted, flat)[place]
        if different:
            assert least(predicted, flat)[place] <= official


@given(st.lists(st.sampled_from(SPANS), min_size=1, max_size=6).map(tuple), SAID)
def test_the_smallest_is_that_of_every_division(spans, said):
    """By trying each: a cut or none at each of the n - 1 places."""
    predicted, found = ", ".join(said), []
    for cuts in product((False, True), repeat=len(spans) - 1):
        answers = [[spans[0]]]
        for cut, span in zip(cuts, spans[1:], strict=True):
            answers = [*answers, [span]] if cut else [*answers[:-1], [*answers[-1], span]]
        told = [[s.removeprefix("the ") for s in own] for own in answers]
        if all(len(set(own)) == len(own) for own in told):
            found.append([scores(predicted, tuple(own)) for own in answers])
    for place in (0, 1):
        expected = min(max(each[place] for each in way) for way in found)
        assert least(predicted, spans)[place] == expected


def test_numbers_and_dates_are_answers_of_their_own():
    example = row(
        [["3"], ["12 May 1920"], ["pears", "figs"], ["4"]], ["number", "date", "span", "number"]
    )
    for own in ("3", "12 May 1920", "pears, figs", "4"):
        assert score_words("drop_f1", [own], [example]) == 1
        assert score_words("drop_exact_match", [own], [example]) == 1
    assert score_words("drop_f1_least", ["3"], [example]) == 1
    assert score_words("drop_exact_match", ["3, 4"], [example]) == 0  # nobody's answer

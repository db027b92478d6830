"""The metrics of answers, each against cases worked by hand from its definition."""

import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from beft.tasks import TABLE
from beft.tasks.metrics.answers import METRICS, answer_f1, exact_match, score_words
from beft.tasks.words import Words


def asked(*gold: int, answers=(" no", " yes", " maybe"), **more) -> Words:
    return Words("", "", "", tuple(answers), gold, **more)


def test_every_metric_of_the_table_is_known():
    for task in TABLE.values():
        assert task.prompt is None or set(task.prompt.metrics) <= set(METRICS)
    assert {name: task.prompt.metrics[0] for name, task in TABLE.items() if task.prompt} == {
        **dict.fromkeys(
            ("sst2", "rte", "qnli", "mnli", "cb", "wic", "wsc", "boolq", "copa"), "accuracy"
        ),
        **dict.fromkeys(("demo_sentiment", "demo_entailment", "demo_choice"), "accuracy"),
        **dict.fromkeys(("mrpc", "qqp", "multirc"), "f1"),
        **dict.fromkeys(("squad", "record", "demo_answer"), "answer_f1"),
        "cola": "matthews",
        "drop": "drop_f1",
    }


def test_accuracy_counts_any_right_candidate():
    examples = [asked(0, 2), asked(1), asked(1), asked(2)]
    assert score_words("accuracy", [2, 1, 0, 2], examples) == 0.75


def test_metrics_of_classes_are_the_librarys():
    gold, chosen = [0, 1, 1, 0, 1], [0, 1, 0, 1, 1]
    examples = [asked(g) for g in gold]
    assert score_words("f1", chosen, examples) == pytest.approx(f1_score(gold, chosen))
    macro = f1_score(gold, chosen, average="macro")
    assert score_words("f1_macro", chosen, examples) == pytest.approx(macro)
    expected = matthews_corrcoef(gold, chosen)
    assert score_words("matthews", chosen, examples) == pytest.approx(expected)


def test_a_question_is_right_when_all_its_answers_are():
    """Question p: 2 of 2 right; q: 1 of 2; the one without a group: right. In any order."""
    groups = ["p", "q", "", "p", "q"]
    examples = [asked(1, group=group) for group in groups]
    assert score_words("question_exact_match", [1, 1, 1, 1, 0], examples) == pytest.approx(2 / 3)
    assert score_words("question_exact_match", [0] * 5, examples) == 0
    assert score_words("accuracy", [1, 1, 1, 1, 0], examples) == 0.8


@pytest.mark.parametrize(
    ("predicted", "gold", "exact", "f1"),
    [
        ("The Eiffel Tower!", "eiffel  tower", 1, 1),
        ("a tower", "an Eiffel tower", 0, 2 / 3),  # 1 of 1 said, 1 of 2 asked for
        ("cat cat dog", "cat dog dog", 0, 2 / 3),  # shared: one cat, one dog; 2 of 3 and 2 of 3
        ("U.S.", "us", 1, 1),
        ("theatre", "atre", 0, 0),  # an article is a whole word
        ("Paris", "London", 0, 0),
        ("", "London", 0, 0),
        ("the", "an", 1, 1),  # nothing is left of both
        ("in the year 1998", "1998", 0, 0.5),  # 1 of 3 and 1 of 1
    ],
)
def test_answers_compared_as_squads(predicted, gold, exact, f1):
    assert exact_match(predicted, gold) == exact
    assert answer_f1(predicted, gold) == pytest.approx(f1)
    assert answer_f1(gold, predicted) == pytest.approx(f1)


def test_the_best_gold_answer_counts():
    examples = [asked(0, 1, answers=(" red house", " house")), asked(0, answers=(" tree",))]
    assert score_words("answer_f1", ["a house", "tree top"], examples) == pytest.approx(5 / 6)
    assert score_words("exact_match", ["a house", "tree top"], examples) == 0.5


def test_a_chosen_candidate_is_compared_by_its_entity():
    """Candidates share the rest of the sentence, which must not count as a likeness."""
    names = (("Ann Lee",), ("Ann",), ("Bob",))
    candidates = tuple(f" {name} went to the old market in town" for (name,) in names)
    examples = [asked(0, answers=candidates, spans=names)] * 3
    assert score_words("answer_f1", [0, 1, 2], examples) == pytest.approx((1 + 2 / 3 + 0) / 3)
    assert score_words("exact_match", [0, 1, 2], examples) == pytest.approx(1 / 3)


def test_the_best_gold_answer_counts_in_drop_too():
    example = asked(0, 1, answers=(" a, b", " c d"), spans=(("a b", "b"), ("c d",)))
    assert score_words("drop_f1", ["c"], [example]) == pytest.approx(0.67)
    assert score_words("drop_exact_match", ["c d", "x"], [example] * 2) == 0.5
    # what is told apart has one reading
    assert score_words("drop_f1_least", ["c"], [example]) == pytest.approx(0.67)
    assert score_words("drop_exact_match_least", ["c d", "x"], [example] * 2) == 0.5


def test_answers_of_drop_that_are_run_together():
    """Two people said "pears" and "plums", or one said both: the file does not tell."""
    example = asked(
        0, 1, answers=(" pears, plums", " 3"), spans=(("pears", "plums"), ("3",)), run_together=True
    )

    def both(metric: str) -> list[float]:
        said = ["pears", "pears, plums", "3", "4"]
        return [score_words(name, [x], [example]) for x in said for name in (metric,)]

    assert both("drop_f1") == [1, 1, 1, 0]
    # "pears": half of what one person said; both: two words beside the one that is right, 2/3
    assert both("drop_f1_least") == [0.5, 0.67, 1, 0]
    assert both("drop_exact_match") == [1, 1, 1, 0]
    assert both("drop_exact_match_least") == [0, 0, 1, 0]


@pytest.mark.parametrize(
    ("metric", "predictions", "examples", "message"),
    [
        ("bleu", [0], [asked(0)], "unknown metric 'bleu'"),
        ("accuracy", [], [], "0 predictions for 0"),
        ("accuracy", [0], [asked(0)] * 2, "1 predictions for 2"),
    ],
)
def test_misuse_is_an_error(metric, predictions, examples, message):
    with pytest.raises(ValueError, match=message):
        score_words(metric, predictions, examples)

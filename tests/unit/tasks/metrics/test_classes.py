"""Metrics: hand-worked cases, independent formulas, degenerate inputs, and no trace on the disk."""

import math
import os
import subprocess
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch

from beft.tasks.metrics import classes as metrics

CLASS_METRICS = ["accuracy", "f1", "f1_macro", "matthews"]
VALUE_METRICS = ["spearman", "pearson"]

# metric, predictions, references, expected
HAND = {
    # 3 of 4 right
    "accuracy": ("accuracy", [0, 1, 2, 1], [0, 1, 2, 2], 3 / 4),
    "accuracy of nothing right": ("accuracy", [1, 0], [0, 1], 0.0),
    # tp 2, fp 1, fn 1: precision 2/3, recall 2/3
    "f1": ("f1", [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], 2 / 3),
    # tp 1, fp 0, fn 2: 2 tp / (2 tp + fp + fn) = 2 / 4. Class 0 as the positive one would give
    # tp 2, fp 2, fn 0: 4 / 6
    "f1 is that of class 1": ("f1", [1, 0, 0, 0, 0], [1, 1, 1, 0, 0], 1 / 2),
    "f1 without a predicted 1": ("f1", [0, 0, 0], [1, 1, 0], 0.0),
    "f1 without a true 1": ("f1", [1, 1, 0], [0, 0, 0], 0.0),
    "f1 without any 1": ("f1", [0, 0], [0, 0], 0.0),
    "f1 of ones only": ("f1", [1, 1], [1, 1], 1.0),
    # class 0: tp 1, fp 1, fn 0: 2/3; class 1: tp 1, fp 0, fn 1: 2/3; class 2: tp 1: 1
    "f1_macro": ("f1_macro", [0, 0, 1, 2], [0, 1, 1, 2], (2 / 3 + 2 / 3 + 1) / 3),
    # class 1 of three occurs nowhere and does not count: class 0 is 1, class 2 is 1
    "f1_macro, a class nowhere": ("f1_macro", [0, 2], [0, 2], 1.0),
    # class 2 is only predicted: 0; class 0 is 1; class 1: tp 1, fn 1: 2/3
    "f1_macro, a class only predicted": ("f1_macro", [0, 1, 2], [0, 1, 1], (1 + 2 / 3 + 0) / 3),
    # class 0: tp 3, fp 1: 6/7; class 1 is never predicted: 0
    "f1_macro, constant predictions": ("f1_macro", [0, 0, 0, 0], [0, 0, 0, 1], 3 / 7),
    "f1_macro, one class": ("f1_macro", [1, 1], [1, 1], 1.0),
    # tp 2, tn 1, fp 1, fn 1: (2*1 - 1*1) / sqrt(3 * 3 * 2 * 2)
    "matthews": ("matthews", [1, 1, 1, 0, 0], [1, 1, 0, 1, 0], 1 / 6),
    "matthews, all wrong": ("matthews", [0, 1, 0], [1, 0, 1], -1.0),
    "matthews, constant predictions": ("matthews", [1, 1, 1], [0, 1, 1], 0.0),
    "matthews, constant references": ("matthews", [0, 1, 1], [1, 1, 1], 0.0),
    "matthews, one class": ("matthews", [1, 1], [1, 1], 0.0),
    # any rising function of the values has rank correlation 1
    "spearman": ("spearman", [1.0, 8.0, 27.0, 64.0], [1, 2, 3, 4], 1.0),
    # ranks 1 2 3 4 against 2 1 3 4: 1 - 6 * (1 + 1) / (4 * 15)
    "spearman by differences": ("spearman", [0.1, 0.2, 0.3, 0.4], [2, 1, 3, 4], 0.8),
    # ranks 1.5 1.5 3 against 1 2 3, about their mean 2: sum of products 1.5, squares 1.5 and 2
    "spearman with a tie": ("spearman", [5, 5, 9], [1, 2, 3], 1.5 / math.sqrt(1.5 * 2)),
    "spearman, constant predictions": ("spearman", [2.5, 2.5, 2.5], [1, 2, 3], 0.0),
    "spearman, constant references": ("spearman", [1, 2, 3], [2.5, 2.5, 2.5], 0.0),
    "spearman, one example": ("spearman", [1.0], [2.0], 0.0),
    "spearman, two examples": ("spearman", [1.0, 2.0], [2.0, 1.0], -1.0),
    # these differ in float64 but not in float32, where they would tie with correlation 0
    "spearman, close values": ("spearman", [1, 1 + 1e-12, 1 + 2e-12], [1, 2, 3], 1.0),
    # about the means: (-1, 0, 1) and (-4/3, -1/3, 5/3): product 3, squares 2 and 14/3
    "pearson": ("pearson", [1, 2, 3], [1, 2, 4], 3 / math.sqrt(2 * 14 / 3)),
    "pearson, falling line": ("pearson", [1.0, 2.0, 3.0], [5.0, 3.0, 1.0], -1.0),
    "pearson, constant predictions": ("pearson", [2.5, 2.5], [1, 2], 0.0),
    "pearson, constant references": ("pearson", [1, 2], [2.5, 2.5], 0.0),
    "pearson, one example": ("pearson", [1.0], [2.0], 0.0),
    # a line again, of numbers whose sum overflows
    "pearson, huge values": ("pearson", [1e308, 0.5e308, 1.5e308], [2, 1, 3], 1.0),
}


@pytest.mark.parametrize("case", HAND)
def test_hand_worked_cases(case):
    metric, predictions, references, expected = HAND[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = metrics.score(metric, predictions, references)
    assert type(result) is float
    assert result == pytest.approx(expected, abs=1e-12)


def f1_of(positive, predictions, references):
    pairs = Counter(
        (p == positive, r == positive) for p, r in zip(predictions, references, strict=True)
    )
    right, wrong = pairs[True, True], pairs[True, False] + pairs[False, True]
    return 2 * right / (2 * right + wrong) if right else 0.0


def pearson_of(a, b):
    a = [x - sum(a) / len(a) for x in a]
    b = [y - sum(b) / len(b) for y in b]
    return sum(x * y for x, y in zip(a, b, strict=True)) / (math.hypot(*a) * math.hypot(*b))


def mean_ranks(values):
    return [sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values]


def mean_f1(predictions, references):
    classes = {*predictions, *references}
    return sum(f1_of(c, predictions, references) for c in classes) / len(classes)


# The textbook definitions. Matthews of two classes is the Pearson correlation of 0/1 columns.
DEFINITIONS = {
    "accuracy": lambda p, r: sum(x == y for x, y in zip(p, r, strict=True)) / len(p),
    "f1": lambda p, r: f1_of(1, p, r),
    "f1_macro": mean_f1,
    "matthews": pearson_of,
    "spearman": lambda p, r: pearson_of(mean_ranks(p), mean_ranks(r)),
    "pearson": pearson_of,
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("metric", DEFINITIONS)
def test_against_the_definition(metric, seed):
    rng = np.random.default_rng(seed)
    if metric in CLASS_METRICS:
        classes = 4 if metric in ("accuracy", "f1_macro") else 2
        predictions, references = rng.integers(0, classes, size=(2, 40)).tolist()
    else:
        references = rng.integers(0, 6, size=40).astype(float).tolist()  # with ties, like STS-B
        predictions = (np.array(references) + rng.normal(size=40)).round(1).tolist()
    expected = DEFINITIONS[metric](predictions, references)
    assert metrics.score(metric, predictions, references) == pytest.approx(expected, abs=1e-12)


def test_every_metric_has_a_definition_here():
    assert set(metrics.METRICS) == set(DEFINITIONS)


def test_matthews_of_three_classes():
    # Gorodkin: (c s - sum p_k t_k) / sqrt((s^2 - sum p_k^2) (s^2 - sum t_k^2)) with s = 6 examples,
    # c = 5 right, predicted counts (2, 1, 3), true counts (2, 2, 2):
    # (30 - 12) / sqrt((36 - 14) (36 - 12))
    predictions, references = [0, 0, 1, 2, 2, 2], [0, 0, 1, 1, 2, 2]
    expected = 18 / math.sqrt(22 * 24)
    assert metrics.score("matthews", predictions, references) == pytest.approx(expected)


@pytest.mark.parametrize("metric", metrics.METRICS)
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([], [], r"predictions must be one number per example, got shape \(0,\)"),
        ([0, 1], [], r"references must be one number per example, got shape \(0,\)"),
        ([[0], [1]], [0, 1], r"predictions must be one number per example, got shape \(2, 1\)"),
        (1, 1, r"predictions must be one number per example, got shape \(\)"),
        ([0, 1, 1], [0, 1], "lengths differ: 3 predictions and 2 references"),
        ([0, math.nan], [0, 1], "the predictions are not finite"),
        ([0, math.inf], [0, 1], "the predictions are not finite"),
        ([0, 1], [0, math.nan], "the references are not finite"),
    ],
)
def test_unusable_inputs(metric, predictions, references, message):
    with pytest.raises(ValueError, match=message):
        metrics.score(metric, predictions, references)


@pytest.mark.parametrize("metric", CLASS_METRICS)
def test_classes_are_whole_numbers(metric):
    with pytest.raises(ValueError, match="the predictions must be classes, which are whole"):
        metrics.score(metric, [0.7, 1.0], [0, 1])
    with pytest.raises(ValueError, match="the references must be classes, which are whole"):
        metrics.score(metric, [0, 1], [0.5, 1.0])
    assert metrics.score(metric, [0.0, 1.0], [0, 1]) == 1.0


@pytest.mark.parametrize("metric", CLASS_METRICS)
@pytest.mark.parametrize("outside", [-1, 2])
def test_classes_outside_the_task(metric, outside):
    with pytest.raises(ValueError, match="the predictions must be classes from 0 to 1"):
        metrics.score(metric, [0, outside], [0, 1], labels=2)
    with pytest.raises(ValueError, match="the references must be classes from 0 to 1"):
        metrics.score(metric, [0, 1], [0, outside], labels=2)


@pytest.mark.parametrize("metric", CLASS_METRICS)
def test_the_number_of_classes_does_not_change_the_result(metric):
    predictions, references = [0, 1, 1, 0], [0, 1, 0, 0]
    expected = metrics.score(metric, predictions, references)
    assert metrics.score(metric, predictions, references, labels=3) == expected


@pytest.mark.parametrize("metric", VALUE_METRICS)
def test_values_have_no_classes(metric):
    with pytest.raises(ValueError, match=f"{metric} compares values, not classes"):
        metrics.score(metric, [0.5, 1.0], [0, 1], labels=2)


def test_f1_refuses_a_third_class():
    with pytest.raises(ValueError, match="f1 is defined for the classes 0 and 1"):
        metrics.score("f1", [0, 1, 2], [0, 1, 1])


def test_an_unknown_metric_lists_the_known_ones():
    with pytest.raises(ValueError, match="unknown metric 'rouge'; choose one of accuracy, f1,"):
        metrics.score("rouge", [1], [1])


@pytest.mark.parametrize("make", [list, tuple, np.array, torch.tensor])
def test_containers_are_interchangeable(make):
    assert metrics.score("accuracy", make([0, 1, 1]), make([0, 1, 0])) == pytest.approx(2 / 3)


def test_nothing_is_written_and_no_network_is_asked(tmp_path):
    # A fresh process, so that no cache directory or import of this one can hide a write.
    code = (
        "import socket\n"
        "def refuse(*args): raise OSError('no network here')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from beft.tasks.metrics.classes import METRICS, score\n"
        "for metric in METRICS: assert score(metric, [0, 1], [0, 1]) > 0.99\n"
    )
    home = {name: str(tmp_path) for name in ("HOME", "HF_HOME", "TMPDIR", "XDG_CACHE_HOME")}
    environment = {**os.environ, **home, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], env=environment, cwd=tmp_path, check=True)
    assert list(tmp_path.rglob("*")) == []


def test_the_random_state_of_the_caller_is_kept():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    metrics.score("accuracy", [1, 0], [1, 1])
    assert np.random.rand() == expected

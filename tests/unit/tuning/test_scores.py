"""Numbers of predictions, beside scikit-learn's and those worked out by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

from beft.tuning.scores import by_class, confusion, of_classes, of_values


def test_classes_beside_scikit_learn():
    draw = np.random.default_rng(0)
    truth, found = draw.integers(0, 4, 60), draw.integers(0, 4, 60)
    matrix = confusion(truth, found, 4)
    assert matrix[1, 2] == ((truth == 1) & (found == 2)).sum()
    precision, recall, _, support = precision_recall_fscore_support(truth, found)
    scores = by_class(matrix, "abcd")
    np.testing.assert_allclose([s.precision for s in scores], precision)
    np.testing.assert_allclose([s.recall for s in scores], recall)
    assert [s.support for s in scores] == support.tolist()
    assert of_classes(matrix) == pytest.approx(
        {"accuracy": (truth == found).mean(), "f1_macro": f1_score(truth, found, average="macro")}
    )


def test_classes_that_do_not_occur():
    """As in scikit-learn, a class that is neither there nor predicted does not count."""
    truth, found = np.array([0, 0, 2]), np.array([0, 2, 2])
    matrix = confusion(truth, found, 4)
    expected = f1_score(truth, found, average="macro")
    assert of_classes(matrix)["f1_macro"] == pytest.approx(expected)
    assert [(s.precision, s.recall, s.support) for s in by_class(matrix, "abcd")] == [
        (1.0, 0.5, 2),
        (0.0, 0.0, 0),
        (0.5, 1.0, 1),
        (0.0, 0.0, 0),
    ]


def test_values():
    found = of_values(np.array([1.0, 2.0, 3.0, 6.0]), np.array([1.0, 3.0, 3.0, 3.0]))
    assert found["mae"] == 1.0
    assert found["rmse"] == pytest.approx(np.sqrt(10 / 4))
    assert found["spearman"] == pytest.approx(np.sqrt(0.6))  # ranks 1 to 4 against 1, 3, 3, 3
    assert of_values(np.array([1.0, 2.0]), np.array([5.0, 5.0]))["pearson"] == 0

"""Metrics as `evaluate.Metric`: the numbers of `score`, in memory, in batches too."""

import pytest

from beft.tasks.metrics.classes import METRICS, score
from beft.tasks.metrics.evaluate_metric import OfflineMetric

PREDICTIONS, REFERENCES = [0, 1, 1, 0, 1], [0, 1, 0, 0, 1]


@pytest.mark.parametrize("name", METRICS)
def test_it_gives_the_number_of_score_and_writes_no_file(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    found = OfflineMetric(name).compute(predictions=PREDICTIONS, references=REFERENCES)
    assert found == {name: score(name, PREDICTIONS, REFERENCES)}
    assert not list(tmp_path.rglob("*.arrow"))


def test_batches_add_up_to_the_whole():
    metric = OfflineMetric("matthews")
    metric.add_batch(predictions=PREDICTIONS[:2], references=REFERENCES[:2])
    metric.add_batch(predictions=PREDICTIONS[2:], references=REFERENCES[2:])
    assert metric.compute() == {"matthews": score("matthews", PREDICTIONS, REFERENCES)}


def test_values_are_not_rounded():
    half = OfflineMetric("spearman").compute(predictions=[0.5, 0.7, 0.6], references=[1, 3, 2])
    assert half == {"spearman": 1.0}


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="unknown metric 'bleu'; choose one of accuracy"):
        OfflineMetric("bleu")

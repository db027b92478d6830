"""What guessing gives on small datasets, and which runs predict the same for every example."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from safetensors.numpy import save_file
from support import small_study

from beft.data.tables import parquet_bytes
from beft.report.frames.guessing import Guesses, is_constant
from beft.store.run_folder import open_run
from beft.study.layout import Layout
from beft.tasks import TABLE

TEXTS = ["sentence", "sentence1", "sentence2", "premise", "choice1", "choice2", "question"]


@pytest.fixture
def rates(tmp_path):
    """Make a function that writes the splits of a task and returns what guessing gives."""
    (recipe,) = small_study.grid()

    def made(task: str, train: list, validation: list, decoder: bool = False, **training) -> dict:
        row = TABLE[task]
        view = {"name": task, **(row.prompt_dict() if decoder else row.to_dict())}
        if decoder:
            view["metric"] = view["metrics"][0]
        own = replace(
            recipe,
            task=view,
            model={**recipe.model, "kind": "decoder" if decoder else "encoder"},
            training={**recipe.training, **training},
        )
        folder = Layout(tmp_path).source(own)
        folder.mkdir(parents=True, exist_ok=True)
        for split, labels in (("train", train), *((s, validation) for s in view["validation"])):
            texts = {name: [f"text {i}" for i in range(len(labels))] for name in TEXTS}
            texts["question"] = ["cause"] * len(labels)
            content = parquet_bytes(pa.table({**texts, "label": labels}))
            (folder / f"{split}.parquet").write_bytes(content)
        return Guesses(Layout(tmp_path)).of(own)

    return made


@pytest.mark.parametrize(
    ("task", "train", "validation", "expected"),
    [
        # the class that is most frequent in training, not that of validation
        ("sst2", [0, 0, 0, 1, 1], [0, 1, 1, 1], {("validation", "accuracy"): 0.25}),
        ("sst2", [0, 1, 1], [0, 1, 1, 1], {("validation", "accuracy"): 0.75}),
        ("sst2", [1, 0], [0, 1, 1, 1], {("validation", "accuracy"): 0.25}),  # the first of two
        ("mrpc", [1, 1, 0], [1, 1, 1, 0], {("validation", "f1"): 6 / 7}),
        ("mrpc", [0, 0, 1], [1, 1, 1, 0], {("validation", "f1"): 0.0}),
        ("cb", [2, 2, 0], [0, 1, 2, 2], {("validation", "f1_macro"): 2 / 3 / 3}),
        ("cola", [1, 1, 0], [1, 0, 1], {("validation", "matthews"): 0.0}),
        ("stsb", [1.0, 2.5], [0.5, 1.0, 4.0], {("validation", "spearman"): 0.0}),
    ],
)
def test_guessing_is_the_most_frequent_class_of_training(rates, task, train, validation, expected):
    assert rates(task, train, validation) == pytest.approx(expected)


def test_every_split_and_every_metric_has_its_own(rates):
    assert rates("mnli", [2, 2, 1], [2, 0, 0, 0]) == {
        ("validation_matched", "accuracy"): 0.25,
        ("validation_mismatched", "accuracy"): 0.25,
    }
    found = rates("mrpc", [1, 1, 0], [1, 1, 1, 0], decoder=True, evaluated="all")
    assert found == pytest.approx({("validation", "f1"): 6 / 7, ("validation", "accuracy"): 0.75})


def test_decoders_are_guessed_on_the_examples_that_they_are_evaluated_on(rates):
    labels = [0] * 30 + [1] * 10
    assert rates("sst2", [0, 0, 1], labels, decoder=True, evaluated="all") == {
        ("validation", "accuracy"): 0.75
    }
    few = rates("sst2", [0, 0, 1], labels, decoder=True, evaluated=3)["validation", "accuracy"]
    assert 3 * few == pytest.approx(round(3 * few))
    assert rates("copa", [1, 1, 0], [1, 0, 1, 1], decoder=True, evaluated="all") == {
        ("validation", "accuracy"): 0.75
    }


def test_answers_in_words_are_not_guessed(rates):
    assert rates("squad", [0], [0], decoder=True, evaluated="all") == {}


def test_a_dataset_that_is_not_here_or_damaged_gives_nothing(rates, tmp_path):
    (recipe,) = small_study.grid()
    assert Guesses(Layout(tmp_path)).of(recipe) == {}
    rates("sst2", [0], [0])
    for path in tmp_path.rglob("*.parquet"):
        path.write_bytes(b"x")
        layout = Layout(tmp_path)
        folder = layout.source(recipe)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / path.name).write_bytes(b"x")
    assert Guesses(Layout(tmp_path)).of(recipe) == {}


@pytest.mark.parametrize(
    ("predictions", "expected"),
    [
        (np.array([1, 1, 1]), True),
        (np.array([1, 1, 0]), False),
        (np.array([0.5, 0.5, 0.5 + 1e-8], np.float32), True),
        (np.array([0.5, 0.5, 0.51], np.float32), False),
        (np.array([-2.5, -2.5], np.float32), True),
        (np.array([[5, 6, -1], [5, 6, -1]]), True),  # generated tokens
        (np.array([[5, 6, -1], [5, 6, 7]]), False),
        (np.array([1]), None),  # one example cannot tell
    ],
)
def test_constant_predictions(tmp_path, predictions, expected):
    (recipe,) = small_study.grid()
    run = open_run(Layout(tmp_path), recipe)
    run.folder.mkdir(parents=True)
    files = {"best/validation": predictions, "last/validation": np.array([1, 0, 1])}
    save_file(files, run.folder / "predictions.safetensors")
    assert is_constant(run, "validation") is expected
    assert is_constant(run, "test") is None


def test_a_run_without_predictions_is_not_judged(tmp_path):
    (recipe,) = small_study.grid()
    assert is_constant(open_run(Layout(tmp_path), recipe), "validation") is None

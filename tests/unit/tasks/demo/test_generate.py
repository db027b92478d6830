"""The demo tasks: size and shape of the data, splits that share nothing, data that stays."""

import hashlib
import json
import subprocess
import sys
from statistics import mean

import pytest
from support.demo_texts import PAIR, generate, texts, words

from beft.errors import UserError
from beft.tasks.demo import generate as demo
from beft.tasks.demo import lexicon as lex

SINGLE = ("sentence",)
# Task, its text columns (those of SST-2, RTE, CoLA, STS-B on the hub), and the labels it may have.
# The similarity's costs are quarters, so its scores are the quarters from 0 to 5.
TASKS = [
    ("demo_sentiment", SINGLE, {0, 1}),
    ("demo_entailment", PAIR, {0, 1}),
    ("demo_acceptability", SINGLE, {0, 1}),
    ("demo_similarity", PAIR, {quarter / 4 for quarter in range(21)}),
]
NAMES = tuple(name for name, _, _ in TASKS)
# The sha256 of each split's JSON, for one DEMO_VERSION. Data that changes under the same version
# would let stored results pass for results of other data: raise the version, then write these.
DIGESTS_OF_VERSION = 1
DIGESTS = {
    "demo_sentiment/train":
        "9c6675e4149366553d68a4ccbb7b45a3af0d6d328ce32f94c1a75d56a57b70ae",
    "demo_sentiment/validation":
        "5cc1febe371cd51a92bee2ca21b2576e3804f371f1e4c3e07a4812838ae758f0",
    "demo_entailment/train":
        "2e8e9dceeae60fba70dfa1f9ab889a7b24aacec63fdbc3e81d5b2d7dce1fe444",
    "demo_entailment/validation":
        "cace23d2a9c8ca2516e22ff7013c517c37650b26dcb9600d015f80f32fb5114e",
    "demo_acceptability/train":
        "ed4813365b0f60123156542225a5393340872b6e7736b055f75bc0a8ca358287",
    "demo_acceptability/validation":
        "6388a439495b159b1e02c27d0b94d6e55f31fe55953622d3e2162c0b9165391d",
    "demo_similarity/train":
        "28ebef136f4c233583fd0c03e0e178b4755cb4418b0b1e2b43a596d986daffb5",
    "demo_similarity/validation":
        "623e285a726b7fe426429e32de8ab92ef2a526c900d39ee076ae92072cdc0d6a",
}  # fmt: skip


@pytest.mark.parametrize(("name", "columns", "labels"), TASKS)
@pytest.mark.parametrize(("split", "rows"), [("train", 4000), ("validation", 200)])
def test_layout_is_that_of_the_real_sister(name, columns, labels, split, rows):
    data = generate(name, split)
    assert list(data) == [*columns, "label", "idx"]
    assert {len(values) for values in data.values()} == {rows}
    assert data["idx"] == list(range(rows))
    assert set(data["label"]) <= labels
    assert {type(label) for label in data["label"]} == {float if len(labels) > 2 else int}
    assert all(
        text == text.strip() and "  " not in text for row in texts(name, split) for text in row
    )


def test_names_are_those_of_all_tasks():
    # What only decoders read is tested in test_demo_prompts.py.
    assert (*NAMES, "demo_choice", "demo_answer") == demo.NAMES


@pytest.mark.parametrize("name", NAMES)
def test_splits_repeat_nothing_and_share_nothing(name):
    train, validation = texts(name, "train"), texts(name, "validation")
    assert len(set(train)) == len(train)
    assert len(set(validation)) == len(validation)
    # Stronger than no shared pair, either way round: no shared sentence at all.
    assert not {text for row in train for text in row} & {
        text for row in validation for text in row
    }


def test_validation_combines_words_anew():
    # What is said of a part in validation is never said of it in train.
    def combinations(split):
        adjectives = set(lex.POSITIVE + lex.NEGATIVE)
        parts = {part for known in lex.REVIEWED.values() for part in known}
        for (text,) in texts("demo_sentiment", split):
            for clause in text.split(", but "):
                yield (
                    next(word for word in words(clause) if word in parts),
                    next(word for word in words(clause) if word in adjectives),
                )

    assert not set(combinations("train")) & set(combinations("validation"))


@pytest.mark.parametrize("name", NAMES)
def test_sentences_are_short(name):
    # Speed of the demo grows with length; a real sentence has more than a few words.
    assert 7.5 <= mean(len(t.split()) for row in texts(name, "train") for t in row) <= 12


def test_vocabulary_has_several_hundred_words():
    said = {w for name in NAMES for row in texts(name, "train") for t in row for w in words(t)}
    assert len(said) >= 400


@pytest.mark.parametrize(
    ("name", "share_of_ones"),
    [("demo_sentiment", 0.5), ("demo_entailment", 0.5), ("demo_acceptability", 0.6)],
)
@pytest.mark.parametrize("split", demo.ROWS)
def test_labels_keep_their_proportion(name, share_of_ones, split):
    assert mean(generate(name, split)["label"]) == pytest.approx(share_of_ones, abs=0.015)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("demo_sentimant", "train"), demo.NAMES),
        (("demo_sentiment", "test"), ("train", "validation")),
    ],
)
def test_unknown_names_are_errors_that_list_the_valid_ones(args, expected):
    with pytest.raises(UserError) as caught:
        demo.generate(*args)
    assert all(name in str(caught.value) for name in expected)
    assert "\n" not in str(caught.value)


def digest(data):
    return hashlib.sha256(json.dumps(data).encode()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("split", demo.ROWS)
def test_data_changes_only_with_its_version(name, split):
    assert demo.DEMO_VERSION == DIGESTS_OF_VERSION
    assert digest(generate(name, split)) == DIGESTS[f"{name}/{split}"]


def test_another_process_writes_the_same():
    # Another hash seed: nothing may hang on the order of a set or on hash().
    code = (
        "import json; from beft.tasks.demo import generate as demo;"
        "print(json.dumps(demo.generate('demo_entailment', 'validation')))"
    )
    env = {"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == generate("demo_entailment", "validation")

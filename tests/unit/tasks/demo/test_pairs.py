"""The demo grammars of pairs: labels follow from both sentences, shortcuts tell little."""

import re

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from support.demo_texts import PAIR, bag_of_words, generate, texts, words

from beft.tasks.demo import generate as demo


@pytest.mark.parametrize("column", PAIR)
def test_entailment_is_not_in_one_sentence(column):
    # Chance is 0.5; with 200 rows, 0.61 is three standard errors above it.
    assert bag_of_words("demo_entailment", column) < 0.61


def test_entailment_is_hardly_in_shared_words():
    def counts(split):
        bags = [[set(words(text)) for text in row] for row in texts("demo_entailment", split)]
        return np.array([[len(a & b), len(a - b), len(b - a)] for a, b in bags])

    labels = {split: generate("demo_entailment", split)["label"] for split in demo.ROWS}
    model = LogisticRegression().fit(counts("train"), labels["train"])
    assert model.score(counts("validation"), labels["validation"]) < 0.6


def test_entailment_by_quantity():
    # all > most > some by strength, `none` apart; read from the text, not from the grammar.
    ranks = {"all": 3, "most": 2, "some": 1}
    data = generate("demo_entailment", "train")
    seen = 0
    for told, claim, label in zip(data["sentence1"], data["sentence2"], data["label"], strict=True):
        first, second = words(told)[0], words(claim)[0]
        if words(told)[1:3] != ["of", "the"]:
            continue
        seen += 1
        apart = "none" in (first, second)
        follows = first == second if apart else ranks[first] >= ranks[second]
        assert label == int(not follows), (told, claim)
    assert seen > 100


def test_entailment_by_roles_and_negation():
    # "The A helped the B" entails "The B was helped by the A", not the same with A and B swapped;
    # a statement and its denial never entail one another.
    data = generate("demo_entailment", "train")
    roles = negations = 0
    for told, claim, label in zip(data["sentence1"], data["sentence2"], data["label"], strict=True):
        if passive := re.fullmatch(r"The (\w+) was \w+ by the (\w+)\.", claim):
            roles += 1
            done, doer = passive.groups()
            assert label == int(not re.match(rf"The {doer} \w+ the {done} ", told))
        elif told.startswith("The "):
            negations += 1
            assert label == int((" never " in told) != (" did not " in claim))
    assert roles > 50
    assert negations > 100


def test_similarity_is_graded_and_more_than_shared_words():
    data = generate("demo_similarity", "validation")
    assert len(set(data["label"])) > 12
    bags = [[set(words(text)) for text in row] for row in texts("demo_similarity", "validation")]
    jaccard = [len(a & b) / len(a | b) for a, b in bags]
    # Shared words tell something, as in real pairs, but far from all.
    assert 0.2 < spearmanr(jaccard, data["label"])[0] < 0.6


def test_similarity_of_other_tellings():
    # 5 is for the same event, told actively or passively: all nouns and the scene are shared (the
    # verb may change its form). 0 is for events that share not one word beside the grammar's.
    grammar = {"a", "an", "was", "by", "the", "in", "on", "near", "under"}
    data = generate("demo_similarity", "train")
    for first, second, score in zip(
        data["sentence1"], data["sentence2"], data["label"], strict=True
    ):
        one, two = ({*words(text)} - grammar for text in (first, second))
        if score == 5.0:
            assert len(one ^ two) in (0, 2), (first, second)
        if score == 0.0:
            assert not one & two, (first, second)

"""The single-sentence demo grammars: labels follow from the sentence and not from single words."""

import re
from statistics import mean

import pytest
from support.demo_texts import bag_of_words, generate, texts, words

from beft.tasks.demo import generate as demo
from beft.tasks.demo import lexicon as lex


def read_sentiment(text):
    """The label by the rules: the clause after `but` decides, denial and a verdict turn it."""
    if " that the " in text:
        claim, verdict = text.split(" that ", 1)[1].rsplit(", ", 1)
        return read_sentiment(claim) ^ bool(re.search("false|lie|wrong|disagree", verdict))
    clause = text.split(", but ")[-1]
    praise = bool(set(words(clause)) & set(lex.POSITIVE))
    denied = re.search(r"\b(not|never|hardly|far from|anything but|by no means)\b", clause)
    return praise ^ bool(denied)


@pytest.mark.parametrize("split", demo.ROWS)
def test_sentiment_follows_from_the_sentence(split):
    read = [int(read_sentiment(text)) for (text,) in texts("demo_sentiment", split)]
    assert read == generate("demo_sentiment", split)["label"]


def test_sentiment_is_not_in_single_words():
    # The rules above reach 1.0. Words without order get 0.54: each adjective serves both labels.
    assert bag_of_words("demo_sentiment", "sentence") < 0.6
    data = generate("demo_sentiment", "train")
    bags = [set(words(text)) for text in data["sentence"]]
    for adjective in lex.POSITIVE + lex.NEGATIVE:
        with_it = [
            label for bag, label in zip(bags, data["label"], strict=True) if adjective in bag
        ]
        assert 1 / 3 < mean(with_it) < 2 / 3, adjective


def test_acceptability_of_reflexives_and_agreement():
    # Read from the finished sentence: an acceptable one has is/are and himself/herself/themselves
    # that fit the determiner; these determiners have one number only.
    one, many = (
        {"this", "that", "every", "each", "one"},
        {"these", "those", "many", "several", "both"},
    )
    for (text,), label in zip(
        texts("demo_acceptability", "train"),
        generate("demo_acceptability", "train")["label"],
        strict=True,
    ):
        said = words(text)
        if not label or said[0] not in one | many:
            continue
        wrong = {"are", "themselves"} if said[0] in one else {"is", "himself", "herself"}
        assert not wrong & set(said), text


def test_acceptability_is_not_in_single_words():
    # Always answering "acceptable" gets 0.6.
    assert bag_of_words("demo_acceptability", "sentence") < 0.65

"""Reading the demo tasks in tests: their sentences, their words, and what word counts can learn."""

import re
from functools import cache

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from beft.tasks import demo

PAIR = ("sentence1", "sentence2")
generate = cache(demo.generate)


def texts(name, split):
    """One tuple of sentences per row."""
    data = generate(name, split)
    return list(zip(*(data[c] for c in data if c.startswith("sentence")), strict=True))


def words(sentence):
    return re.findall(r"[a-z]+", sentence.lower())


def bag_of_words(name, column):
    """Validation accuracy of a unigram logistic regression that sees one column."""
    train, validation = generate(name, "train"), generate(name, "validation")
    bags = CountVectorizer(token_pattern=r"[A-Za-z]+")
    model = LogisticRegression(max_iter=1000)
    model.fit(bags.fit_transform(train[column]), train["label"])
    return model.score(bags.transform(validation[column]), validation["label"])

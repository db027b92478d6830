"""Reading the demo tasks in tests: their sentences, their words, and what word counts can learn."""

import re
from collections.abc import Sequence
from functools import cache

from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from beft.tasks.demo import generate as demo

PAIR = ("sentence1", "sentence2")
generate = cache(demo.generate)


def texts(name, split):
    """One tuple of texts per row."""
    data = generate(name, split)
    return list(zip(*(data[c] for c in demo.GRAMMARS[name].columns), strict=True))


def words(sentence):
    return re.findall(r"[a-z]+", sentence.lower())


def bag_of_words(name, *columns):
    """Validation accuracy of a unigram logistic regression that sees these columns, kept apart."""
    train, validation = generate(name, "train"), generate(name, "validation")
    return bag_accuracy(
        [_marked(train, columns), _marked(validation, columns)],
        [train["label"], validation["label"]],
    )


def bag_accuracy(texts: Sequence[list[str]], labels: Sequence[list[int]]) -> float:
    """The same for texts and labels of (train, validation)."""
    bags = CountVectorizer(token_pattern=r"\w+")
    model = LogisticRegression(max_iter=1000)
    model.fit(bags.fit_transform(texts[0]), labels[0])
    return model.score(bags.transform(texts[1]), labels[1])


def _marked(data, columns):
    """Each row's words, marked with the number of their column."""
    rows = zip(*(data[column] for column in columns), strict=True)
    return [" ".join(f"{w}_{i}" for i, text in enumerate(row) for w in words(text)) for row in rows]

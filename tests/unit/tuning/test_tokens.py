"""Prompts of one's own as tokens: what fits, what is cut, and answers that are the same."""

import numpy as np
import pytest
from support import tiny

from beft.errors import UserError
from beft.study.params import Prompt
from beft.tuning.base_model import NamedModel
from beft.tuning.examples import Examples, Meaning
from beft.tuning.tokens import prompted, reading

PROMPT = Prompt(template="{text} It was", passage="text", answers=["bad", "good"])
MEANING = Meaning(("text",), "label", ("bad", "good"), prompt=PROMPT)
TWO = Meaning(
    ("text", "more"),
    "label",
    ("bad", "good"),
    prompt=Prompt(template="{more} {text} It was", passage="text", answers=["bad", "good"]),
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tiny.decoder_checkpoint("opt", tmp_path_factory.mktemp("m") / "opt")
    return NamedModel(folder)


def examples(*texts: tuple[str, ...]) -> Examples:
    each = np.arange(len(texts))
    return Examples(texts, each % 2, ("bad", "good"), each, each)


def test_lengths_are_those_of_prompts_with_answers(base):
    found = reading(base, examples(("the film",), ("the dog",)), MEANING, "a.csv")
    assert found.max_length == 16 and not found.cut.any()
    one = len(tiny.decoder_tokenizer()("the film It was bad")["input_ids"])
    assert found.computed.tolist() == [one + 1, one + 1]  # each answer is one token


def test_a_long_text_loses_its_beginning(base):
    text = "the dog " * 600 + "cat"
    found = reading(base, examples(("the film",), (text,)), MEANING, "a.csv")
    assert found.max_length == 512 and found.cut.tolist() == [False, True]
    data, cut = prompted(tiny.decoder_tokenizer(), MEANING, [("the film",), (text,)], 512)
    assert cut.tolist() == [False, True] and len(data.prompts[1]) == 511
    assert data.decode(data.prompts[1]).endswith("the dog cat It was")


def test_other_texts_that_are_too_long(base):
    long = "the dog " * 600
    with pytest.raises(UserError, match="a.csv: row 1: its prompt has more than 512 tokens"):
        reading(base, examples(("a", "b"), ("a", long)), TWO, "a.csv")
    data, cut = prompted(tiny.decoder_tokenizer(), TWO, [("the cat", long)], 64)
    assert cut.all() and len(data.prompts[0]) < 64
    assert data.decode(data.prompts[0]).endswith("It was")


def test_answers_of_the_same_tokens_are_refused(tmp_path):
    """To a tokenizer of whole words, words that it does not know are one."""
    folder = tiny.decoder_checkpoint("opt", tmp_path / "opt")
    prompt = Prompt(template="{text} It was", passage="text", answers=["xx xx", "xx  xx"])
    meaning = Meaning(("text",), "label", ("one", "two"), prompt=prompt)
    with pytest.raises(UserError, match="answers 'xx xx' and 'xx xx' are the same tokens"):
        reading(NamedModel(folder), examples(("a",), ("b",)), meaning, "a.csv")

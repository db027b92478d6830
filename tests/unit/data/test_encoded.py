"""Examples as tokens: the least length that leaves room for words, and their weights."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.utils.class_weight import compute_sample_weight
from support import tiny

from beft.data.encoded import Encoded, check_length, encode
from beft.errors import UserError

TABLE = pa.table({"a": ["a good film"], "b": ["a bad film"], "label": [1]})


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


# [CLS] and [SEP] around one text; another [SEP] after the second one
@pytest.mark.parametrize(("text", "least"), [(["a"], 3), (["a", "b"], 5), (["{a} {b}"], 3)])
def test_special_tokens_and_one_token_of_each_text_must_fit(tokenizer, text, least):
    task = {"name": "mine", "text": text, "label": "label", "labels": ["no", "yes"]}
    found = encode(TABLE, task, tokenizer, least)
    assert [len(ids) for ids in found.ids] == [least]
    assert set(found.ids[0]) - set(tokenizer.all_special_ids)
    for length in range(1, least):
        with pytest.raises(UserError, match=rf"tasks.mine: max_length {length} .* {least} or more"):
            encode(TABLE, task, tokenizer, length)


def test_a_tokenizer_without_special_tokens_needs_one_token():
    check_length({"name": "mine", "text": ["a"]}, tiny.decoder_tokenizer(bos=False), 1)


@pytest.mark.parametrize("labels", [[0, 1, 0, 0, 2, 0], [1, 1, 0], [2, 0, 0, 0], [1, 1]])
def test_balanced_weights_are_scikit_learns(labels):
    """Of the classes that are there, some of which the task may have beside others."""
    data = Encoded([[2, 3]] * len(labels), None, torch.tensor(labels))
    found = data.balanced()
    expected = compute_sample_weight("balanced", labels)
    np.testing.assert_allclose(found.weights, expected, rtol=1e-6)
    assert found.weights.sum().item() == pytest.approx(len(labels), rel=1e-6)
    assert data.weights is None
    taken = found.take(np.array([len(labels) - 1, 0]))
    np.testing.assert_allclose(taken.weights, [expected[-1], expected[0]], rtol=1e-6)

"""Examples as tokens: the least length that leaves room for words."""

import pyarrow as pa
import pytest
from support import tiny

from beft.data.encoded import check_length, encode
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

"""A prompt or an example without any token is refused with its row."""

import pyarrow as pa
import pytest
from support import tiny

from beft.data.encoded import encode
from beft.data.prompts import encode_prompts
from beft.errors import UserError
from beft.tasks.words import Words


def words(passage: str, after: str = "") -> Words:
    return Words("", passage, after, (" yes", " no"), (0,))


def test_an_empty_prompt_needs_a_token_before_texts():
    (prompt,) = encode_prompts([words("")], tiny.decoder_tokenizer(bos=True), 16).prompts
    assert len(prompt) == 1
    with pytest.raises(UserError, match="mine/train: row 7: its prompt has no token"):
        encode_prompts(
            [words("It"), words("")], tiny.decoder_tokenizer(bos=False), 16,
            where="mine/train", rows=[3, 7],
        )  # fmt: skip


def test_a_prompt_of_which_nothing_fits_is_refused():
    with pytest.raises(UserError, match="row 0: its prompt has no token"):
        encode_prompts([words("It It It")], tiny.decoder_tokenizer(bos=False), 1)


def test_a_last_line_without_any_token_is_relative_to_some_token():
    tokenizer = tiny.decoder_tokenizer(bos=False)
    assert encode_prompts([words("It")], tokenizer, 16).bare == [[tokenizer.eos_token_id]]
    tokenizer.eos_token = None
    made = encode_prompts([words("It")], tokenizer, 16)
    assert made.bare == [made.prompts[0][-1:]] != [[]]


def test_an_encoders_empty_example_needs_a_token_as_well():
    task = {"name": "mine", "text": ["sentence"], "label": "label", "labels": ["a", "b"]}
    table = pa.table({"sentence": ["It", ""], "label": [0, 1]})
    assert encode(table, task, tiny.tokenizer(), 16).ids[1] != []
    with pytest.raises(UserError, match="mine: row 9: its text is empty"):
        encode(table, task, tiny.decoder_tokenizer(bos=False), 16, rows=[4, 9])
    with pytest.raises(UserError, match="mine: its files have no column 'sentence' that fits"):
        encode(table.drop_columns("sentence"), task, tiny.tokenizer(), 16)

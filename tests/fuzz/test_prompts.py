"""Whatever a prompt and its file hold, a decoder is asked by it, or one line says why not."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import fuzzed

from beft.errors import UserError
from beft.tuning.examples import Examples, Meaning
from beft.tuning.files import from_frame
from beft.tuning.look import examples
from beft.tuning.prompt import asked, words_of
from beft.tuning.wish import Wish

NAMES = ("text", "label", "a b", "{", "}", "x", "wörd", "text ")
PIECES = st.sampled_from(
    [*(f"{{{name}}}" for name in NAMES), "It was", " ", "\n", "{", "}", "{{", "{}", ":", "\0", "é"]
)
PROMPTS = st.none() | st.lists(PIECES, max_size=6).map("".join)
VALUES = st.sampled_from(["good", "bad", "", " ", "1", "2", "so it was", "{text}", "true", None])


@fuzzed
@given(
    st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True),
    st.lists(st.lists(VALUES, min_size=4, max_size=4), min_size=1, max_size=3),
    PROMPTS,
    st.none() | st.sampled_from(NAMES),
    st.none() | st.sampled_from(NAMES),
)
def test_prompts(names, rows, prompt, text, label):
    columns = {name: [row[i] for row in rows for _ in range(9)] for i, name in enumerate(names)}
    try:
        data = from_frame(columns, "a.csv")
        found = asked(data, Wish("m", text=(text,) if text else (), label=label, prompt=prompt))
        every, _ = examples(data, found.columns)
        made = found.prompt(every)
    except UserError as error:
        first = str(error).partition("\n")[0]
        assert first and (str(error) == first or "which column holds" in first)
        return
    assert len(made.answers) == len(found.columns.classes) > 1
    assert found.columns.label not in found.columns.texts
    assert isinstance(every, Examples) and every.labels.dtype == np.int64
    meaning = Meaning(found.columns.texts, found.columns.label, found.columns.classes, prompt=made)
    for texts in every.texts[:2]:
        words = words_of(made, meaning.texts, texts)
        assert words.passage in texts or words.passage.strip() in [t.strip() for t in texts]

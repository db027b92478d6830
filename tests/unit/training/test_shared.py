"""What is read of a split: whether answers of DROP may be run together."""

from types import SimpleNamespace

import pyarrow as pa

from beft.tasks import TABLE
from beft.tasks.metrics.answers import score_words
from beft.training.shared import _words


def test_one_person_answered_a_training_row():
    """Half an answer is half right, where validation rows might hold two answers."""
    row = {
        "passage": "",
        "question": "",
        "answers_spans": {"spans": ["a1", "b2"], "types": ["span"] * 2},
    }
    recipe = SimpleNamespace(task={"name": "drop", **TABLE["drop"].prompt_dict()})
    found = {}
    for split in ("train", "validation"):
        words = _words(recipe, pa.Table.from_pylist([row]), split)
        assert words[0].answers == (" a1, b2",)
        found[split] = [score_words(f"drop_f1{end}", ["a1"], words) for end in ("", "_least")]
    assert found == {"train": [0.5, 0.5], "validation": [1, 0.5]}

"""Whatever the rows of a dataset are, their counts are those of a comparison of every two."""

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import fuzzed

from beft.store import data_checks

SOURCE = {"text": ["a", "b"], "label": "label", "splits": ["train", "validation"]}
TEXT = st.sampled_from(["", " ", "x", "X", "x ", "y", "\u00e9", "e\u0301", "\x00"]) | st.text()
ROWS = st.lists(st.tuples(TEXT, TEXT, st.integers(0, 2)), min_size=1, max_size=8)


def table(rows: list[tuple]) -> pa.Table:
    first, second, labels = zip(*rows, strict=True)
    return pa.table({"a": first, "b": second, "label": labels})


@fuzzed
@given(train=ROWS, validation=ROWS, named=st.booleans())
def test_counts_are_those_of_every_two_rows(train, validation, named):
    names = ["no", "yes", "maybe"] if named else []
    splits, source = {"train": train, "validation": validation}, SOURCE | {"labels": names}
    inputs = {split: data_checks.read(table(rows), source) for split, rows in splits.items()}
    found = data_checks.find(inputs, source)
    for split, rows in splits.items():
        keys = [tuple(map(data_checks.folded, row[:2])) for row in rows]
        labels = {row[2] for row in rows}
        expected = {
            "empty": sum("" in key for key in keys),
            "duplicates": sum(key in keys[:i] for i, key in enumerate(keys)),
            "contradictory": sum(
                any(k == key and r[2] != row[2] for k, r in zip(keys, rows, strict=True))
                for key, row in zip(keys, rows, strict=True)
            ),
        }
        if split == "validation":
            known = [tuple(map(data_checks.folded, row[:2])) for row in train]
            expected["in_train"] = sum(key in known for key in keys)
        odd = found[split]
        assert {name: odd.get(name, 0) for name in expected} == expected
        assert ("only" in odd) is (len(labels) == 1)
        absent = [name for i, name in enumerate(names) if i not in labels]
        assert odd.get("absent", []) == (absent if len(labels) > 1 else [])

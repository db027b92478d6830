"""Count what is odd about a labelled dataset: empty, repeated and contradictory rows, overlap.

The counts stand in `source.json`, under `checks`. They are no part of a dataset's identity, since
they follow from its rows.
"""

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beft.errors import one_line
from beft.store.files import recall_json
from beft.store.inputs import SOURCE, source_flaw
from beft.tasks.words import Plain

Found = dict[str, Plain]  # split -> what is odd about it
# What a split can hold, and the words for it.
_COUNTS = {
    "empty": "rows with an empty text",
    "duplicates": "rows that repeat the texts of an earlier one",
    "contradictory": "rows whose texts stand under several labels",
    "in_train": "rows whose texts are in the training split, too",
}
_NAMES = {"absent": "labels that no row has", "only": "the only label"}


@dataclass(frozen=True)
class Inputs:
    """What a split's rows hold; rows of equal texts (`folded`) have equal keys."""

    keys: list[bytes]
    empty: int  # rows of which a text is empty
    labels: list[float] | None  # classes or values; None for a task without labels


def read(table: pa.Table, source: Plain) -> Inputs:
    """The inputs of a normalised split.

    Args:
        source: the identity of its dataset (`grid.task_source`), which names its columns.
    """
    names = [n for n in source["text"] if n in table.column_names and _is_text(table[n].type)]
    columns = [[folded(text or "") for text in table[name].to_pylist()] for name in names]
    rows = list(zip(*columns, strict=True)) if columns else []
    keys = [hashlib.blake2b("\n".join(row).encode(), digest_size=16).digest() for row in rows]
    labels = table[source["label"]].to_pylist() if source["label"] else None
    return Inputs(keys, sum(not all(row) for row in rows), labels)


def folded(text: str) -> str:
    """A text without differences in capitals, blanks and Unicode forms."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def find(inputs: Mapping[str, Inputs], source: Plain) -> Found:
    """What is odd about each split; a split that is in order has an empty entry.

    Returns:
        split -> those of `_COUNTS` that are not 0, `absent` (names of `labels:` that no row has)
        and `only` (the label that all its rows have).
    """
    train, *others = dict.fromkeys(source["splits"])
    known = set(inputs[train].keys)
    found = {train: _of_split(inputs[train], source["labels"])}
    for split in others:
        found[split] = _of_split(inputs[split], source["labels"])
        if shared := sum(key in known for key in inputs[split].keys):
            found[split]["in_train"] = shared
    return found


def _of_split(inputs: Inputs, names: Sequence[str]) -> Plain:
    counts = {"empty": inputs.empty, "duplicates": len(inputs.keys) - len(set(inputs.keys))}
    odd: Plain = {}
    if inputs.labels is not None:
        counts["contradictory"] = _contradictory(inputs.keys, inputs.labels)
        there = set(inputs.labels)
        if len(there) == 1:
            (only,) = there
            odd["only"] = names[int(only)] if names else str(only)
        elif absent := [name for number, name in enumerate(names) if number not in there]:
            odd["absent"] = absent
    return {name: count for name, count in counts.items() if count} | odd


def _contradictory(keys: Sequence[bytes], labels: Sequence[float]) -> int:
    first: dict[bytes, float] = {}
    both = {
        k for k, label in zip(keys, labels, strict=False) if first.setdefault(k, label) != label
    }
    return sum(key in both for key in keys)


def checks_of(folder: Path) -> Found:
    """What is odd about a dataset that lies in its folder, undamaged.

    It is counted here if an earlier version made the folder, which did not count it.
    """
    written = recall_json(folder / SOURCE)
    if "checks" in written:
        return dict(written["checks"])
    source = written["source"]
    splits = dict.fromkeys(source["splits"])
    tables = {split: pq.read_table(folder / f"{split}.parquet") for split in splits}
    return find({split: read(table, source) for split, table in tables.items()}, source)


def told(folder: Path) -> str:
    """The same in one line; empty where nothing is odd, or no sound dataset is there."""
    if source_flaw(folder) is not None:
        return ""
    rows = {split: each["rows"] for split, each in recall_json(folder / SOURCE)["read"].items()}
    parts = [
        f"{split} ({rows[split]} row{'s' * (rows[split] != 1)}): {', '.join(_words(odd))}"
        for split, odd in checks_of(folder).items()
        if odd
    ]
    return "; ".join(parts)


def _words(odd: Plain) -> list[str]:
    counts = [f"{words}: {odd[name]}" for name, words in _COUNTS.items() if name in odd]
    names = {name: odd[name] for name in _NAMES if name in odd}
    return counts + [
        f"{_NAMES[name]}: {one_line(value if isinstance(value, str) else ', '.join(value), 200)}"
        for name, value in names.items()
    ]

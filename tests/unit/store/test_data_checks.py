"""What is odd about the rows of a dataset, counted from small tables."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beft.store import data_checks
from beft.store.files import read_json, remove, to_json, write_folder
from beft.store.inputs import source_flaw
from beft.study.identity import digest

SOURCE = {"text": ["a", "b"], "label": "label", "labels": ["no", "yes", "maybe"]}
SOURCE |= {"splits": ["train", "validation"], "version": 2}
FINE = [("one", "1", 0), ("two", "2", 1), ("three", "3", 2)]
OTHER = [("four", "4", 0), ("five", "5", 1), ("six", "6", 2)]


def table(rows: list[tuple]) -> pa.Table:
    first, second, labels = zip(*rows, strict=True)
    return pa.table({"a": first, "b": second, "label": labels, "idx": range(len(rows))})


def found(train: list[tuple] = FINE, validation: list[tuple] = OTHER, **changes) -> dict:
    source = SOURCE | changes
    tables = {"train": table(train), "validation": table(validation)}
    return data_checks.find({s: data_checks.read(t, source) for s, t in tables.items()}, source)


def test_rows_in_order_have_nothing_odd():
    assert found() == {"train": {}, "validation": {}}


@pytest.mark.parametrize(
    ("rows", "odd"),
    [
        ([*FINE, ("", "x", 0)], {"empty": 1}),
        ([*FINE, (" \n", "x", 0), ("x", "", 0)], {"empty": 2}),
        ([*FINE, ("ONE", " 1 ", 0)], {"duplicates": 1}),
        ([*FINE, ("o ne", "1", 0), ("on", "e1", 0)], {}),
        ([*FINE, ("one", "2", 0)], {}),  # one of the two texts differs
        ([*FINE, ("one", "1", 0), ("one", "1", 0)], {"duplicates": 2}),
        ([*FINE, ("One", "1", 1)], {"duplicates": 1, "contradictory": 2}),
        ([*FINE, ("one", "1", 1), ("one", "1", 1)], {"duplicates": 2, "contradictory": 3}),
        (FINE[:2], {"absent": ["maybe"]}),
        (FINE[1:2] * 2, {"duplicates": 1, "only": "yes"}),
        ([("straße", "1", 0), ("STRASSE", "1", 0), *FINE], {"duplicates": 1}),
        ([("caf\u00e9", "1", 0), ("cafe\u0301", "1", 0), *FINE], {"duplicates": 1}),
    ],
)
def test_each_split_is_counted(rows, odd):
    assert found(train=rows)["train"] == odd
    validation = found(validation=rows, train=OTHER)["validation"]
    assert validation == odd


def test_rows_of_validation_that_are_in_train_are_counted_whatever_their_label():
    assert found(validation=[*OTHER, ("ONE ", "1", 2), ("two", "2", 1)]) == {
        "train": {},
        "validation": {"in_train": 2},
    }


def test_values_contradict_each_other_too_and_have_no_classes():
    rows = [("x", "1", 0.5), ("x", "1", 0.5), ("x", "1", 0.25), ("y", "1", 0.5)]
    assert found(train=rows, labels=[])["train"] == {"duplicates": 2, "contradictory": 3}
    assert found(train=[("x", "1", 0.5), ("y", "1", 0.5)], labels=[])["train"] == {"only": "0.5"}


def test_only_texts_that_the_task_reads_are_compared():
    """A number that tells rows apart, such as the one of a question, does not."""
    rows = [*FINE, ("one", "1", 0)]
    assert found(train=rows, text=["a", "b", "idx"])["train"] == {"duplicates": 1}
    assert found(train=[*FINE, ("one", "9", 0)], text=["a"])["train"] == {"duplicates": 1}
    assert found(train=rows, text=["answers.text"])["train"] == {}


def test_a_task_without_labels_has_no_classes():
    assert found(train=FINE[:1] * 2, label="")["train"] == {"duplicates": 1}


@pytest.fixture
def folder(tmp_path):
    """A dataset as an earlier version made it, which counted nothing."""
    splits = {"train": [*FINE, ("one", "1", 1)], "validation": FINE}
    paths = {split: tmp_path / f"{split}.parquet" for split in splits}
    for split, rows in splits.items():
        pq.write_table(table(rows), paths[split])
    read = {split: {"rows": len(rows), "sha256": "0"} for split, rows in splits.items()}
    source = {"task": "mine", "source": SOURCE, "read": read}
    made = tmp_path / "mine" / digest(SOURCE)
    files = {path.name: path.read_bytes() for path in paths.values()}
    write_folder(made, files | {"source.json": to_json(source)})
    return made


def test_a_dataset_of_an_earlier_version_is_counted_and_stays_as_it_is(folder):
    before = (folder / "source.json").read_bytes()
    assert data_checks.checks_of(folder) == {
        "train": {"duplicates": 1, "contradictory": 2},
        "validation": {"in_train": 3},
    }
    assert (folder / "source.json").read_bytes() == before and "checks" not in read_json(
        folder / "source.json"
    )


def test_one_line_tells_everything(folder):
    assert data_checks.told(folder) == (
        "train (4 rows): rows that repeat the texts of an earlier one: 1, rows whose texts stand "
        "under several labels: 2; validation (3 rows): rows whose texts are in the training split, "
        "too: 3"
    )


def test_a_dataset_that_is_damaged_or_not_there_says_nothing(folder, tmp_path):
    (folder / "train.parquet").write_bytes(b"x")
    assert data_checks.told(folder) == data_checks.told(tmp_path / "gone") == ""


@pytest.mark.parametrize("checks", [None, [], {"train": {}}, {"train": 1, "validation": {}}])
def test_counts_that_are_none_are_damage_of_the_dataset(folder, checks):
    said = {**read_json(folder / "source.json"), "checks": checks}
    files = {path.name: path.read_bytes() for path in folder.glob("*.parquet")}
    remove(folder)
    write_folder(folder, files | {"source.json": to_json(said)})
    assert source_flaw(folder) == "source.json is damaged" and data_checks.told(folder) == ""

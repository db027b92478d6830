"""A dataset becomes the same normalised tables, whatever files it is read from."""

import hashlib

import pyarrow.parquet as pq
import pytest
from support.local_files import ROWS, local_task, write_local

from beft.data import sources
from beft.data.tables import parquet_bytes
from beft.errors import UserError
from beft.store import data_checks
from beft.store.files import flaw, read_json, remove, to_json, write_folder
from beft.store.inputs import source_flaw, split_checksums
from beft.study import params as P
from beft.study.grid import task_source
from beft.study.resolve import resolve_task
from beft.tasks.prompts import words_of


def test_the_same_rows_give_the_same_source_whatever_the_format(tmp_path):
    made = {}
    for suffix in ("csv", "jsonl", "parquet"):
        write_local(tmp_path / suffix / "mine", suffix)
        folder = sources.fetch_task(tmp_path / suffix, "mine", local_task("mine"))
        made[suffix] = (folder / "train.parquet").read_bytes()
        read = pq.read_table(folder / "train.parquet")
        assert list(zip(*read.to_pydict().values(), strict=True)) == ROWS
    assert made["csv"] == made["jsonl"] == made["parquet"]


def test_csv_text_that_looks_like_numbers_is_text(tmp_path):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text("sentence,label\n007,1\ntrue,0\n")
    folder = sources.fetch_task(tmp_path, "mine", local_task("."))
    assert pq.read_table(folder / "train.parquet")["sentence"].to_pylist() == ["007", "true"]


def test_a_source_says_where_it_came_from_and_is_made_once(tmp_path):
    write_local(tmp_path / "mine", "csv")
    task = local_task("mine")
    folder = sources.fetch_task(tmp_path, "mine", task)
    said = read_json(folder / "source.json")["read"]["train"]
    content = (tmp_path / "mine" / "train.csv").read_bytes()
    assert said == {
        "file": "train.csv",
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(ROWS),
        "lines": len(ROWS) + 2,  # the names of the columns, and a text of two lines
        "labels": "positions",
    }
    before = (folder / "source.json").stat().st_mtime_ns
    assert sources.fetch_task(tmp_path, "mine", task) == folder
    assert (folder / "source.json").stat().st_mtime_ns == before
    parquet = (folder / "train.parquet").read_bytes()
    assert split_checksums(folder)["train.parquet"] == hashlib.sha256(parquet).hexdigest()
    assert set(split_checksums(folder)) == {"train.parquet", "validation.parquet"}


def test_a_damaged_source_is_made_again_as_often_as_needed(tmp_path):
    write_local(tmp_path / "mine", "csv")
    folder = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    for _ in range(2):
        sound = (folder / "train.parquet").read_bytes()
        (folder / "train.parquet").write_bytes(b"x")
        assert sources.fetch_task(tmp_path, "mine", local_task("mine")) == folder
        assert flaw(folder) is None and (folder / "train.parquet").read_bytes() == sound


@pytest.mark.parametrize(
    "change",
    [
        {"text": ["other"]},
        {"label": "gold"},
        {"labels": ["positive", "negative"]},
        {"validation": ["test"]},
        {"train": "validation", "validation": ["train"]},
    ],
)
def test_another_reading_of_the_same_files_is_another_source(tmp_path, change):
    write_local(tmp_path / "mine", "csv")
    (tmp_path / "mine" / "test.csv").write_text("sentence,label\na,1\n")
    task = local_task("mine")
    other = P.Task(**{**task.model_dump(), **change})
    assert task_source("mine", other, tmp_path) != task_source("mine", task, tmp_path)


def test_another_content_of_the_same_files_is_another_source(tmp_path):
    write_local(tmp_path / "mine", "csv")
    one = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    (tmp_path / "mine" / "train.csv").write_text("sentence,label\nx,1\ny,0\n")
    two = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    assert one != two and flaw(one) is None and pq.read_table(two / "train.parquet").num_rows == 2


PROMPT = P.Prompt(template="{about}: {sentence}", passage="sentence", answers=["bad", "good"])


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("sentence,label\na,1\nb,0\n", "train.csv: no column 'about'"),
        ("sentence,about,label\na,,1\nb,,0\n", r"train.csv: row 0 \(line 2\): 'about' is empty"),
    ],
)
def test_what_only_decoders_read_is_needed_where_there_are_decoders(tmp_path, content, problem):
    for split in ("train", "validation"):
        (tmp_path / f"{split}.csv").write_text(content)
    task = local_task(".", prompt=PROMPT)
    with pytest.raises(UserError, match=f"tasks.mine: {problem}"):
        sources.fetch_task(tmp_path, "mine", task)
    assert not (tmp_path / "data/sources").exists()
    folder = sources.fetch_task(tmp_path, "mine", task, kinds=["encoder"])
    table = pq.read_table(folder / "train.parquet")
    assert table.to_pydict() == {"sentence": ["a", "b"], "label": [1, 0]}
    with pytest.raises(UserError, match=f"tasks.mine: {problem}"):  # now that it lies there
        sources.fetch_task(tmp_path, "mine", task, kinds=["decoder"])
    with pytest.raises(UserError, match="mine/train: its files have no column 'about' that fits"):
        words_of(table, resolve_task("mine", task).prompt_dict(), "mine/train")


def test_a_source_says_which_number_is_which_class(tmp_path, caplog):
    caplog.set_level("INFO")
    for split, labels in (("train", "10"), ("validation", ("positive", "negative"))):
        rows = "".join(f"a,{label}\n" for label in labels)
        (tmp_path / f"{split}.csv").write_text("sentence,label\n" + rows)
    read = read_json(sources.fetch_task(tmp_path, "mine", local_task(".")) / "source.json")["read"]
    assert read["train"]["labels"] == "positions" and "labels" not in read["validation"]
    assert "tasks.mine: train.csv: 2 rows in 3 lines; it holds numbers for labels" in caplog.text
    assert "0 is negative, 1 is positive" in caplog.text
    assert "tasks.mine: validation.csv: 2 rows in 3 lines\n" in caplog.text + "\n"


def test_a_file_that_changes_while_it_is_fetched_is_refused(tmp_path, monkeypatch):
    write_local(tmp_path / "mine", "csv")
    task = local_task("mine")
    source = task_source("mine", task, tmp_path)
    (tmp_path / "mine" / "train.csv").write_text("sentence,label\nx,1\n")
    monkeypatch.setattr(sources, "task_source", lambda *arguments: source)
    with pytest.raises(UserError, match=r"train\.csv: it has changed since"):
        sources.fetch_task(tmp_path, "mine", task)
    assert not (tmp_path / "data/sources").exists()


def test_local_files_and_classes_named_by_numbers_are_read_by_a_rule_of_their_own(tmp_path):
    """What an older version read by another rule is not taken for the same source."""
    write_local(tmp_path / "mine", "csv")
    hub = {"hub": "own/data", "revision": "r1", "text": ["a"], "metric": "accuracy"}
    numbers, names = P.Task(**hub, labels=["1", "2"]), P.Task(**hub, labels=["x", "y"])
    versions = [
        task_source("mine", task, tmp_path)["version"]
        for task in (local_task("mine"), numbers, names)
    ]
    assert versions == [2, 2, 1]


def test_a_folder_that_holds_another_dataset_is_made_again(tmp_path):
    write_local(tmp_path / "mine", "csv")
    one = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    kept = (one / "train.parquet").read_bytes()
    ours = (tmp_path / "mine" / "train.csv").read_bytes()
    (tmp_path / "mine" / "train.csv").write_text("sentence,label\nx,1\ny,0\n")
    two = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    aside = one.rename(tmp_path / "aside")
    two.rename(one)
    aside.rename(two)
    assert sources.fetch_task(tmp_path, "mine", local_task("mine")) == two
    (tmp_path / "mine" / "train.csv").write_bytes(ours)
    assert sources.fetch_task(tmp_path, "mine", local_task("mine")) == one
    assert (one / "train.parquet").read_bytes() == kept != (two / "train.parquet").read_bytes()
    assert source_flaw(one) is None is source_flaw(two)


def test_a_file_of_the_mirror_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    write_local(tmp_path / "data" / "mirror" / "datasets" / "own" / "mine", "parquet")
    named = local_task("mine").model_dump(exclude={"path"}, exclude_none=True)
    task = P.Task(hub="own/mine", revision="r", **named)
    monkeypatch.delenv("BEFT_MIRROR", raising=False)
    read = sources.read_table

    def meanwhile(path):
        table = read(path)
        path.write_bytes(path.read_bytes() + b" ")
        return table

    with monkeypatch.context() as patched:
        patched.setattr(sources, "read_table", meanwhile)
        with pytest.raises(UserError, match=r"own/mine/train.parquet: it has changed while it was"):
            sources.fetch_task(tmp_path, "mine", task)
    assert not (tmp_path / "data" / "sources").exists()


def write_rows(folder, **splits) -> None:
    """A csv file for each split from pairs of text and label."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        lines = "".join(f"{text},{label}\n" for text, label in rows)
        (folder / f"{split}.csv").write_text("sentence,label\n" + lines)


TRAIN = [("a", "positive"), ("b", "negative"), ("B ", "positive")]


def test_odd_rows_of_local_files_are_counted_and_told_in_one_line(tmp_path, caplog):
    caplog.set_level("INFO")
    write_rows(tmp_path / "mine", train=TRAIN, validation=[("A", "positive"), ("c", "negative")])
    folder = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    assert read_json(folder / "source.json")["checks"] == {
        "train": {"duplicates": 1, "contradictory": 2},
        "validation": {"in_train": 1},
    }
    line = f"tasks.mine: {data_checks.told(folder)}"
    assert "\n" not in line and [r.getMessage() for r in caplog.records].count(line) == 1
    caplog.clear()
    sources.fetch_task(tmp_path, "mine", local_task("mine"))  # now that it lies there
    assert line in caplog.text


def test_rows_in_order_are_not_told(tmp_path, caplog):
    caplog.set_level("INFO")
    write_rows(
        tmp_path / "mine", train=TRAIN[:2], validation=[("c", "positive"), ("d", "negative")]
    )
    sources.fetch_task(tmp_path, "mine", local_task("mine"))
    told = [record.getMessage() for record in caplog.records]
    assert told == [f"tasks.mine: {s}.csv: 2 rows in 3 lines" for s in ("train", "validation")]


def test_training_rows_of_one_class_are_refused(tmp_path):
    write_rows(tmp_path / "mine", train=TRAIN[::2], validation=TRAIN)
    line = r"^tasks\.mine: train\.csv: every row has the label 'positive', so there is nothing to"
    with pytest.raises(UserError, match=line):
        sources.fetch_task(tmp_path, "mine", local_task("mine"))
    assert not (tmp_path / "data/sources").exists()


def test_training_targets_of_one_value_are_refused(tmp_path):
    write_rows(tmp_path / "mine", train=[("a", 1), ("b", 1.0)], validation=[("a", 1), ("b", 2)])
    task = P.Task(path="mine", text=["sentence"], labels=[], metric="spearman")
    with pytest.raises(UserError, match=r"train\.csv: every row has the label '1\.0'"):
        sources.fetch_task(tmp_path, "mine", task)


def test_a_dataset_of_one_class_that_an_earlier_version_made_is_refused(tmp_path):
    """Its `source.json` counts nothing, and its folder stays as it is."""
    write_rows(tmp_path / "mine", train=TRAIN[:2], validation=TRAIN)
    folder = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != "checksums.json"}
    one = pq.read_table(folder / "train.parquet").slice(0, 1)
    said = read_json(folder / "source.json")
    del said["checks"]
    files |= {"train.parquet": parquet_bytes(one), "source.json": to_json(said)}
    remove(folder)
    write_folder(folder, files)
    with pytest.raises(UserError, match=r"train\.csv: every row has the label 'positive'"):
        sources.fetch_task(tmp_path, "mine", local_task("mine"))
    assert (folder / "source.json").read_bytes() == files["source.json"]


def test_a_validation_split_of_one_class_is_told(tmp_path, caplog):
    caplog.set_level("INFO")
    write_rows(tmp_path / "mine", train=TRAIN[:2], validation=[("c", "positive")])
    sources.fetch_task(tmp_path, "mine", local_task("mine"))
    assert "validation (1 row): the only label: positive" in caplog.text

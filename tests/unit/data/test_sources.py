"""Datasets become one type of table whatever they came as; subsets depend on what they should."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from beft.data import sources
from beft.errors import UserError
from beft.store.files import flaw
from beft.study import params as P
from beft.study import studies
from beft.study.grid import grid
from beft.study.recipe import Recipe
from beft.tasks import TABLE, Task

CLASSES = Task(("sentence",), ("negative", "positive"), "accuracy")
SCORES = Task(("sentence",), (), "spearman")


def table(labels, text=None, kind=None) -> pa.Table:
    text = [f"text {i}" for i in range(len(labels))] if text is None else text
    return pa.table({"sentence": text, "label": pa.array(labels, kind)})


@pytest.mark.parametrize(
    ("labels", "task", "expected"),
    [
        ([0, 1], CLASSES, [0, 1]),
        (pa.array([0, 1], pa.uint8()), CLASSES, [0, 1]),
        ([0.0, 1.0], CLASSES, [0, 1]),
        ([False, True], CLASSES, [0, 1]),
        (["positive", "negative"], CLASSES, [1, 0]),
        (pa.array(["positive", "negative"], pa.large_string()), CLASSES, [1, 0]),
        (pa.array(["positive", "negative"]).dictionary_encode(), CLASSES, [1, 0]),
        (pa.array([1, 0, 1]).dictionary_encode(), CLASSES, [1, 0, 1]),
        ([0.5, 5.0], SCORES, [0.5, 5.0]),
        ([3, -1], SCORES, [3.0, -1.0]),
        (pa.array([0.5, 1.5], pa.float32()), SCORES, [0.5, 1.5]),
    ],
)
def test_labels_become_one_type(labels, task, expected):
    column = sources.normalise(table(labels), task, "here")["label"]
    assert column.type == (pa.int64() if task.labels else pa.float64())
    assert column.to_pylist() == expected


@pytest.mark.parametrize(
    ("labels", "task", "message"),
    [
        ([0, 2], CLASSES, "here: row 1: label 2 is not one of 0 to 1"),
        ([0.5], CLASSES, "here: row 0: label 0.5 is not one of 0 to 1"),
        ([float("inf")], CLASSES, "row 0: label inf"),
        ([1.0, float("nan")], SCORES, "row 1: label nan is not a number"),
        (["good"], SCORES, "'label' holds string, not labels"),
        (["Positive"], CLASSES, "'Positive' is not one of negative, positive"),
        ([b"x"], CLASSES, "'label' holds binary, not labels"),
        ([None, 1], CLASSES, "row 0: 'label' is empty"),
        ([], CLASSES, "the split is empty"),
    ],
)
def test_labels_that_are_none(labels, task, message):
    with pytest.raises(UserError, match=message):
        sources.normalise(table(labels), task, "here")


@pytest.mark.parametrize(
    "text",
    [
        pa.array(["a", "b"], pa.large_string()),
        pa.array(["a", "b"]).dictionary_encode(),
        pa.chunked_array([["a"], ["b"]]),
    ],
    ids=["large", "dictionary", "chunks"],
)
def test_text_becomes_one_type(text):
    made = sources.normalise(table([0, 1], text), CLASSES, "here")
    assert made["sentence"].type == pa.string() and made["sentence"].to_pylist() == ["a", "b"]


def test_other_columns_stay_and_metadata_goes():
    given = table([1]).append_column("idx", [[7]]).replace_schema_metadata({"pandas": "x"})
    made = sources.normalise(given, CLASSES, "here")
    assert made.column_names == ["sentence", "label", "idx"] and made["idx"].to_pylist() == [7]
    assert made.schema.metadata is None


ASKED = {
    "context": ["It rained.", "It snowed."],
    "question": ["What did it do?", "Why?"],
    "answers": [{"text": ["rained"], "answer_start": [3]}, {"text": ["snowed"] * 2}],
}


def test_lists_and_structs_stay_as_they_came():
    """Nothing is asked of columns that the task does not read, such as `answer_start`."""
    given = pa.table({**ASKED, "context": pa.array(ASKED["context"], pa.large_string())})
    made = sources.normalise(given, TABLE["squad"], "here")
    assert made["answers"].type == given["answers"].type
    assert made["context"].type == pa.string() and made.to_pydict() == given.to_pydict()


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("answers", None, "no column 'answers'"),
        ("answers", ["a", "b"], "'answers' holds string, not structs with a 'text'"),
        ("answers", [{"txt": ["a"]}] * 2, "not structs with a 'text'"),
        ("answers", [{"text": "a"}] * 2, "'answers.text' holds string, not lists of texts"),
        ("answers", [{"text": [1]}] * 2, "'answers.text' holds list<.*int64>, not lists of texts"),
        ("answers", [{"text": ["a"]}, None], "row 1: 'answers.text' is empty"),
        ("answers", [{"text": ["a"]}, {"text": None}], "row 1: 'answers.text' is empty"),
        ("answers", [{"text": [None]}, {"text": ["a"]}], "row 0: 'answers.text' is empty"),
        ("answers", [{"text": ["a"]}, {"text": []}], "row 1: there is no answer"),
        ("context", ["a", None], "row 1: 'context' is empty"),
        ("context", [1, 2], "'context' holds int64, not text"),
    ],
)
def test_lists_and_structs_that_a_task_cannot_read(column, values, message):
    columns = ASKED | ({column: values} if values else {})
    if values is None:
        del columns[column]
    with pytest.raises(UserError, match=f"here: .*{message}"):
        sources.normalise(pa.table(columns), TABLE["squad"], "here")


def test_numbers_inside_structs_are_whole():
    columns = {"paragraph": ["p"], "question": ["q"], "answer": ["a"], "label": [1]}
    ids = {"paragraph": 0.5, "question": 1, "answer": 2}
    with pytest.raises(UserError, match="'idx.paragraph' holds double, not whole numbers"):
        sources.normalise(pa.table({**columns, "idx": [ids]}), TABLE["multirc"], "here")


def test_a_texts_name_may_have_a_dot():
    """Only what a view reads itself may lie in a struct; a text is a column."""
    task = Task(("meta.title",), ("x", "y"), "accuracy")
    made = sources.normalise(pa.table({"meta.title": ["a"], "label": [1]}), task, "here")
    assert made["meta.title"].to_pylist() == ["a"]
    with pytest.raises(UserError, match="no column 'meta.title'"):
        sources.normalise(pa.table({"meta": [{"title": "a"}], "label": [1]}), task, "here")


def test_a_source_without_labels_comes_from_json_lines_and_has_subsets(tmp_path):
    for split in ("train", "validation"):
        lines = pa.table(ASKED).to_pylist() * 4
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    task = P.Task(path=".", regimes={"low": 3}, learning_rate=0.1, epochs=1)
    folder = sources.fetch_task(tmp_path, "squad", task)
    assert pq.read_table(folder / "train.parquet").num_rows == 8
    told = {"name": "squad", **TABLE["squad"].prompt_dict()}
    subset = {"regime": "low", "size": 3, "stratify": False}
    recipe = Recipe({}, told, "", subset, "b_v", 4, {})
    expected = independent_order(8, repr(("subset", "squad", 4)))[:3]
    assert sources.subset_rows(folder, recipe).tolist() == expected
    with pytest.raises(UserError, match=r"tasks\.squad\.stratify: .*no classes"):
        sources.subset_rows(folder, replace(recipe, subset={**subset, "stratify": True}))


ROWS = [('a, quoted "word"', 1), ("two\nlines", 0), ("", 1), ("12", 0), ("naïve café 猫", 1)]


def write_local(folder, suffix):
    """The same five rows in one of the three formats."""
    folder.mkdir(parents=True)
    for split in ("train", "validation"):
        path = folder / f"{split}.{suffix}"
        if suffix == "parquet":
            pq.write_table(table([label for _, label in ROWS], [text for text, _ in ROWS]), path)
        elif suffix == "jsonl":
            lines = [json.dumps({"sentence": text, "label": label}) for text, label in ROWS]
            path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        else:
            quoted = [f'"{text.replace(chr(34), chr(34) * 2)}",{label}' for text, label in ROWS]
            path.write_text("\n".join(["sentence,label", *quoted]) + "\n", encoding="utf-8")


def local_task(path: str, **changes) -> P.Task:
    described = {"text": ["sentence"], "labels": ["negative", "positive"], "metric": "accuracy"}
    return P.Task(path=path, **described, **changes)


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
    said = sources.read_json(folder / "source.json")["read"]["train"]
    content = (tmp_path / "mine" / "train.csv").read_bytes()
    assert said == {
        "file": "train.csv",
        "sha256": hashlib.sha256(content).hexdigest(),
        "rows": len(ROWS),
    }
    before = (folder / "source.json").stat().st_mtime_ns
    assert sources.fetch_task(tmp_path, "mine", task) == folder
    assert (folder / "source.json").stat().st_mtime_ns == before
    parquet = (folder / "train.parquet").read_bytes()
    assert sources.split_checksums(folder)["train.parquet"] == hashlib.sha256(parquet).hexdigest()
    assert set(sources.split_checksums(folder)) == {"train.parquet", "validation.parquet"}


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
    assert sources.task_source("mine", other, tmp_path) != sources.task_source(
        "mine", task, tmp_path
    )


def test_another_content_of_the_same_files_is_another_source(tmp_path):
    write_local(tmp_path / "mine", "csv")
    one = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    (tmp_path / "mine" / "train.csv").write_text("sentence,label\nx,1\n")
    two = sources.fetch_task(tmp_path, "mine", local_task("mine"))
    assert one != two and flaw(one) is None and pq.read_table(two / "train.parquet").num_rows == 1


def independent_order(rows: int, key: str) -> list[int]:
    """The rule in words: rows sorted by the keyed BLAKE2b of their number, 8 bytes big-endian;
    the key is the BLAKE2b of the text of (purpose, task, seed); both digests have 16 bytes."""
    secret = hashlib.blake2b(key.encode("utf-8"), digest_size=16).digest()
    drawn = []
    for row in range(rows):
        keyed = hashlib.blake2b(key=secret, digest_size=16)
        keyed.update(bytes((row >> shift) & 255 for shift in range(56, -8, -8)))
        drawn.append((int.from_bytes(keyed.digest(), "big"), row))
    return [row for _, row in sorted(drawn)]


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
@pytest.mark.parametrize("task", ["sst2", "it's"])
def test_the_order_is_that_of_the_hashes(task, seed):
    key = repr(("subset", task, seed))
    assert sources.order(300, "subset", task, seed).tolist() == independent_order(300, key)


def test_the_order_never_changes():
    """Copied from the first version: whoever changes it changes every stored subset."""
    expected = [1, 3, 0, 9, 5, 10, 7, 2, 11, 4, 6, 8]
    assert sources.order(12, "subset", "sst2", 0).tolist() == expected


def test_the_order_is_the_same_in_another_process():
    code = "from beft.data.sources import order; print(order(50, 'subset', 'rte', 3).tolist())"
    environment = {**os.environ, "PYTHONHASHSEED": "123", "LC_ALL": "C", "TZ": "Asia/Tokyo"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{sources.order(50, 'subset', 'rte', 3).tolist()}\n"


LABELS = np.array([0] * 70 + [1] * 25 + [2] * 5)


@pytest.mark.parametrize("stratify", [False, True])
def test_subsets_nest_and_repeat_no_row(stratify):
    whole = sources.draw(LABELS, "all", stratify, "t", 0)
    assert sorted(whole) == list(range(100))
    for size in (1, 10, 37, 100):
        assert sources.draw(LABELS, size, stratify, "t", 0).tolist() == whole[:size].tolist()


def test_a_subset_depends_on_task_and_seed_and_not_on_labels():
    drawn = sources.draw(LABELS, 50, False, "t", 0).tolist()
    assert sources.draw(LABELS[::-1], 50, False, "t", 0).tolist() == drawn
    assert sources.draw(LABELS, 50, False, "u", 0).tolist() != drawn
    assert sources.draw(LABELS, 50, False, "t", 1).tolist() != drawn


def test_every_stratified_prefix_has_the_shares_of_the_whole():
    """Of n rows, a class with share p gets between p n - 1 and p n + 1."""
    rows = sources.draw(LABELS, "all", True, "t", 0)
    for size in range(1, 101):
        counts = np.bincount(LABELS[rows[:size]], minlength=3)
        assert np.all(np.abs(counts - size * np.array([0.70, 0.25, 0.05])) <= 1)
    # within a class, the order is that of the plain subset
    plain = sources.draw(LABELS, "all", False, "t", 0)
    for label in range(3):
        assert rows[LABELS[rows] == label].tolist() == plain[LABELS[plain] == label].tolist()


def test_a_subset_larger_than_the_data_names_both_numbers():
    with pytest.raises(UserError, match=r"tasks\.t\.regimes: 101 .* has 100"):
        sources.draw(LABELS, 101, False, "t", 0)


@pytest.fixture
def drawn(tmp_path):
    """A project's root, its recipe, source folder and index file."""
    write_local(tmp_path / "mine", "csv")
    task = local_task("mine", regimes={"low": 3}, learning_rate=0.1, epochs=1)
    fixed = {"batch_size": 1, "max_length": 8, "weight_decay": 0, "max_grad_norm": 1}
    params = P.Params(
        study="s",
        training={**fixed, "precision": "float32"},
        models={"m": {"hub": "own/m", "revision": "r"}},
        tasks={"mine": task},
        techniques={},
    )
    study = {"models": ["m"], "tasks": ["mine"], "regimes": ["low"], "techniques": ["b_v"]}
    (recipe,) = grid(params, studies.Study(**study, seeds=[4], selectors=[]), tmp_path)
    source = sources.fetch_task(tmp_path, "mine", task)
    assert source == tmp_path / "data" / "sources" / recipe.source_path()
    target = tmp_path / "data" / "subsets" / recipe.subset_path()
    sources.write_subset(source, recipe, target)
    return recipe, source, target


def test_an_index_file_holds_the_rows_in_order(drawn):
    recipe, source, target = drawn
    expected = independent_order(len(ROWS), repr(("subset", "mine", 4)))[:3]
    assert pq.read_table(target).to_pydict() == {"row": expected}
    assert sources.read_subset(source, recipe, target).tolist() == expected


@pytest.mark.parametrize(
    "rows",
    [[0, 1, 2], [4], [], [99, 98, 97], None],
)
def test_other_rows_than_the_name_says_are_refused(drawn, rows):
    recipe, source, target = drawn
    if rows is None:
        target.write_bytes(target.read_bytes()[:-20])
    else:
        pq.write_table(pa.table({"row": pa.array(rows, pa.int64())}), target)
    with pytest.raises(UserError, match=target.name):
        sources.read_subset(source, recipe, target)

"""The table of tasks: what params.yaml may change in it, and that it fits the real datasets."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.local_files import normalised

from beft.data.mirror.lookup import dataset_piece, find
from beft.errors import UserError
from beft.study import params as P
from beft.study.resolve import resolve_task
from beft.tasks import TABLE, Task
from beft.tasks.demo.generate import generate
from beft.tasks.words import fields

ROOT = Path(__file__).resolve().parents[3]
HUB = {"hub": "own/data", "revision": "r"}
OWN = {"text": ["a"], "labels": ["x", "y"], "metric": "accuracy"}

# The columns of each dataset on the hub that are read, and the class names in the order of their
# numbers, as its page there shows them; an empty list means a number or no label at all.
REAL = {
    "cola": (["sentence"], ["unacceptable", "acceptable"]),
    "mnli": (["premise", "hypothesis"], ["entailment", "neutral", "contradiction"]),
    "mrpc": (["sentence1", "sentence2"], ["not_equivalent", "equivalent"]),
    "qnli": (["question", "sentence"], ["entailment", "not_entailment"]),
    "qqp": (["question1", "question2"], ["not_duplicate", "duplicate"]),
    "rte": (["sentence1", "sentence2"], ["entailment", "not_entailment"]),
    "sst2": (["sentence"], ["negative", "positive"]),
    "stsb": (["sentence1", "sentence2"], []),
    "cb": (["premise", "hypothesis"], ["entailment", "contradiction", "neutral"]),
    "copa": (["premise", "choice1", "choice2", "question"], ["choice1", "choice2"]),
    # the hub names the classes of these False and True
    "wic": (["word", "sentence1", "sentence2"], None),
    "boolq": (["question", "passage"], None),
    "wsc": (["span2_text", "span1_text", "text", "span2_index"], None),
    "multirc": (["paragraph", "question", "answer", "idx.paragraph", "idx.question"], None),
    # no label
    "record": (["passage", "query", "entities", "answers"], []),
    "squad": (["context", "question", "answers.text"], []),
    "drop": (["passage", "question", "answers_spans.spans", "answers_spans.types"], []),
}
UNLABELLED = {"record", "squad", "drop"}


@pytest.mark.parametrize("name", REAL)
def test_columns_and_classes_are_the_hubs(name):
    columns, labels = REAL[name]
    label = "" if name in UNLABELLED else "label"
    assert list(TABLE[name].reads()) == columns
    assert TABLE[name].label == label
    if labels is not None:
        assert list(TABLE[name].labels) == labels
    assert TABLE[name].hub_labels == (("False", "True") if labels is None else ())


def test_only_decoders_do_what_has_no_text():
    prompted = {name for name, task in TABLE.items() if not task.text}
    assert prompted == UNLABELLED | {"copa", "demo_choice", "demo_answer"}
    assert TABLE["multirc"].text == ("{paragraph}", "{question} {answer}")
    assert TABLE["wsc"].text == ("{span2_text}: {span1_text}", "text")


def test_an_encoders_view_enters_recipes_without_the_prompt():
    assert TABLE["sst2"].prompt is not None
    assert TABLE["sst2"].to_dict() == {
        "text": ["sentence"],
        "labels": ["negative", "positive"],
        "metric": "accuracy",
        "label": "label",
        "train": "train",
        "validation": ["validation"],
    }


def test_every_task_of_the_table_is_defined_and_tested():
    params = P.load_params(ROOT / "params.yaml")
    assert set(params.tasks) == set(TABLE)
    assert set(REAL) == {name for name in TABLE if not name.startswith("demo_")}
    assert TABLE["mnli"].validation == ("validation_matched", "validation_mismatched")


@pytest.mark.mirror
@pytest.mark.parametrize("name", REAL)
def test_the_table_fits_the_real_dataset(mirror, monkeypatch, tmp_path, name):
    monkeypatch.setenv("BEFT_MIRROR", str(mirror))
    given = P.load_params(ROOT / "params.yaml").tasks[name]
    task = resolve_task(name, given)
    splits = [task.train, *task.validation]
    folder = find(tmp_path, dataset_piece(name, given, splits))
    if folder is None:
        pytest.skip(f"the mirror has no {name}")
    for file in (folder / f"{split}.parquet" for split in splits):
        made = normalised(pq.read_table(file), task, str(file))
        if name in UNLABELLED:
            continue  # what is read of it is checked by its prompt's tests
        labels = set(made[task.label].to_pylist())
        if task.labels:
            # every class occurs in train and in validation, so none is named in vain
            assert labels == set(range(len(task.labels)))
        else:
            assert min(labels) >= 0 and max(labels) <= 5  # the scale of STS


SISTERS = {
    "demo_sentiment": "sst2",
    "demo_entailment": "rte",
    "demo_acceptability": "cola",
    "demo_similarity": "stsb",
    "demo_choice": "copa",
    "demo_answer": "squad",
}


@pytest.mark.parametrize("name", [name for name in TABLE if name.startswith("demo_")])
def test_the_demo_has_the_columns_of_its_row(name):
    task = TABLE[name]
    columns = {column.partition(".")[0] for column in task.reads()}
    assert columns | ({task.label} if task.label else set()) <= set(generate(name, "validation"))
    sister = TABLE[SISTERS[name]]
    assert (task.text, task.labels, task.label) == (sister.text, sister.labels, sister.label)
    assert task.metric == sister.metric


@pytest.mark.parametrize(
    ("template", "columns"),
    [
        ("sentence", ["sentence"]),
        ("{word}: {sentence1}", ["word", "sentence1"]),
        ("{a} {a}", ["a", "a"]),
        ("{with space}", ["with space"]),
        ("no {} field", ["no {} field"]),
    ],
)
def test_columns_of_a_template(template, columns):
    assert fields(template) == columns


def test_a_column_that_is_named_twice_is_needed_once():
    assert Task(("{a} {a}", "a"), (), "pearson", label="b").reads() == {"a": "text"}


def test_what_params_say_goes_on_top_of_the_table():
    task = resolve_task("sst2", P.Task(**HUB, text=["review"], metric="f1", validation=["test"]))
    assert task == Task(("review",), ("negative", "positive"), "f1", validation=("test",))
    assert resolve_task("sst2", P.Task(**HUB)) == TABLE["sst2"]


def test_other_names_of_classes_are_not_those_of_the_hub():
    assert resolve_task("wic", P.Task(**HUB)).hub_labels == ("False", "True")
    swapped = ["same", "different"]
    assert resolve_task("wic", P.Task(**HUB, labels=swapped)).hub_labels == ()


def test_what_each_kind_of_model_reads():
    task = TABLE["wsc"]
    assert task.kinds() == ("encoder", "decoder") and TABLE["copa"].kinds() == ("decoder",)
    assert "span2_index" not in task.reads("encoder")
    assert task.reads("encoder") | task.reads("decoder") == task.reads()
    assert TABLE["stsb"].kinds() == ("encoder",) and TABLE["stsb"].reads("decoder") == {}


def test_a_task_of_ones_own_is_described_in_full():
    task = resolve_task("mine", P.Task(**HUB, **OWN, label="gold"))
    assert task == Task(("a",), ("x", "y"), "accuracy", label="gold")
    assert task.to_dict()["text"] == ["a"] and task.labels == ("x", "y")


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("mine", HUB, "needs: text, labels, metric"),
        ("mine", HUB | {"text": ["a"], "metric": "f1"}, "needs: labels"),
        ("sst3", HUB, "did you mean 'sst2'"),
        ("sst2", {"demo": True, **OWN, "metric": "pearson"}, "regression"),
        ("mine", {"demo": True, **OWN}, "no demo task"),
        ("mine", HUB | OWN | {"metric": "spearman"}, "labels: \\[\\]"),
        ("mine", HUB | OWN | {"labels": []}, "classes in 'labels'"),
        ("mine", HUB | OWN | {"labels": ["x", "y", "z"], "metric": "f1"}, "f1_macro"),
        ("stsb", HUB | {"metric": "accuracy"}, "classes in 'labels'"),
        ("squad", HUB | {"text": ["context"]}, r"tasks\.squad\.text: fixed"),
        ("squad", HUB | {"label": "answers"}, r"tasks\.squad\.label: fixed"),
        ("copa", HUB | {"labels": ["a", "b"]}, r"tasks\.copa\.labels: fixed"),
        ("copa", HUB | {"metric": "f1"}, r"tasks\.copa\.metric: fixed"),
    ],
)
def test_what_does_not_fit_together_is_refused(name, given, message):
    with pytest.raises(UserError, match=message):
        resolve_task(name, P.Task(**given))

"""Rows become prompts and answers, by the recipe's plain data alone; bad rows are named."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.local_files import normalised

from beft.errors import UserError
from beft.study import params as P
from beft.study.resolve import resolve_task
from beft.tasks import TABLE
from beft.tasks.demo.generate import generate
from beft.tasks.prompts import Prompt, classification, view_of, words_of
from beft.tasks.views import golds_of_drop

ROWS = {
    "sst2": {"sentence": " a fine film . ", "label": 1},
    "rte": {"sentence1": "It rained.", "sentence2": "It was wet.", "label": 0},
    "demo_entailment": {"sentence1": "It rained.", "sentence2": "It was wet.", "label": 1},
    "cb": {"premise": "Is it wet?", "hypothesis": "it is wet", "label": 2},
    "wic": {"word": "bank", "sentence1": "A bank.", "sentence2": "The bank.", "label": 0},
    "boolq": {"question": "is it wet", "passage": "It rained.", "label": 1},
    "wsc": {"text": "Ann told Eve, because she knew that she asked.", "label": 0,
            "span1_text": "Eve", "span2_text": "she", "span1_index": 2, "span2_index": 7},
    "multirc": {"paragraph": "It rained.", "question": "Was it wet?", "answer": "Yes, it was",
                "idx": {"paragraph": 3, "question": 5, "answer": 0}, "label": 1},
    "copa": {"premise": "He fell. ", "choice1": "The floor was wet.", "choice2": "I'm late.",
             "question": "cause", "idx": 0, "label": 0},
    "record": {"passage": "Ann met Eve.\n@highlight\nThey talked", "answers": ["Ann"],
               "query": "At noon @placeholder left, said @placeholder's friend",
               "entities": ["Eve", "Ann", "Eve"], "idx": {"passage": 0, "query": 0}},
    "squad": {"id": "1", "title": "", "context": "Ann met Eve.", "question": "Whom did Ann meet?",
              "answers": {"text": ["Eve", "Eve", "Eve."], "answer_start": [8, 8, 8]}},
    "drop": {"section_id": "", "query_id": "", "passage": "Ann had 3 pears and 2 plums.",
             "question": "What did Ann have?",
             "answers_spans": {"spans": ["pears", "plums"], "types": ["span", "span"]}},
}  # fmt: skip

# The whole prompt, its answers and the indices of the right ones, written by hand.
TOLD = {
    "sst2": ("a fine film . It was", (" terrible", " great"), (1,)),
    "rte": (
        'It rained.\nQuestion: Can we conclude that "It was wet."? Yes or no?\nAnswer:',
        (" yes", " no"),
        (0,),
    ),
    "demo_entailment": (
        "It rained.\nQuestion: It was wet. True or false?\nAnswer:",
        (" true", " false"),
        (1,),
    ),
    "cb": (
        'Is it wet?\nQuestion: Can we conclude that "it is wet"? Yes, no or maybe?\nAnswer:',
        (" yes", " no", " maybe"),
        (2,),
    ),
    "wic": (
        'A bank.\nThe bank.\nQuestion: Does the word "bank" have the same meaning in both '
        "sentences? Yes or no?\nAnswer:",
        (" no", " yes"),
        (0,),
    ),
    "boolq": ("It rained.\nQuestion: is it wet? Yes or no?\nAnswer:", (" no", " yes"), (1,)),
    "wsc": (
        "Ann told Eve, because she knew that *she* asked.\n"
        'Question: Does "*she*" stand for "Eve" here? Yes or no?\nAnswer:',
        (" no", " yes"),
        (0,),
    ),
    "multirc": (
        "It rained.\nQuestion: Was it wet?\nProposed answer: Yes, it was\n"
        "Is the proposed answer right? Yes or no?\nAnswer:",
        (" no", " yes"),
        (1,),
    ),
    "copa": ("He fell because", (" the floor was wet.", " I'm late."), (0,)),
    "record": (
        "Ann met Eve.\n- They talked\n- At noon",
        (" Eve left, said Eve's friend", " Ann left, said Ann's friend"),
        (1,),
    ),
    "squad": ("Ann met Eve.\nQuestion: Whom did Ann meet?\nAnswer:", (" Eve", " Eve."), (0, 1)),
    "drop": (
        "Ann had 3 pears and 2 plums.\nQuestion: What did Ann have?\nAnswer:",
        (" pears, plums",),
        (0,),
    ),
}


def words(name: str, **changes):
    """The example of this task's row, made as a run makes it: from the recipe's JSON alone."""
    prompt = json.loads(json.dumps(TABLE[name].prompt_dict()))
    return view_of(prompt, name)({**ROWS[name], **changes})


@pytest.mark.parametrize("name", ROWS)
def test_the_words_of_a_row(name):
    made = words(name)
    assert (made.before + made.passage + made.after, made.answers, made.gold) == TOLD[name]


@pytest.mark.parametrize(
    ("name", "passage"),
    [
        ("sst2", "a fine film ."),
        ("qnli", "It rained."),
        ("wic", "A bank."),
        ("boolq", "It rained."),
        ("multirc", "It rained."),
        ("copa", "He fell"),
        ("record", "Ann met Eve.\n- They talked"),
        ("drop", "Ann had 3 pears and 2 plums."),
    ],
)
def test_what_may_lose_its_beginning(name, passage):
    """The dataset's passage, never the question about it."""
    qnli = {"sentence": "It rained.", "question": "Was it wet?", "label": 0}
    row = {**ROWS, "qnli": qnli}[name]
    assert view_of(TABLE[name].prompt_dict(), name)(row).passage == passage


def test_every_prompt_of_the_table():
    without = {name for name, task in TABLE.items() if task.prompt is None}
    assert without == {"stsb", "demo_acceptability", "demo_similarity"}
    kinds = {name: task.prompt.kind for name, task in TABLE.items() if task.prompt}
    choices = {"copa", "record", "demo_choice"}
    generations = {"squad", "drop", "demo_answer"}
    for name, kind in kinds.items():
        expected = "choice" if name in choices else "generation" if name in generations else None
        assert kind == (expected or "classification")
        assert kind in {"classification", "choice", "generation"}
        prompt = TABLE[name].prompt_dict()
        assert ("label" in prompt) == ("labels" in prompt) == (name not in generations | {"record"})
        if kind == "classification":
            assert len(set(prompt["wording"]["answers"])) == len(TABLE[name].labels)


@pytest.mark.parametrize(
    ("changes", "prompt", "answers"),
    [
        ({"question": "effect"}, "He fell so", (" the floor was wet.", " I'm late.")),
        ({"choice1": "I ran.", "choice2": "It ran."}, "He fell because", (" I ran.", " it ran.")),
        ({"choice2": "The floor was wet."}, "He fell because", (" the floor was wet.",) * 2),
        ({"premise": "He asked: why?"}, "He asked: why? because", None),
    ],
)
def test_clauses_go_on_from_the_premise(changes, prompt, answers):
    made = words("copa", **changes)
    assert made.passage + made.after == prompt
    assert answers is None or made.answers == answers


def test_the_pronoun_is_marked_only_where_it_is():
    for place in (0, 99, -1):
        made = words("wsc", span2_index=place)
        assert made.passage == "Ann told Eve, because she knew that she asked."
    assert words("wsc", text="Ann; She, too", span2_index=1).passage == "Ann; *She*, too"


def test_answers_to_one_question_are_a_group():
    other = {"paragraph": 3, "question": 5, "answer": 9}
    assert words("multirc").group == words("multirc", idx=other).group != ""
    for key in ("paragraph", "question"):
        assert words("multirc", idx={**other, key: 8}).group != words("multirc").group


@pytest.mark.parametrize(
    ("query", "after", "candidate"),
    [
        ("@placeholder left.", "\n-", " Ann left."),
        ("He said '@placeholder's back'", "\n- He said", " 'Ann's back'"),
        ("(@placeholder)", "\n-", " (Ann)"),
    ],
)
def test_candidates_begin_at_a_space_whatever_touches_the_gap(query, after, candidate):
    made = words("record", query=query)
    assert made.after == after and made.answers[1] == candidate
    assert made.spans == (("Eve",), ("Ann",)) and made.said(1) == ("Ann",)


def test_several_entities_may_be_right():
    assert words("record", answers=["Ann", "Eve", "Ann"]).gold == (1, 0)


@pytest.mark.parametrize(
    ("spans", "types", "golds"),
    [
        (["a"], ["span"], [("a",)]),
        (["a", " b\nc "], ["span"] * 2, [("a", "b c")]),
        (["a", "a", "b"], ["span"] * 3, [("a", "a", "b")]),
        (["3", "4", "3"], ["number"] * 3, [("3",), ("4",)]),
        (["5 May 1920", "May"], ["date", "span"], [("5 May 1920",), ("May",)]),
        (["a", "3", "b", "c"], ["span", "number", "span", "span"], [("a",), ("3",), ("b", "c")]),
        (["a", "3", "a"], ["span", "number", "span"], [("a",), ("3",)]),
    ],
)
def test_gold_answers_of_drop(spans, types, golds):
    assert golds_of_drop(spans, types) == golds


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("sst2", {"label": 2}, "label 2 is not one of 0 to 1"),
        ("copa", {"label": 2}, "label 2"),
        ("copa", {"question": "why"}, "'why' is neither 'cause' nor 'effect'"),
        ("copa", {"choice2": " "}, "an answer is empty"),
        ("record", {"answers": ["Bob"]}, "'Bob' is not one of the entities"),
        ("record", {"answers": []}, "no answer is right"),
        ("record", {"answers": [], "entities": []}, "no answer to choose"),
        ("record", {"entities": ["", "Ann"]}, "an answer is empty"),
        ("record", {"query": "nothing"}, "no @placeholder"),
        ("squad", {"answers": {"text": [], "answer_start": []}}, "no answer to choose from or to"),
        ("squad", {"answers": {"text": [""], "answer_start": [0]}}, "an answer is empty"),
        ("drop", {"answers_spans": {"spans": [], "types": []}}, "no answer"),
        ("drop", {"answers_spans": {"spans": ["a", "b"], "types": ["span"]}}, "2 spans and 1 type"),
    ],
)
def test_a_row_that_makes_no_example_is_named(name, changes, message):
    """Whether it is read for a run, or already when its dataset is fetched."""
    rows = pa.Table.from_pylist([ROWS[name], {**ROWS[name], **changes}])
    with pytest.raises(UserError, match=f"here: row 1: .*{message}"):
        words_of(rows, TABLE[name].prompt_dict(), "here")
    with pytest.raises(UserError, match=f"here: row 1: .*{message}"):
        normalised(rows, TABLE[name], "here")


OWN = {"hub": "own/data", "revision": "r", "text": ["a"], "labels": ["x", "y"], "metric": "f1"}
SAID = {"template": "{b}. {a} It is ", "passage": "a", "answers": ["bad", "good"]}


def test_a_prompt_of_ones_own():
    task = resolve_task("mine", P.Task(**OWN, label="gold", prompt=SAID))
    assert [*task.reads(), task.label] == ["a", "b", "gold"]
    (made,) = words_of(
        pa.table({"a": ["It rained"], "b": ["So"], "gold": [1]}), task.prompt_dict(), "mine"
    )
    assert (made.before, made.passage, made.after) == ("So. ", "It rained", " It is")
    assert (made.answers, made.gold) == ((" bad", " good"), (1,))
    assert task.prompt.metrics == ("f1",) and "prompt" not in task.to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"passage": "c"}, "needs {c}, the passage, exactly once"),
        ({"template": "no column"}, "needs {a}"),
        ({"template": "{a} {a}"}, "exactly once"),
        ({"answers": ["bad", " bad"]}, "'bad' is listed twice"),
        ({"answers": ["bad", " "]}, "an answer is empty"),
        ({"answers": ["bad", "good", "other"]}, "3 for 2 labels"),
    ],
)
def test_a_prompt_that_cannot_be(change, message):
    with pytest.raises(UserError, match=rf"tasks\.mine\.prompt.*{message}"):
        resolve_task("mine", P.Task(**OWN, prompt={**SAID, **change}))


@pytest.mark.parametrize("name", ["stsb", "squad", "copa"])
def test_only_classes_have_prompts_of_ones_own(name):
    with pytest.raises(UserError, match=rf"tasks\.{name}\.prompt: this task has no classes"):
        resolve_task(name, P.Task(hub="own/data", revision="r", prompt=SAID))


def test_a_template_that_names_an_unknown_column_is_found_in_the_data():
    task = resolve_task("mine", P.Task(**OWN, prompt=SAID))
    with pytest.raises(UserError, match="here: no column 'b'"):
        normalised(pa.table({"a": ["x"], "label": [1]}), task, "here")


def test_a_prompt_of_the_table_follows_what_params_say():
    def prompt(**said) -> Prompt | None:
        return resolve_task("sst2", P.Task(hub="own/data", revision="r", **said)).prompt

    assert prompt(labels=["positive", "negative"]).wording["answers"] == [" great", " terrible"]
    assert prompt(metric="f1").metrics == ("f1", "accuracy")
    assert prompt(validation=["test"]) == TABLE["sst2"].prompt
    # the table's wording does not fit other columns or other classes
    assert prompt(text=["review"]) is None and prompt(labels=["bad", "good"]) is None


def test_words_of_another_version_are_refused():
    prompt = TABLE["copa"].prompt_dict()
    prompt["wording"]["version"] += 1
    with pytest.raises(UserError, match="'reason' version 2"):
        view_of(prompt, "copa")


def test_a_wording_is_the_recipes_own():
    """Changing what was read out of the table changes nothing in it."""
    TABLE["copa"].prompt_dict()["wording"]["joints"] = {}
    assert words("copa").after == " because"
    other = classification("{sentence} Verdict:", "sentence", ("bad", "good"))
    prompt = TABLE["sst2"].prompt_dict() | {"wording": dict(other.wording)}
    assert view_of(prompt, "sst2")(ROWS["sst2"]).answers == (" bad", " good")


@pytest.mark.parametrize("name", ["demo_choice", "demo_answer"])
def test_demo_tasks_as_prompts(name):
    table = pa.table({k: v[:20] for k, v in generate(name, "validation").items()})
    made = words_of(normalised(table, TABLE[name], name), TABLE[name].prompt_dict(), name)
    for row, example in zip(table.to_pylist(), made, strict=True):
        right = [example.answers[g] for g in example.gold]
        if name == "demo_answer":
            assert right == [f" {text}" for text in dict.fromkeys(row["answers"]["text"])]
        else:
            chosen = row[f"choice{row['label'] + 1}"]
            assert right[0][1:].lower() == chosen.lower()
            assert f"{example.passage}." == row["premise"]


@pytest.mark.mirror
@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("sst2", "nyu-mll/glue/sst2"),
        ("cb", "aps/super_glue/cb"),
        ("wic", "aps/super_glue/wic"),
        ("copa", "aps/super_glue/copa"),
        ("multirc", "aps/super_glue/multirc"),
        ("record", "aps/super_glue/record"),
        ("squad", "rajpurkar/squad"),
    ],
)
def test_real_rows_make_examples(mirror, name, place):
    file = mirror / "datasets" / place / "validation.parquet"
    if not file.is_file():
        pytest.skip(f"the mirror has no {name}")
    raw = pq.read_table(file)
    made = words_of(normalised(raw, TABLE[name], name), TABLE[name].prompt_dict(), name)
    for row, example in zip(raw.to_pylist(), made, strict=True):
        assert all(answer.startswith(" ") and answer[1] != " " for answer in example.answers)
        prompt = example.before + example.passage + example.after
        assert "{" not in example.after and prompt == prompt.rstrip() and "@" not in example.after
        if name == "squad":
            assert {a[1:] for a in example.answers} == set(row["answers"]["text"])
        elif name == "record":
            right = {example.spans[g][0] for g in example.gold}
            assert right == set(row["answers"])
            for entity, candidate in zip(example.spans, example.answers, strict=True):
                said = (example.after.removeprefix("\n-") + candidate).split()
                assert said == row["query"].replace("@placeholder", entity[0]).split()
        else:
            assert example.gold == (row["label"],)

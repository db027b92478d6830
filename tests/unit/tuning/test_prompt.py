"""A prompt names columns of the file; what it says of the label is found or refused."""

from dataclasses import replace

import numpy as np
import pytest
from support import tiny

from beft.errors import UserError
from beft.study.params import Prompt
from beft.study.project import load
from beft.tuning.base_model import NamedModel
from beft.tuning.candidates import candidates
from beft.tuning.examples import Cut, Examples, Meaning
from beft.tuning.files import from_frame
from beft.tuning.in_project import define
from beft.tuning.place import Place
from beft.tuning.project import recipe_of, write_rows, write_step
from beft.tuning.prompt import Asked, asked, asks, renamed, words_of
from beft.tuning.targets import PROMPTS
from beft.tuning.wish import Wish

WISH = Wish("model")


def rows(**more):
    """32 reviews: a text, a title, a verdict and a word for it."""
    verdicts = [("good", "bad")[i % 2] for i in range(32)]
    columns = {
        "review": [f"the story of number {i} was long" for i in range(32)],
        "title": [f"number {i}" for i in range(32)],
        "verdict": verdicts,
        "word": ["great" if v == "good" else "terrible" for v in verdicts],
    }
    return from_frame(columns | more, "reviews.csv")


def ask(prompt=None, label=None, /, **more) -> Asked:
    given = {"text": ("review",)} if prompt is None else {}
    return asked(rows(**more), replace(WISH, prompt=prompt, label=label, **given))


@pytest.mark.parametrize("end", ["", " ", " {verdict}", "{verdict} "])
def test_the_label_may_stand_at_the_end(end):
    found = ask(f"Review: {{review}}\nIt is{end}", "verdict")
    assert found.template == "Review: {review}\nIt is"
    assert found.columns.texts == ("review",) and found.columns.label == "verdict"
    assert found.answers == found.columns.classes == ("bad", "good")


def test_a_column_of_words_at_the_end_gives_the_answers():
    found = ask("{review} It was {word}", "verdict")
    assert found.template == "{review} It was"
    assert found.columns.classes == ("bad", "good") and found.answers == ("terrible", "great")


def test_a_prompt_is_made_of_the_names_of_columns():
    assert ask(None, "verdict").template == "Review: {review}\nVerdict:"
    pair = asked(rows(), Wish("model", text=("title", "review"), label="verdict"))
    assert pair.template == "Title: {title}\nReview: {review}\nVerdict:"


def test_any_number_of_columns():
    kinds = [("film", "book", "song")[i % 3] for i in range(32)]
    found = ask("{title}, a {kind}: {review}\n{title}?", "verdict", kind=kinds)
    assert found.columns.texts == ("title", "kind", "review")
    texts = tuple((f"number {i}", kinds[i], f"the story of number {i} was long") for i in range(32))
    every = Examples(texts, np.zeros(32, int), ("bad", "good"), np.arange(32), np.arange(32))
    prompt = found.prompt(every)
    assert prompt.passage == "review"  # the longest of those that are named once
    words = words_of(prompt, found.columns.texts, texts[0])
    whole = words.before + words.passage + words.after
    assert whole == "number 0, a film: the story of number 0 was long\nnumber 0?"
    other = renamed(prompt, found.columns.texts, ("a", "b", "c"))
    assert other.template == "{a}, a {b}: {c}\n{a}?" and other.passage == "c"


@pytest.mark.parametrize(
    ("prompt", "label", "words"),
    [
        ("{reviw}: it is", None, "no column 'reviw'; did you mean 'review'?"),
        ("It is", None, "names no column"),
        ("", None, "names no column"),
        ("{verdict} is of {review}", "verdict", "{verdict} is the label, whose place is the end"),
        ("{word}: {review}", "verdict", "column 'word' says the label of each row"),
    ],
)
def test_prompts_that_are_refused(prompt, label, words):
    with pytest.raises(UserError) as caught:
        ask(prompt, label)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_end_of_a_prompt_is_the_label_unless_another_column_looks_like_it():
    assert ask("{review} It was {word}").columns.label == "word"
    with pytest.raises(UserError, match="column 'label' looks like the label; give --label NAME"):
        ask("{review} It was {word}", **{"label": ["x", "y", "z", "x"] * 8})


def test_a_prompt_is_for_decoders(tmp_path):
    encoder = NamedModel(tiny.checkpoint("bert", tmp_path / "bert"))
    decoder = NamedModel(tiny.decoder_checkpoint("opt", tmp_path / "opt"))
    assert asks(decoder, WISH) and not asks(encoder, WISH)
    with pytest.raises(UserError, match="bert is an encoder, which reads texts without a prompt"):
        asks(encoder, replace(WISH, prompt="{review}:"))


def test_each_candidate_is_one_run_of_the_study(tmp_path):
    """Whatever the columns are called."""
    model = tiny.decoder_checkpoint("opt", tmp_path / "opt")
    texts = tuple((f"number {i}", f"it was long, {i}") for i in range(32))
    each = np.arange(32)
    every = Examples(texts, each % 2, ("bad", "good"), each, each)
    prompt = Prompt(
        template="{my title}: {what's said}", passage="what's said", answers=["no", "yes"]
    )
    meaning = Meaning(("my title", "what's said"), "verdict", ("bad", "good"), prompt=prompt)
    place = Place(tmp_path / "work" / "params.yaml", "")
    subject = define(place, NamedModel(model), meaning, "accuracy", 32, 2)
    write_rows(subject, every, Cut(each[:8], each[8:], each[8:] % 2))
    stage = subject.fold(0, 3, candidates(PROMPTS, 2))
    project = load(place.params, str(write_step(subject, "first", [stage])))
    runs = [recipe_of(project, stage, candidate) for candidate in stage.candidates]
    assert len({run.digest for run in runs}) == len(runs) == len(project.recipes)
    assert runs[0].technique == "zero_shot"
    assert runs[1].task["wording"]["template"] == "{text}: {second}"
    assert (runs[1].training["batch_size"], runs[1].training["evaluated"]) == (8, "all")


def test_what_else_is_refused():
    with pytest.raises(UserError, match="--text: the columns that --prompt names are read"):
        asked(rows(), replace(WISH, text=("title",), prompt="{review}:", label="verdict"))
    with pytest.raises(UserError, match="names each column more than once"):
        found = ask("{review} {review}:", "verdict")
        found.prompt(Examples((("a",),), np.zeros(1, int), ("a", "b"), np.arange(1), np.arange(1)))
    numbers = [i / 7 for i in range(32)]
    with pytest.raises(UserError, match="holds numbers, and a decoder is tuned on classes alone"):
        ask("{review}:", "stars", stars=numbers)
    with pytest.raises(UserError, match="32 different labels|200 different labels|generated"):
        many = {name: [f"{name} {i}" for i in range(200)] for name in ("review", "answer")}
        asked(from_frame(many, "a.csv"), Wish("model", prompt="{review}:", label="answer"))
    for name, prompt in (("a{b}", None), ("x" * 201, f"{{{'x' * 201}}}:")):
        data = from_frame({name: ["x y"] * 8, "label": ["c", "d"] * 4}, "a.csv")
        with pytest.raises(UserError, match="cannot name it"):
            asked(data, Wish("model", text=(name,), prompt=prompt))

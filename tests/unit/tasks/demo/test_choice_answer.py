"""The demo tasks that only decoders have: a choice of causes and effects, questions on a text."""

import hashlib
import json
import re
from collections import Counter
from statistics import mean

import pytest
from support.demo_texts import bag_accuracy, bag_of_words, generate, texts

from beft.tasks.demo import choice as choosing
from beft.tasks.demo import generate as demo
from beft.tasks.demo import lexicon as lex

COLUMNS = {
    "demo_choice": ["premise", "choice1", "choice2", "question", "label", "idx"],
    "demo_answer": ["context", "question", "answers", "idx"],
}
DIGESTS_OF_VERSION = 1
DIGESTS = {
    "demo_choice/train":
        "db0c688837c6c83d529f21d8d68afabeadbe74eb9022086352346bb0ba14895a",
    "demo_choice/validation":
        "a38e54d7407f400b6390c172b416b3cf0cc401e5a692c3028d23e7b8ffa0a95f",
    "demo_answer/train":
        "425747eae43d6b2f6b9d1432d18999e6be4e496fc8a42f1a40b957d46386d5e6",
    "demo_answer/validation":
        "f71248f5e2c791f3a426697d337113474ef5b323e7b00bb1444d334d40093962",
}  # fmt: skip
SPLITS = [("train", 4000), ("validation", 200)]


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(("split", "rows"), SPLITS)
def test_layout_is_that_of_the_real_sister(name, split, rows):
    data = generate(name, split)
    assert list(data) == COLUMNS[name]
    assert {len(values) for values in data.values()} == {rows}
    assert data["idx"] == list(range(rows))
    assert len(set(texts(name, split))) == rows


@pytest.mark.parametrize("place", DIGESTS)
def test_data_changes_only_with_its_version(place):
    data = generate(*place.split("/"))
    assert demo.DEMO_VERSION == DIGESTS_OF_VERSION
    assert hashlib.sha256(json.dumps(data).encode()).hexdigest() == DIGESTS[place]


# Who did which cause or effect, read from the sentence and not from the grammar.
SIDES = {
    clause: (number, side)
    for number, topic in enumerate(choosing.TOPICS)
    for side, clauses in (("cause", topic.causes), ("effect", topic.effects))
    for clause in clauses
}


def read(sentence):
    """The subject and the predicate of a sentence of demo_choice."""
    return re.fullmatch(r"(The \w+|He|She) (.+)\.", sentence).groups()


def test_each_cause_and_effect_belongs_to_one_topic():
    assert len(choosing.TOPICS) == 24
    assert len(SIDES) == sum(len(t.causes) + len(t.effects) for t in choosing.TOPICS) == 24 * 6


@pytest.mark.parametrize(("split", "_"), SPLITS)
def test_the_right_choice_is_the_one_of_the_premises_topic(split, _):
    data = generate("demo_choice", split)
    for *sentences, question, label, _ in zip(*data.values(), strict=True):
        told, *choices = (SIDES[read(sentence)[1]] for sentence in sentences)
        assert {side for _, side in choices} == {question} != {told[1]}
        assert [topic == told[0] for topic, _ in choices] == [label == 0, label == 1]


def test_pronouns_agree_with_the_person():
    for premise, *choices, _ in texts("demo_choice", "train"):
        person = read(premise)[0].removeprefix("The ")
        assert {read(c)[0] for c in choices} == {"He" if person in lex.MALE else "She"}


@pytest.mark.parametrize(("split", "_"), SPLITS)
def test_choices_are_balanced(split, _):
    data = generate("demo_choice", split)
    counts = Counter(zip(data["question"], data["label"], strict=True))
    assert set(counts) == {(q, label) for q in ("cause", "effect") for label in (0, 1)}
    assert max(counts.values()) - min(counts.values()) <= 1


def test_choice_is_not_in_words():
    # Chance is 0.5; with 200 rows, 0.61 (and with 400 choices, 0.58) is three standard errors off.
    assert 0.39 < bag_of_words("demo_choice", "choice1", "choice2") < 0.61
    assert bag_of_words("demo_choice", "premise", "choice1", "choice2") < 0.61

    def alone(split):
        data = generate("demo_choice", split)
        pairs = zip(data["choice1"], data["choice2"], data["label"], strict=True)
        return zip(*((c[i], i == c[2]) for c in pairs for i in (0, 1)), strict=True)

    sides = [alone(split) for split, _ in SPLITS]
    assert 0.42 < bag_accuracy(*zip(*sides, strict=True)) < 0.58


def test_validation_joins_causes_and_effects_anew():
    def joined(split):
        for premise, *choices, _, label, _ in zip(
            *generate("demo_choice", split).values(), strict=True
        ):
            yield frozenset((read(premise)[1], read(choices[label])[1]))

    assert not set(joined("train")) & set(joined("validation"))


def read_events(context):
    """(agent, deed, thing, scene) of each sentence."""
    pattern = r"The (\w+) (\w+) an? (\w+) ([a-z ]+)\."
    assert re.fullmatch(rf"{pattern}( {pattern})*", context)
    return re.findall(pattern, context)


def solve(context, question):
    """Every answer to the question that the context gives, read from the text."""
    past = {deed.base: deed.past for deed in lex.DEEDS}
    events = read_events(context)
    if who := re.fullmatch(r"Who (\w+) the (\w+)\?", question):
        return [agent for agent, deed, thing, _ in events if (deed, thing) == who.groups()]
    if what := re.fullmatch(r"What did the (\w+) (\w+)\?", question):
        asked = (what[1], past[what[2]])
        return [thing for agent, deed, thing, _ in events if (agent, deed) == asked]
    where = re.fullmatch(r"Where did the (\w+) (\w+) the (\w+)\?", question)
    asked = (where[1], past[where[2]], where[3])
    return [scene for *event, scene in events if tuple(event) == asked]


@pytest.mark.parametrize(("split", "_"), SPLITS)
def test_each_question_has_one_answer_and_it_is_a_span(split, _):
    data = generate("demo_answer", split)
    for context, question, answers, _ in zip(*data.values(), strict=True):
        (text,), (start,) = answers["text"], answers["answer_start"]
        assert solve(context, question) == [text]
        assert context[start:].startswith(text)
        assert not context[start - 1].isalpha() and not context[start + len(text)].isalpha()


def test_any_event_may_be_asked_for():
    # 2, 3 or 4 events, each as often: the first one is asked for in (1/2 + 1/3 + 1/4) / 3 = 0.361.
    rows = list(zip(*generate("demo_answer", "train").values(), strict=True))
    first = mean(solve(c.split(". ")[0].rstrip(".") + ".", q) != [] for c, q, *_ in rows)
    assert first == pytest.approx(0.361, abs=0.025)
    assert set(Counter(len(read_events(c)) for c, *_ in rows)) == {2, 3, 4}
    assert Counter(q.split()[0] for _, q, *_ in rows).most_common()[-1][1] >= 1300


def test_validation_asks_for_new_events():
    def asked(split):
        for context, question, *_ in texts("demo_answer", split):
            told = (f"{part.rstrip('.')}." for part in context.split(". "))
            (event,) = (read_events(one)[0] for one in told if solve(one, question))
            yield event[:3]

    assert not set(asked("train")) & set(asked("validation"))

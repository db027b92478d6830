"""The demo decoders' pretraining corpus: short documents in the language of the demo tasks.

It teaches words, facts and skills in frames of its own. In the frames of the demo tasks' prompts
(`It was`, `True or false?`, `because`, `Answer:`) what follows is drawn regardless of what came
before: a pretrained decoder knows them, but not what they ask for; that is left to fine-tuning.
No document holds a combination of words that the demo tasks keep for validation.
"""

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from random import Random
from typing import NamedTuple

from beft.tasks.demo import answer as answering
from beft.tasks.demo import choice as choosing
from beft.tasks.demo import generate, pairs, single
from beft.tasks.demo import lexicon as lex
from beft.tasks.demo.grammar import Draft, chance, pick, sentence

# Share of documents that end in the frame of a prompt, with an answer that means nothing.
FRAMED = 0.12
# Between bars stands what follows from the text before it.
VERDICTS = (
    (" We hated it.", " We loved it."),
    (" One star.", " Five stars."),
    (" Stay away!", " Go there!"),
    (" Bad.", " Good."),
    (" Not recommended.", " Recommended."),
    (" A waste of time.", " A pleasure."),
)
CALLS = (" In short,", " Our word for it:", " We call it")
JUDGEMENTS = (
    ("{told}\nClaim: {claim}\nThat is| right.|", "{told}\nClaim: {claim}\nThat is| wrong.|"),
    ("{told} Can we say: {claim}| Yes.|", "{told} Can we say: {claim}| No.|"),
    ("Fact: {told}\nGuess: {claim}\nIt| fits.|", "Fact: {told}\nGuess: {claim}\nIt| fails.|"),
)
ASKINGS = (
    "\nQ: {question}\nA:| {answer}\n|",
    " {question}| {answer}.|",
    "\n{question} Reply:| {answer}\n|",
)
LINKS = (
    "Since the {who} {cause}, {he}| {effect}.|",
    "The {who} {cause}. That is why {he}| {effect}.|",
    "The {who} {effect}. The reason: {he}| {cause}.|",
    "The {who} {cause}. Therefore {he}| {effect}.|",
    "The {who} {effect}. It happened since {he}| {cause}.|",
    "The {who} {cause}, and then {he}| {effect}.|",
)
UNLINKED = ("The {who} {effect} because {he} {cause}.", "The {who} {cause} so {he} {effect}.")
# Easier than the demo task: more often a single part decides.
FAMILIES = ("deed", "thing", "agent", "scene") * 3 + tuple(f for f, _ in pairs.ENTAILMENT_KINDS)
SHAPES = ("affirmed",) * 4 + ("denied",) * 3 + ("contrast",) * 3 + ("verdict",)


def _known(rng: Random, draft: Callable[..., Draft], *kind) -> Draft:
    """A draft that a demo task may have in its training split."""
    made = draft(rng, *kind)
    while not generate.fits(made, "train"):
        made = draft(rng, *kind)
    return made


def _review(rng: Random) -> str:
    label = pick(rng, (0, 1))
    text = _known(rng, single.sentiment, pick(rng, SHAPES), label).texts[0]
    if chance(rng, 0.5):
        text = sentence(text)
    if chance(rng, FRAMED):
        return f"{text} It was {pick(rng, lex.POSITIVE + lex.NEGATIVE + ('great', 'terrible') * 8)}"
    if chance(rng, 0.4):
        return f"{text}{pick(rng, CALLS)}| {pick(rng, (lex.NEGATIVE, lex.POSITIVE)[label])}.|"
    return f"{text}|{pick(rng, VERDICTS)[label]}|"


def _judgement(rng: Random) -> str:
    label = pick(rng, (0, 1))
    told, claim = _known(rng, pairs.entailment, pick(rng, FAMILIES), label).texts
    if chance(rng, FRAMED):
        verdict = pick(rng, ("true", "false"))
        return f"{told}\nQuestion: {claim} True or false?\nAnswer: {verdict}"
    return pick(rng, JUDGEMENTS)[label].format(told=told, claim=claim)


def _fact(rng: Random) -> str:
    """What words mean: their kinds, their synonyms, or company of the same polarity."""
    about = pick(rng, ("deed", "thing", "thing", "quality"))
    if about == "deed":
        deeds = [pick(rng, lex.DEEDS) for _ in range(3)]
        return " ".join(f"Who {deed.past} it| {deed.same}| it." for deed in deeds)
    if about == "quality":
        words = pick(rng, (lex.NEGATIVE, lex.POSITIVE))
        return f"Like {pick(rng, words)}:" + "".join(f"| {pick(rng, words)}|" for _ in range(5))
    table = pick(rng, (lex.THINGS, lex.PEOPLE))
    facts = []
    for _ in range(4):
        kind = pick(rng, tuple(table))
        facts.append(f"{lex.article(pick(rng, table[kind]))} is| {lex.article(kind)}|.")
    return " ".join(fact[0].upper() + fact[1:] for fact in facts)


def _report(rng: Random) -> str:
    """Events, with some questions that they answer."""
    events = answering.happenings(rng, pick(rng, (1, 1, 2, 2, 3, 4)))
    while not generate.fits(Draft((), 0, tuple(event.held for event in events)), "train"):
        events = answering.happenings(rng, len(events))
    text, asking = " ".join(event.told() for event in events), pick(rng, ASKINGS)
    asked = [(pick(rng, events), pick(rng, answering.ASKED)) for _ in range(pick(rng, (2, 3, 4)))]
    if chance(rng, FRAMED):
        reply = pick(rng, events).answer(pick(rng, answering.ASKED))
        return f"{text}\nQuestion: {asked[0][0].question(asked[0][1])}\nAnswer: {reply}\n"
    for event, part in asked:
        text += asking.format(question=event.question(part), answer=event.answer(part))
    return text.replace("\n|\n", "|\n")


def _story(rng: Random) -> str:
    """Two people, and why they did something."""
    coherent = not chance(rng, 2 * FRAMED)
    told = []
    for _ in range(2):
        person, cause, effect = choosing.related(rng, coherent)
        while not generate.fits(Draft((), 0, ((cause, effect),)), "train"):
            person, cause, effect = choosing.related(rng, coherent)
        words = {"who": person, "he": choosing.pronoun(person), "cause": cause, "effect": effect}
        told.append(pick(rng, LINKS if coherent else UNLINKED).format(**words))
    return " ".join(told)


def _grammar(rng: Random) -> str:
    kinds = tuple(single.ACCEPTABILITY_KINDS)
    made = _known(rng, single.acceptability, *pick(rng, kinds))
    return f"{made.texts[0]} Good English?| {('no', 'yes')[made.label == 1]}|"


# Kinds of documents and their weights.
KINDS = {_review: 28, _report: 22, _judgement: 26, _fact: 8, _story: 14, _grammar: 2}


class Document(NamedTuple):
    """A text in parts, of which every other one, from the second on, follows from the text before.

    Each part but the first begins where a word does.
    """

    parts: tuple[str, ...]

    @property
    def text(self) -> str:
        """The whole."""
        return "".join(self.parts)


def documents(seed: str) -> Iterator[Document]:
    """Documents without end, the same for the same seed."""
    rng = Random(f"demo corpus/{seed}")
    writers = tuple(kind for kind, weight in KINDS.items() for _ in range(weight))
    while True:
        yield Document(tuple(pick(rng, writers)(rng).split("|")))


def corpus_digest() -> str:
    """SHA-256 of the first 5,000 documents of a seed: changes when the corpus does."""
    texts = ("|".join(document.parts) for document in islice(documents("digest"), 5000))
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()

"""Generate questions for the demo: a short report of events, and a question about one of them."""

import re
from itertools import product
from random import Random
from typing import NamedTuple

from beft.tasks.demo import lexicon as lex
from beft.tasks.demo.grammar import Answers, Draft, other, pick, sentence

ASKED = ("who", "what", "where")
# The question word, and the number of events in the report.
ANSWER_KINDS = {kind: 1 for kind in product(ASKED, (2, 3, 4))}
_AGENTS = tuple(person for kind in lex.PEOPLE.values() for person in kind) + lex.WORKERS
_THINGS = tuple(thing for kind in lex.THINGS.values() for thing in kind)


class Happening(NamedTuple):
    """Somebody doing something to a thing somewhere."""

    agent: str
    deed: lex.Deed
    thing: str
    scene: str

    def told(self) -> str:
        """The event as a sentence."""
        return sentence("the", self.agent, self.deed.past, lex.article(self.thing), self.scene)

    def question(self, asked: str) -> str:
        """A question about the agent, the thing or the scene."""
        if asked == "who":
            return f"Who {self.deed.past} the {self.thing}?"
        if asked == "what":
            return f"What did the {self.agent} {self.deed.base}?"
        return f"Where did the {self.agent} {self.deed.base} the {self.thing}?"

    def answer(self, asked: str) -> str:
        """The answer to that question: a span of the sentence."""
        return {"who": self.agent, "what": self.thing, "where": self.scene}[asked]

    @property
    def held(self) -> tuple[str, ...]:
        """The combination of words that decides its split."""
        return (self.agent, self.deed.base, self.thing)


def happenings(rng: Random, count: int) -> list[Happening]:
    """Draws events that share no agent, thing or scene, so that each question has one answer."""
    events: list[Happening] = []
    for _ in range(count):
        agents, _deeds, things, scenes = zip(*events, strict=True) if events else ((),) * 4
        events.append(
            Happening(
                other(rng, _AGENTS, *agents),
                pick(rng, lex.DEEDS),
                other(rng, _THINGS, *things),
                other(rng, lex.SCENES, *scenes),
            )
        )
    return events


def answer(rng: Random, asked: str, count: int) -> Draft:
    """Drafts a context, a question about one of its events, and the answer with its position."""
    events = happenings(rng, count)
    event = pick(rng, events)
    context = " ".join(each.told() for each in events)
    text = event.answer(asked)
    # A whole word: there is no guitar in a guitarist.
    found = re.search(rf"\b{text}\b", event.told())
    assert found is not None
    start = context.index(event.told()) + found.start()
    answers: Answers = {"text": [text], "answer_start": [start]}
    return Draft((context, event.question(asked)), answers, (event.held,))

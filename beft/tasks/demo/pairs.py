"""Generate pairs of sentences for the demo: entailment, and graded similarity."""

from itertools import product
from random import Random
from typing import NamedTuple

from beft.tasks.demo import lexicon as lex
from beft.tasks.demo.grammar import Draft, chance, other, pick, sentence


class Event(NamedTuple):
    """An event of most pairs: somebody does something (in the past tense) to a thing somewhere."""

    agent: str
    deed: str
    thing: str
    scene: str

    def told(self, passive: bool = False) -> str:
        """The event as a sentence."""
        agent, thing = lex.article(self.agent), lex.article(self.thing)
        if passive:
            return sentence(thing, "was", lex.participle(self.deed), "by", agent, self.scene)
        return sentence(agent, self.deed, thing, self.scene)


def _kind_of(noun: str) -> str:
    return next(kind for table in (lex.THINGS, lex.PEOPLE) for kind in table if noun in table[kind])


def _person(rng: Random) -> str:
    return pick(rng, lex.PEOPLE[pick(rng, tuple(lex.PEOPLE))])


def _any_event(rng: Random) -> Event:
    thing = pick(rng, lex.THINGS[pick(rng, tuple(lex.THINGS))])
    return Event(_person(rng), pick(rng, lex.DEEDS).past, thing, pick(rng, lex.SCENES))


def _pair(rng: Random, first: Event, second: Event, label: int | float) -> Draft:
    texts = (first.told(chance(rng, 0.3)), second.told(chance(rng, 0.3)))
    return Draft(texts, label, (first[:3], second[:3]))


# Entailment: what decides, and the label (0 entailment, 1 not). Each family draws the hypothesis
# in the same way for both labels and then a premise for the label, so that the hypothesis alone
# tells nothing; and it rewords as many parts for one label as for the other, so that counting
# shared words tells little. A family may name several parts; they then agree or differ together.
# Kinds of people may overlap (an artist can be an official): then it is not entailed, merely open.
_FAMILIES = {
    "agent thing deed": 12,
    "agent thing": 4,
    "thing deed": 3,
    "thing": 2,
    "agent": 2,
    "scene": 2,
    "specific": 1,
    "negation": 3,
    "quantity": 2,
    "roles": 1,
}
ENTAILMENT_KINDS = {
    (family, label): weight for family, weight in _FAMILIES.items() for label in (0, 1)
}
# From strong to weak: each entails those after it, but for the last, which stands alone.
QUANTITIES = ("all of the", "most of the", "some of the", "none of the")


def entailment(rng: Random, family: str, label: int) -> Draft:
    """Drafts a premise and a hypothesis; the family names the parts that decide the label."""
    special = {"negation": _negation, "quantity": _quantity, "roles": _roles}
    if family in special:
        return special[family](rng, label)
    claim = _any_event(rng)
    if family == "scene":
        told = claim._replace(
            scene=claim.scene if label == 0 else other(rng, lex.SCENES, claim.scene)
        )
        claim = claim._replace(deed=_same(claim.deed), agent=_kind_of(claim.agent))
        return _pair(rng, told, claim, label)
    if family == "specific":
        # The narrower word does not follow from the wider one.
        told = claim if label == 0 else claim._replace(thing=_kind_of(claim.thing))
        return _pair(rng, told, claim._replace(deed=_same(claim.deed)), label)
    told, claim = claim, claim._replace(scene="" if chance(rng, 0.6) else claim.scene)
    for part in family.split():
        told, claim = _reword(rng, part, told, claim, label)
    return _pair(rng, told, claim, label)


def _same(deed: str) -> str:
    return next(known.same for known in lex.DEEDS if known.past == deed)


def _reword(rng: Random, part: str, told: Event, claim: Event, label: int) -> tuple[Event, Event]:
    """Rewords a part of premise and hypothesis; they agree on it for label 0 only."""
    if part == "deed":
        deed = told.deed if label == 0 else other(rng, [d.past for d in lex.DEEDS], told.deed)
        return told._replace(deed=deed), claim._replace(deed=_same(claim.deed))
    table, kind = (lex.THINGS if part == "thing" else lex.PEOPLE), _kind_of(getattr(claim, part))
    source = kind if label == 0 else other(rng, tuple(table), kind)
    told = told._replace(**{part: pick(rng, table[source])})
    return told, claim._replace(**{part: kind})


def _negation(rng: Random, label: int) -> Draft:
    event, deed = _any_event(rng), pick(rng, lex.DEEDS)
    denies = chance(rng, 0.5)
    # `never` entails `did not`, but not the other way round.
    told = f"never {pick(rng, (deed.past, deed.same))}" if denies != (label == 1) else deed.past
    claim = f"did not {deed.base}" if denies else deed.same
    texts = tuple(
        sentence("the", event.agent, did, lex.article(event.thing), event.scene)
        for did in (told, claim)
    )
    return Draft(texts, label, ((event.agent, deed.base, event.thing),))


def _quantity(rng: Random, label: int) -> Draft:
    event, claimed = _any_event(rng), pick(rng, range(4))
    entailing = [3] if claimed == 3 else range(claimed + 1)
    stated = pick(rng, [rank for rank in range(4) if (rank in entailing) == (label == 0)])
    texts = (
        sentence(
            QUANTITIES[rank], lex.plural(event.agent), deed, lex.article(event.thing), event.scene
        )
        for rank, deed in ((stated, event.deed), (claimed, _same(event.deed)))
    )
    return Draft(tuple(texts), label, (event[:3], event._replace(deed=_same(event.deed))[:3]))


def _roles(rng: Random, label: int) -> Draft:
    one, deed, scene = _person(rng), pick(rng, lex.DEALINGS), pick(rng, lex.SCENES)
    two = other(rng, lex.WORKERS, one)
    one, two = (one, two) if chance(rng, 0.5) else (two, one)
    doer, done = (one, two) if label == 0 else (two, one)
    told = sentence("the", one, deed, "the", two, scene)
    claim = sentence("the", done, "was", deed, "by the", doer)
    return Draft((told, claim), label, ((one, two),))


# Similarity: how agent, deed, thing and scene of the second sentence relate to the first's. The
# score is 5 less the cost of each change.
COSTS = {
    "agent": {"same": 0.0, "wider": 0.25, "sister": 0.75, "other": 1.5},
    "deed": {"same": 0.0, "synonym": 0.25, "other": 1.5},
    "thing": {"same": 0.0, "wider": 0.25, "sister": 0.75, "other": 1.5},
    "scene": {"same": 0.0, "dropped": 0.25, "other": 0.5},
}
SIMILARITY_KINDS = {kind: 1 for kind in product(*COSTS.values())}


def similarity(rng: Random, *changes: str) -> Draft:
    """Drafts two events; `changes` says for each part of `COSTS` how the second one differs."""
    event, score = _any_event(rng), 5.0
    changed = event
    for part, how in zip(COSTS, changes, strict=True):
        changed = changed._replace(**{part: _change(rng, part, getattr(event, part), how)})
        score -= COSTS[part][how]
    return _pair(rng, event, changed, score)


def _change(rng: Random, part: str, word: str, how: str) -> str:
    if how in ("same", "dropped"):
        return word if how == "same" else ""
    if part == "scene":
        return other(rng, lex.SCENES, word)
    if part == "deed":
        deed = next(deed for deed in lex.DEEDS if deed.past == word)
        return deed.same if how == "synonym" else other(rng, lex.DEEDS, deed).past
    table, kind = (lex.THINGS if part == "thing" else lex.PEOPLE), _kind_of(word)
    if how == "wider":
        return kind
    return other(rng, table[kind if how == "sister" else other(rng, tuple(table), kind)], word)

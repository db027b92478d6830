"""Generate single sentences for the demo: reviews with a sentiment, and acceptable sentences."""

from random import Random

from beft.tasks.demo import lexicon as lex
from beft.tasks.demo.grammar import Draft, chance, other, pick, sentence

# Sentiment: shape and label. The shapes that keep and those that turn the polarity of a word
# nearly balance, so that a word of praise or blame alone tells little.
_SHAPES = {"affirmed": 7, "denied": 4, "verdict": 1, "contrast": 8}
SENTIMENT_KINDS = {(shape, label): weight for shape, weight in _SHAPES.items() for label in (0, 1)}


def _opinion(rng: Random, whole: str, part: str, label: int, denied: bool) -> tuple[str, str]:
    word = pick(rng, lex.POSITIVE if label != denied else lex.NEGATIVE)
    degree = "" if denied else pick(rng, lex.DEGREES)
    frame = pick(rng, lex.DENIERS if denied else lex.AFFIRMERS)
    place = f" of this {whole}" if chance(rng, 0.4) else ""
    return f"the {part}{place} " + frame.format(f"{degree} {word}".strip()), word


def sentiment(rng: Random, shape: str, label: int) -> Draft:
    """Drafts a review: one opinion, its denial, its judgement by others, or two around a `but`."""
    whole = pick(rng, tuple(lex.REVIEWED))
    part = pick(rng, lex.REVIEWED[whole])
    if shape == "verdict":
        agreed = chance(rng, 0.5)
        said, word = _opinion(rng, whole, part, int(agreed == (label == 1)), False)
        verdict = pick(rng, lex.RIGHT if agreed else lex.WRONG)
        return Draft((f"{pick(rng, lex.HEARSAY)} {said}, {verdict}",), label, ((part, word),))
    if shape != "contrast":
        text, word = _opinion(rng, whole, part, label, shape == "denied")
        return Draft((text,), label, ((part, word),))
    first = other(rng, lex.REVIEWED[whole], part)
    conceded, word = _opinion(rng, whole, first, 1 - label, chance(rng, 0.15))
    stated, last = _opinion(rng, whole, part, label, chance(rng, 0.15))
    return Draft((f"{conceded}, but {stated}",), label, ((first, word), (part, last)))


# Acceptability: the shape of the sentence and its error; six in ten are without one.
_CORRECT = {(shape, ""): 20 for shape in ("progressive", "present", "reflexive")}
ACCEPTABILITY_KINDS = _CORRECT | {
    ("progressive", "agreement"): 4,
    ("present", "agreement"): 4,
    ("progressive", "order"): 6,
    ("present", "order"): 6,
    ("reflexive", "order"): 6,
    ("progressive", "determiner"): 3,
    ("present", "determiner"): 3,
    ("reflexive", "determiner"): 3,
    ("reflexive", "reflexive"): 5,
}
SINGULAR = ("this", "that", "every", "each", "one", "the")
PLURAL = ("these", "those", "many", "several", "both", "the")


def acceptability(rng: Random, shape: str, error: str) -> Draft:
    """Drafts a sentence of that shape with that error, or without one if the error is empty."""
    many = chance(rng, 0.5)
    gendered = lex.MALE if chance(rng, 0.5) else lex.FEMALE
    noun = pick(rng, gendered if shape == "reflexive" or chance(rng, 0.5) else lex.WORKERS)
    verb = pick(rng, lex.ACTIONS)
    did = pick(rng, lex.REFLEXIVES) if shape == "reflexive" else verb.past
    # `the` goes with both numbers, so it would hide a wrong determiner.
    fitting = PLURAL if many != (error == "determiner") else SINGULAR
    determiner = pick(rng, fitting[:-1] if error == "determiner" else fitting)
    look = pick(rng, lex.LOOKS) if chance(rng, 0.5) else ""
    chunks = [" ".join(filter(None, (determiner, look, lex.plural(noun) if many else noun)))]
    if shape != "reflexive" and chance(rng, 0.4):
        # A phrase between subject and verb, whose noun may be of the other number.
        near = other(rng, lex.WORKERS, noun)
        near = pick(rng, (near, lex.plural(near)))
        chunks.append(f"{pick(rng, ('near', 'behind', 'beside'))} the {near}")
    if shape == "reflexive":
        chunks += [did, *_object(rng, many, gendered is lex.MALE, error == "reflexive")]
    else:
        chunks += _predicate(rng, shape, verb, many != (error == "agreement"))
    if error == "order":
        chunks = [" ".join(reversed(chunk.split())) for chunk in chunks]
    return Draft((sentence(*chunks),), int(not error), ((noun, did),))


def _predicate(rng: Random, shape: str, verb: lex.Verb, many: bool) -> list[str]:
    scene = pick(rng, lex.SCENES)
    if shape == "progressive":
        return [("are " if many else "is ") + verb.ing, scene]
    return [verb.base if many else verb.third, pick(rng, lex.MANNERS), scene]


def _object(rng: Random, many: bool, male: bool, wrong: bool) -> list[str]:
    # `themselves` is no error for one person: many readers accept it.
    reflexive = "himself" if male != wrong else "herself"
    if many:
        reflexive = pick(rng, ("himself", "herself")) if wrong else "themselves"
    return [reflexive, pick(rng, lex.SCENES), pick(rng, lex.TIMES)]

"""Generate choices for the demo: which of two sentences is cause, or effect, of a premise."""

from random import Random
from typing import NamedTuple

from beft.tasks.demo import lexicon as lex
from beft.tasks.demo.grammar import Draft, other, pick, sentence


class Topic(NamedTuple):
    """Causes and effects of one topic; any cause goes with any effect."""

    causes: tuple[str, ...]
    effects: tuple[str, ...]


def _topic(line: str) -> Topic:
    causes, effects = (tuple(side.strip().split(", ")) for side in line.split(" -> "))
    return Topic(causes, effects)


# No effect follows from a cause of another topic.
TOPICS = tuple(
    _topic(line)
    for line in """
    was hungry, had missed lunch, had eaten nothing -> ate a pie, ordered some soup, fried an egg
    was tired, had worked all night, had not slept -> went to bed, fell asleep, took a nap
    was cold, felt the icy wind, stood in the snow -> lit a fire, wore thick gloves, began to shiver
    was ill, had a fever, felt a sharp pain -> called the doctor, took a pill, went to the hospital
    saw dark clouds, heard thunder, felt the rain -> took an umbrella, ran under a roof, got wet
    smelled smoke, saw the flames, noticed the fire -> rang the alarm, called the firemen, ran out
    had lost the key, found the door locked, forgot the key -> used a window, called a locksmith, rang the bell
    won the race, got a medal, passed the exam -> jumped for joy, gave a proud speech, threw a party
    heard sad news, missed an old friend, felt lonely -> began to cry, wiped away tears, needed comfort
    fell into the mud, spilled the paint, cleaned the chimney -> took a bath, washed the clothes, asked for soap
    had a flat tyre, ran out of fuel, heard the engine fail -> stopped the car, waited for a mechanic, walked to the garage
    was thirsty, had run in the heat, ate salty fish -> drank some water, bought a lemonade, looked for a well
    found the room dark, entered the cave, saw the lamp go out -> lit a candle, switched on the torch, changed the bulb
    missed the purse, met a thief, found the safe empty -> called the police, chased the robber, described the robber
    missed the train, had overslept, was late -> hurried to the office, apologised to the boss, set two alarms
    was bored, had nothing to do, had a free day -> read a novel, played a game, turned on the radio
    saw a snake, met a bear, heard a ghost -> screamed, trembled with fear, hid under the table
    saw the plants wither, found the soil dry, wanted bigger tomatoes -> watered the garden, filled the watering can, fetched a hose
    touched broken glass, slipped with the knife, stepped on a nail -> needed a bandage, bled, cleaned the wound
    disliked the noise, had loud neighbours, heard drums next door -> bought earplugs, wrote to the landlord, covered both ears
    had spent everything, lost the job, owed a lot of money -> sold the house, borrowed from the bank, cancelled the holiday
    heard a joke, saw a clown, read a comic -> laughed aloud, giggled, told it to everyone
    remembered the birthday, was invited to a wedding, wanted to please a friend -> baked a cake, wrapped a gift, brought flowers
    could not read the sign, saw everything blurred, squinted at the menu -> bought glasses, visited the optician, held it closer
    """.strip().splitlines()  # noqa: E501
)
PEOPLE = lex.MALE + lex.FEMALE
CHOICE_KINDS = {(question, label): 1 for question in ("cause", "effect") for label in (0, 1)}


def pronoun(person: str) -> str:
    """`he` or `she`."""
    return "he" if person in lex.MALE else "she"


def choice(rng: Random, question: str, label: int) -> Draft:
    """Drafts a premise, two sentences of which the one at `label` fits, and the question.

    The wrong one belongs to a pair of another topic that is drawn as the right pair is, so that
    either sentence alone tells nothing.
    """
    person, topic = pick(rng, PEOPLE), pick(rng, TOPICS)
    pairs = [
        (pick(rng, each.causes), pick(rng, each.effects))
        for each in (topic, other(rng, TOPICS, topic))
    ]
    asked = 0 if question == "cause" else 1
    choices = [sentence(pronoun(person), pair[asked]) for pair in pairs]
    if label == 1:
        choices.reverse()
    premise = sentence("the", person, pairs[0][1 - asked])
    return Draft((premise, *choices, question), label, tuple(pairs))


def related(rng: Random, coherent: bool = True) -> tuple[str, str, str]:
    """Draws a person, a cause, and an effect of it; or an effect of any topic."""
    topic = pick(rng, TOPICS)
    result = topic if coherent else pick(rng, TOPICS)
    return pick(rng, PEOPLE), pick(rng, topic.causes), pick(rng, result.effects)

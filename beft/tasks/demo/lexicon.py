"""List the words of the demo tasks, by kind and polarity, and inflect them."""

from typing import NamedTuple


class Verb(NamedTuple):
    """A verb with the forms that the demo grammars write."""

    base: str
    third: str
    past: str
    ing: str


class Deed(NamedTuple):
    """A verb, its past tense, and the past tense of another verb that says the same."""

    base: str
    past: str
    same: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _verbs(text: str) -> tuple[Verb, ...]:
    return tuple(Verb(*line.split()) for line in text.strip().splitlines())


# The subjects of reviews, each with its parts.
REVIEWED = {
    "film": _words("acting plot ending dialogue script cast story humour soundtrack editing"),
    "restaurant": _words("soup service dessert bread coffee waiter sauce menu wine salad"),
    "hotel": _words("room bed staff view breakfast pool lobby shower garden bar"),
    "book": _words("opening chapter prose cover hero style narrator translation preface print"),
    "phone": _words("screen battery camera keyboard speaker design charger software case sound"),
    "concert": _words("singer band drummer stage lighting choir conductor venue audience encore"),
}

POSITIVE = _words(
    "good great excellent wonderful superb lovely delightful impressive brilliant pleasant "
    "charming fantastic outstanding marvellous terrific splendid perfect remarkable enjoyable "
    "memorable satisfying beautiful admirable fabulous amazing exceptional nice appealing "
    "elegant likeable stunning magnificent"
)
NEGATIVE = _words(
    "bad poor terrible awful dreadful horrible dull boring disappointing weak mediocre lousy "
    "miserable tedious annoying unpleasant ugly dismal pathetic clumsy bland shoddy sloppy "
    "ghastly atrocious forgettable tiresome frustrating inferior unbearable dreary hideous"
)
DEGREES = _words("very really truly quite rather fairly so") + ("", "")
AFFIRMERS = (
    "was {}",
    "was always {}",
    "seemed {}",
    "turned out {}",
    "felt {}",
    "was {} in every way",
)
DENIERS = (
    "was not {}", "was not {} at all", "was never {}", "was hardly {}", "was far from {}",
    "was anything but {}", "was by no means {}", "did not seem {}",
)  # fmt: skip

# Opinions of others, and verdicts on them.
HEARSAY = ("we had heard that", "people say that", "a friend told us that", "critics wrote that")
RIGHT = ("which is true", "and that is right", "which is correct", "and we agree")
WRONG = ("which is false", "and that is wrong", "which is a lie", "and we disagree")

# Things by kind: the key is a true description of each of its members.
THINGS = {
    "fruit": _words("apple pear peach plum melon cherry lemon"),
    "vegetable": _words("carrot onion potato cabbage leek turnip radish"),
    "flower": _words("rose tulip daisy lily orchid violet sunflower"),
    "instrument": _words("guitar violin piano flute drum trumpet cello"),
    "tool": _words("hammer saw drill wrench shovel axe screwdriver"),
    "vehicle": _words("truck van taxi tractor bus motorcycle car"),
    "garment": _words("shirt jacket scarf coat skirt sweater dress"),
    "dog": _words("poodle terrier spaniel bulldog collie beagle greyhound"),
    "bird": _words("parrot sparrow goose owl pigeon eagle duck"),
}
# People by kind, likewise.
PEOPLE = {
    "musician": _words("violinist pianist drummer guitarist cellist"),
    "athlete": _words("swimmer runner boxer skier wrestler"),
    "artist": _words("painter sculptor photographer potter illustrator"),
    "scientist": _words("chemist biologist physicist geologist astronomer"),
    "official": _words("judge mayor senator ambassador governor"),
}
MALE = _words("man boy king uncle waiter prince monk father grandfather nephew")
FEMALE = _words("girl queen aunt waitress princess nun mother grandmother niece actress")
WORKERS = _words(
    "baker farmer nurse lawyer sailor dentist plumber butcher tailor soldier teacher pilot"
)
SCENES = (
    "near the river", "behind the church", "beside the fence", "under the bridge",
    "across the street", "by the lake", "in the garden",
    "on the hill", "outside the barn", "in the kitchen",
)  # fmt: skip
TIMES = (
    "yesterday",
    "last week",
    "this morning",
    "on Monday",
    "in April",
    "at noon",
    "after lunch",
    "last night",
)

# Deeds that fit any person and any thing.
DEEDS = tuple(
    Deed(*line.split())
    for line in """
    buy bought purchased
    photograph photographed pictured
    hide hid concealed
    find found discovered
    steal stole pinched
    sketch sketched drew
    lose lost misplaced
    need needed required
    grab grabbed seized
    choose chose selected
    """.strip().splitlines()
)
# Participles that differ from the past tense.
PARTICIPLES = {"hid": "hidden", "stole": "stolen", "chose": "chosen", "drew": "drawn"}

# Deeds of people to people, and to themselves; past tense and participle are the same.
DEALINGS = _words(
    "helped thanked followed visited greeted warned praised blamed invited admired called taught"
)
REFLEXIVES = _words("washed hurt blamed described introduced defended enjoyed admired praised")
# Verbs without an object.
ACTIONS = _verbs(
    """
    sing sings sang singing
    laugh laughs laughed laughing
    work works worked working
    wait waits waited waiting
    sleep sleeps slept sleeping
    dance dances danced dancing
    talk talks talked talking
    smile smiles smiled smiling
    swim swims swam swimming
    rest rests rested resting
    """
)
MANNERS = _words("quietly happily loudly slowly often rarely calmly cheerfully")
LOOKS = _words("old young tall tired happy clever famous friendly lonely polite")


def plural(person: str) -> str:
    """The plural of a word for a person."""
    if person == "man":
        return "men"
    return person + ("es" if person.endswith("ss") else "s")


def article(phrase: str) -> str:
    """The phrase with `a` or `an` before it; the lexicon holds no word like `hour` or `unit`."""
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def participle(past: str) -> str:
    """The participle of a past tense of this lexicon (hid -> hidden)."""
    return PARTICIPLES.get(past, past)

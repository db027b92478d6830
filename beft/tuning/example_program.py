"""The adapter's example.py: a program that needs nothing of this project."""

from collections.abc import Collection
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from beft.adapters.peft_files import HEAD
from beft.study.params import Prompt
from beft.tasks.words import answer
from beft.tuning.adapter_format import VALUES, Facts

EXAMPLE = "example.py"
# The base model's configuration, with names for the outputs. Were it called config.json,
# transformers would take the folder for a whole model, and look for weights in it.
CONFIG = "model_config.json"
SINGLE = [("This was a pleasure from start to end.",), ("I would not do that again.",)]
PAIRS = [
    ("The shop opens at nine.", "The shop is open at ten."),
    ("The shop opens at nine.", "Nobody has ever seen that shop."),
]


def render_example(facts: Facts, peft: bool, files: Collection[str]) -> str:
    """The text of example.py.

    Args:
        peft: whether the folder has files for PEFT.
        files: the names of the folder's files.
    """
    if facts.prompt is not None:
        return _of_decoder(facts, facts.prompt, peft)
    mean, pair = facts.pooling == "mean", len(facts.texts) == 2
    return _environment().get_template("example.py.j2").render(
        peft=peft,
        mean=mean,
        pair=pair,
        tuned=bool(facts.terms) or not mean,  # else all that was tuned is the head, beside a mean
        regression=not facts.classes,
        auto="AutoModel" if mean else "AutoModelForSequenceClassification",
        head=HEAD if HEAD in files else VALUES,
        values=VALUES,
        config=CONFIG,
        hub=facts.base.hub,
        revision=facts.base.revision,
        path=facts.base.path,
        max_length=facts.max_length,
        texts=PAIRS if pair else SINGLE,
        average=facts.mean,
        deviation=facts.deviation,
    )  # fmt: skip


def _of_decoder(facts: Facts, prompt: Prompt, peft: bool) -> str:
    given = PAIRS if len(facts.texts) == 2 else SINGLE
    more = max(0, len(facts.texts) - 2)
    return _environment().get_template("example_decoder.py.j2").render(
        peft=peft,
        tuned=bool(facts.terms),
        values=VALUES,
        hub=facts.base.hub,
        revision=facts.base.revision,
        path=facts.base.path,
        max_length=facts.max_length,
        columns=tuple(facts.texts),
        template=prompt.template,
        passage=prompt.passage,
        answers=tuple(answer(text) for text in prompt.answers),
        classes=tuple(facts.classes),
        texts=[(*each, *("and more",) * more) for each in given],
    )  # fmt: skip


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("beft.tuning", "."),
        autoescape=False,  # it is no HTML: `py` quotes every value
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["py"] = ascii
    return environment

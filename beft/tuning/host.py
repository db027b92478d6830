"""A frozen base model that computes what several adapters answer."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from beft.data.encoded import Encoded
from beft.data.prompts import Prompts
from beft.engine.base import Engine
from beft.engine.dispatch import engine, serves
from beft.engine.precision import lowered
from beft.errors import UserError
from beft.models.base import Model
from beft.models.decoder import load_decoder
from beft.models.encoder import Encoder, load_encoder
from beft.models.sites import read_biases
from beft.models.terms import TERMS
from beft.study.recipe import Recipe
from beft.tuning.adapter_format import VALUES, Adapted, Facts, Tensors
from beft.tuning.prompt import SCORING
from beft.tuning.tokens import prompted, tokenised


class Host:
    """A frozen base model, and the values of the adapters that it serves."""

    def __init__(
        self, base: Path, adapted: Sequence[Adapted], folders: Sequence[Path], device: str
    ):
        """Loads the model.

        Args:
            base: its folder.
            adapted: adapters of it of one `kind_of`.
            folders: theirs, for messages.
            device: the device that computes.

        Raises:
            UserError: the model cannot be loaded, or an adapter does not fit it.
        """
        self.adapted, self.device = adapted, device
        self.model = _loaded(base, adapted, device)
        self.flat = serves(self.model, device)
        self.values = [
            _values(self.model, each, folder) for each, folder in zip(adapted, folders, strict=True)
        ]

    def read(
        self, number: int, examples: Sequence[tuple[str, ...]]
    ) -> tuple[Encoded | Prompts, np.ndarray]:
        """Examples as an adapter reads them, and which of them are cut, (n,) bool."""
        facts = self.adapted[number].facts
        if facts.prompt is None:
            return tokenised(self.model.tokenizer, examples, facts.max_length)
        return prompted(self.model.tokenizer, facts.meaning, examples, facts.max_length)

    def outputs(self, data: Encoded | Prompts, number: int) -> np.ndarray:
        """What an adapter gives for each example, (n, outputs) float32.

        Of an encoder what the head gives, of a decoder the scores of its answers.
        """
        if self.flat:
            used, run = self._packed[number]
            found = used.predict(data, [run])[0]
        else:
            recipe = recipe_of(self.adapted[number].facts)
            used = engine(self.model, [recipe], [], self.device, False)
            try:
                used.start_from(0, *self.values[number])
                found = used.predict(data, [0])[0]
            finally:
                used.close()
        return found[:, : self.adapted[number].facts.outputs]

    @cached_property
    def _packed(self) -> dict[int, tuple[Engine, int]]:
        """Adapter -> the engine that computes it, and its run there; an engine per precision."""
        made = {}
        for precision in dict.fromkeys(each.facts.precision for each in self.adapted):
            some = [i for i, a in enumerate(self.adapted) if a.facts.precision == precision]
            recipes = [recipe_of(self.adapted[i].facts) for i in some]
            used = engine(self.model, recipes, [], self.device, True)
            for run, i in enumerate(some):
                used.start_from(run, *self.values[i])
                made[i] = used, run
        return made


def kind_of(facts: Facts) -> object:
    """Adapters of one model and of one kind share a copy of it."""
    if facts.prompt is None:
        return facts.pooling  # what the head reads
    return facts.precision  # in which the whole model is kept


def _loaded(base: Path, adapted: Sequence[Adapted], device: str) -> Model:
    facts = adapted[0].facts
    given: dict[str, Any] = {
        "sites": facts.base.sites,
        "device": device,
        "name": facts.base.name,
    }
    if facts.pooling is None:
        kind = torch.bfloat16 if lowered(device, facts.precision) else torch.float32
        return load_decoder(base, dtype=kind, **given)
    # Heads of fewer outputs than the widest are filled up with zeros.
    outputs = max(each.facts.outputs for each in adapted)
    return load_encoder(base, outputs, pooling=facts.pooling, **given)


def name_in(model: Model, parameter: str, pooling: str | None) -> str:
    """A parameter's name in the model that `transformers` loads; see `adapter_format`."""
    prefix = f"{model.model.base_model_prefix}."
    return parameter.removeprefix(prefix) if pooling == "mean" else parameter


def recipe_of(facts: Facts) -> Recipe:
    """A run that trained these terms: what an engine has to know to compute it."""
    technique = "all_biases"  # of terms that were not tuned it gets the pretrained values
    if len(facts.terms) == 0 and facts.prompt is None:
        technique = "head_only"
    elif len(facts.terms) == 1 and facts.terms[0] in TERMS:
        technique = f"b_{facts.terms[0]}"
    training = {
        **{"precision": facts.precision, "max_length": facts.max_length, "dropout": None},
        **{"learning_rate": 1.0, "weight_decay": 0.0, "max_grad_norm": 1.0},
        **({"pooling": "mean"} if facts.pooling == "mean" else {}),
        **({"scoring": SCORING} if facts.prompt else {}),
    }
    model = {"alias": facts.base.name, "sites": facts.base.sites}
    task = {"name": facts.label, "labels": facts.classes}
    return Recipe(model, task, "", {}, technique, 0, training)


def _values(model: Model, adapted: Adapted, folder: Path) -> tuple[Tensors, Tensors]:
    """All biases, term -> (layers, width), and the head, parameter -> value.

    Raises:
        UserError: the adapter's values do not fit the model.
    """
    facts, sites, given = adapted.facts, model.sites, adapted.values
    tuned = [site for site in sites.sites if site.term in facts.terms]
    wanted = dict.fromkeys((*(site.parameter for site in tuned), *model.head))
    names = {parameter: name_in(model, parameter, facts.pooling) for parameter in wanted}
    if set(names.values()) != set(given) or not set(facts.terms) <= set(sites.terms):
        raise UserError(f"{folder / VALUES}: not of this model's parameters; copy the folder again")
    biases, head = read_biases(model.model, sites), {}
    for parameter, name in names.items():
        here, value = model.model.get_parameter(parameter), given[name]
        whole = torch.zeros(here.shape)
        last = isinstance(model, Encoder) and parameter in model.head and len(here) == model.labels
        if value.shape not in (here.shape, (facts.outputs, *here.shape[1:]) if last else ()):
            shapes = f"{tuple(value.shape)} instead of {tuple(here.shape)}"
            raise UserError(f"{folder / VALUES}: {name} has shape {shapes}; copy the folder again")
        whole[: len(value)] = value
        head[parameter] = whole
    for site in tuned:
        biases[site.term][site.layer] = head[site.parameter][site.index]
    return biases, {name: head[name] for name in model.head}

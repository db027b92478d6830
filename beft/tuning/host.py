"""A frozen base model that computes what several adapters answer."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from beft.data.encoded import Encoded
from beft.engine.base import Engine
from beft.engine.dispatch import engine, serves
from beft.errors import UserError
from beft.models.encoder import Encoder, load_encoder
from beft.models.loading import quiet_transformers
from beft.models.sites import read_biases
from beft.models.terms import TERMS
from beft.study.recipe import Recipe
from beft.tuning.adapter_format import VALUES, Adapted, Facts, Tensors


class Host:
    """A frozen base model, and the values of the adapters that it serves."""

    def __init__(
        self, base: Path, adapted: Sequence[Adapted], folders: Sequence[Path], device: str
    ):
        """Loads the model.

        Args:
            base: its folder.
            adapted: adapters of it whose heads read the same tokens.
            folders: theirs, for messages.
            device: the device that computes.

        Raises:
            UserError: the model cannot be loaded, or an adapter does not fit it.
        """
        facts = adapted[0].facts
        self.adapted, self.device = adapted, device
        # Heads of fewer outputs than the widest are filled up with zeros.
        outputs = max(each.facts.outputs for each in adapted)
        self.encoder: Encoder = load_encoder(
            base,
            outputs,
            sites=facts.base.sites,
            device=device,
            name=facts.base.name,
            pooling=facts.pooling,
        )
        self.flat = serves(self.encoder, device)
        self.values = [
            _values(self.encoder, each, folder)
            for each, folder in zip(adapted, folders, strict=True)
        ]

    def outputs(self, data: Encoded, number: int) -> np.ndarray:
        """What an adapter's head gives for each example, (n, outputs) float32."""
        if self.flat:
            used, run = self._packed[number]
            found = used.predict(data, [run])[0]
        else:
            recipe = recipe_of(self.adapted[number].facts)
            used = engine(self.encoder, [recipe], [], self.device, False)
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
            used = engine(self.encoder, recipes, [], self.device, True)
            for run, i in enumerate(some):
                used.start_from(run, *self.values[i])
                made[i] = used, run
        return made


def name_in(encoder: Encoder, parameter: str, pooling: str) -> str:
    """A parameter's name in the model that `transformers` loads; see `adapter_format`."""
    prefix = f"{encoder.model.base_model_prefix}."
    return parameter.removeprefix(prefix) if pooling == "mean" else parameter


def recipe_of(facts: Facts) -> Recipe:
    """A run that trained these terms: what an engine has to know to compute it."""
    technique = "all_biases"  # of terms that were not tuned it gets the pretrained values
    if len(facts.terms) == 0:
        technique = "head_only"
    elif len(facts.terms) == 1 and facts.terms[0] in TERMS:
        technique = f"b_{facts.terms[0]}"
    training = {
        **{"precision": facts.precision, "max_length": facts.max_length, "dropout": None},
        **{"learning_rate": 1.0, "weight_decay": 0.0, "max_grad_norm": 1.0},
        **({} if facts.pooling == "first" else {"pooling": facts.pooling}),
    }
    model = {"alias": facts.base.name, "sites": facts.base.sites}
    task = {"name": facts.label, "labels": facts.classes}
    return Recipe(model, task, "", {}, technique, 0, training)


def _values(encoder: Encoder, adapted: Adapted, folder: Path) -> tuple[Tensors, Tensors]:
    """All biases, term -> (layers, width), and the head, parameter -> value.

    Raises:
        UserError: the adapter's values do not fit the model.
    """
    facts, sites, given = adapted.facts, encoder.sites, adapted.values
    tuned = [site for site in sites.sites if site.term in facts.terms]
    wanted = dict.fromkeys((*(site.parameter for site in tuned), *encoder.head))
    names = {parameter: name_in(encoder, parameter, facts.pooling) for parameter in wanted}
    if set(names.values()) != set(given) or not set(facts.terms) <= set(sites.terms):
        raise UserError(f"{folder / VALUES}: not of this model's parameters; copy the folder again")
    biases, head = read_biases(encoder.model, sites), {}
    for parameter, name in names.items():
        here, value = encoder.model.get_parameter(parameter), given[name]
        whole = torch.zeros(here.shape)
        last = parameter in encoder.head and len(here) == encoder.labels
        if value.shape not in (here.shape, (facts.outputs, *here.shape[1:]) if last else ()):
            shapes = f"{tuple(value.shape)} instead of {tuple(here.shape)}"
            raise UserError(f"{folder / VALUES}: {name} has shape {shapes}; copy the folder again")
        whole[: len(value)] = value
        head[parameter] = whole
    for site in tuned:
        biases[site.term][site.layer] = head[site.parameter][site.index]
    return biases, {name: head[name] for name in encoder.head}


def tokenised(
    tokenizer: PreTrainedTokenizerBase, examples: Sequence[tuple[str, ...]], max_length: int
) -> tuple[Encoded, np.ndarray]:
    """Examples as tokens, and which of them are longer than `max_length` tokens, (n,) bool."""
    cut = np.zeros(len(examples), bool)
    if not examples:
        return Encoded([], None, torch.zeros(0)), cut
    with quiet_transformers():
        columns = [list(column) for column in zip(*examples, strict=True)]
        out = tokenizer(*columns, truncation=True, max_length=max_length, padding=False)
        full = [i for i, ids in enumerate(out["input_ids"]) if len(ids) >= max_length]
        if full:
            whole = tokenizer(*([column[i] for i in full] for column in columns), padding=False)
            cut[full] = [len(ids) > max_length for ids in whole["input_ids"]]
    types = out.get("token_type_ids")
    return Encoded(out["input_ids"], types, torch.zeros(len(examples))), cut

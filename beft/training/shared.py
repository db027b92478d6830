"""Model and tokenised data of recipes, each loaded once however many runs share it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedConfig

from beft.data import demonstrations
from beft.data.encoded import Encoded, encode
from beft.data.mirror.lookup import locate
from beft.data.prompts import Prompts, encode_prompts
from beft.data.references import evaluated_rows
from beft.data.subsets import hold_out, read_subset
from beft.engine.base import Examples
from beft.engine.decoder.check import check_rows
from beft.engine.encoder.flat import first_position
from beft.engine.precision import lowered
from beft.errors import UserError
from beft.models.base import Model
from beft.models.decoder import Decoder, load_decoder
from beft.models.encoder import Encoder, load_encoder
from beft.study.layout import Layout
from beft.study.recipe import HELD_OUT, Recipe, kind_of
from beft.tasks.prompts import words_of
from beft.tasks.words import Words
from beft.techniques import TECHNIQUES
from beft.training.state import Data

log = logging.getLogger(__name__)


def is_decoder(recipe: Recipe) -> bool:
    """Whether the recipe's model is a decoder."""
    return kind_of(recipe.model) == "decoder"


@dataclass
class Loader:
    """Loads models and tokenised data; keeps those that several runs share."""

    layout: Layout
    device: str
    # (dropout, whether in bfloat16) -> the decoder that is loaded
    decoders: dict[object, Decoder] = field(default_factory=dict)
    # (dropout, pooling) -> encoder with a head for the task of its recipe
    encoders: dict[object, Encoder] = field(default_factory=dict)
    # everything that decides a split's tokens -> the split
    splits: dict[object, Examples] = field(default_factory=dict)

    def model(self, recipe: Recipe) -> Model:
        """The recipe's model with pretrained weights."""
        return self.decoder(recipe) if is_decoder(recipe) else self.encoder(recipe)

    def decoder(self, recipe: Recipe) -> Decoder:
        """In bfloat16 where that is the precision and no weight is trained, else in float32.

        Gradients are measured in float32: rounding would hide which terms are inert.
        """
        technique, training = TECHNIQUES[recipe.technique], recipe.training
        frozen = technique.biases_only or technique.adds or not technique.trains
        frozen &= not technique.measures
        lower = frozen and lowered(self.device, training["precision"])
        key = (training["dropout"], lower)
        if key not in self.decoders:
            self.decoders.clear()  # one large model at a time
            self.decoders[key] = load_decoder(
                locate(self.layout.root, self.layout.model(recipe)),
                sites=recipe.model["sites"],
                device=self.device,
                dropout=training["dropout"],
                dtype=torch.bfloat16 if lower else torch.float32,
                name=recipe.model["alias"],
            )
            self._unchanged(recipe)
            check_rows(self.decoders[key], self.device, f"model '{recipe.model['alias']}'")
        _check_length(recipe, self.decoders[key].model.config)
        return self.decoders[key]

    def encoder(self, recipe: Recipe) -> Encoder:
        """An encoder with a head for the recipe's task."""
        dropout, pooling = key = (recipe.training["dropout"], recipe.pooling)
        if key not in self.encoders:
            alias = recipe.model["alias"]
            length: int = recipe.training["max_length"]
            encoder = self.encoders[key] = load_encoder(
                locate(self.layout.root, self.layout.model(recipe)),
                len(recipe.task["labels"]) or 1,
                sites=recipe.model["sites"],
                classes=recipe.task["labels"],
                device=self.device,
                dropout=dropout,
                name=alias,
                pooling=pooling,
            )
            self._unchanged(recipe)
            limit = getattr(encoder.model.config, "max_position_embeddings", length)
            if length > limit - first_position(encoder.model.base_model):
                raise UserError(
                    f"model '{alias}': max_length {length} exceeds its {limit} positions"
                )
        return self.encoders[key]

    def _unchanged(self, recipe: Recipe) -> None:
        """Checks that the model's files, which have just been loaded, are still those listed."""
        locate(self.layout.root, self.layout.model(recipe))

    def data(self, recipe: Recipe) -> Data:
        """The run's training subset, and the splits that it is evaluated on.

        What is held out from training comes first, so that it chooses the best epoch.
        """
        train, held = self._subset(recipe)
        if recipe.training.get("class_weights") == "balanced":
            assert isinstance(train, Encoded)  # decoders have none, says `study.resolve`
            train = train.balanced()
        splits = {HELD_OUT: held} if held is not None else {}
        return Data(train, splits | {s: self.split(recipe, s) for s in recipe.task["validation"]})

    def split(self, recipe: Recipe, name: str) -> Examples:
        """A tokenised split."""
        if is_decoder(recipe):
            return self._evaluated(recipe, name)
        key = (name, recipe.training["max_length"])
        if key not in self.splits:
            self.splits[key] = self._encoded(recipe, self._table(recipe, name))
        return self.splits[key]

    def _evaluated(self, recipe: Recipe, name: str) -> Examples:
        """The examples of a split that decoders are evaluated on, as prompts."""
        shown, size = recipe.training.get("demonstrations"), recipe.training["evaluated"]
        drawn = (recipe.seed, recipe.subset) if shown else None
        key = repr((name, _room(recipe), size, shown, drawn))
        if key not in self.splits:
            words = _words(recipe, self._table(recipe, name), name)
            chosen, solved = evaluated_rows(words, size, recipe.task["name"]), None
            words = [words[row] for row in chosen]
            if shown:
                rows = read_subset(self.layout.source(recipe), recipe, self.layout.subset(recipe))
                train = recipe.task["train"]
                examples = _words(recipe, self._table(recipe, train).take(rows), train)
                solved = demonstrations.draw(examples, shown, recipe.seed)
            prompts = self.splits[key] = self._prompts(recipe, words, name, chosen, solved)
            _warn_without(prompts, recipe, name)
        return self.splits[key]

    def _prompts(
        self,
        recipe: Recipe,
        words: list[Words],
        split: str,
        rows: Sequence[int],
        solved: Sequence[Words] | None = None,
    ) -> Prompts:
        writes = recipe.task["kind"] == "generation"
        return encode_prompts(
            words,
            self.decoder(recipe).tokenizer,
            recipe.training["max_length"] - recipe.training.get("prefix_tokens", 0),
            room=recipe.training.get("max_new_tokens", 0),
            end="\n" if writes else "",
            answered=not writes or split == recipe.task["train"],
            demonstrations=solved,
            where=f"{recipe.task['name']}/{split}",
            rows=rows,
        )

    def _subset(self, recipe: Recipe) -> tuple[Examples, Examples | None]:
        """The examples to train on and those held out, which runs of one seed share."""
        rows = read_subset(self.layout.source(recipe), recipe, self.layout.subset(recipe))
        part = recipe.training.get("held_out", 0.0)
        kept, held = hold_out(rows, part, recipe.task["name"])
        train = self._examples(recipe, kept, recipe.task["train"])
        if not len(held):
            return train, None
        key = repr((HELD_OUT, _room(recipe), held.tolist()))
        if key not in self.splits:
            self.splits[key] = self._examples(recipe, held, HELD_OUT)
        return train, self.splits[key]

    def _examples(self, recipe: Recipe, rows: np.ndarray, split: str) -> Examples:
        """Tokenised rows of the training split, which are used as this split."""
        train = recipe.task["train"]
        table = self._table(recipe, train).take(rows)
        if is_decoder(recipe):
            return self._prompts(recipe, _words(recipe, table, train), split, rows.tolist())
        return self._encoded(recipe, table, rows.tolist())

    def _encoded(
        self, recipe: Recipe, table: pa.Table, rows: Sequence[int] | None = None
    ) -> Encoded:
        tokenizer = self.encoder(recipe).tokenizer
        return encode(table, recipe.task, tokenizer, recipe.training["max_length"], rows)

    def _table(self, recipe: Recipe, name: str) -> pa.Table:
        return pq.read_table(self.layout.source(recipe) / f"{name}.parquet")


def _words(recipe: Recipe, table: pa.Table, split: str) -> list[Words]:
    found = words_of(table, recipe.task, f"{recipe.task['name']}/{split}")
    if split == recipe.task["train"]:  # one person answered a training row
        return [replace(words, run_together=False) for words in found]
    return found


def _warn_without(prompts: Prompts, recipe: Recipe, split: str) -> None:
    """Says that demonstrations do not fit before prompts, which are then answered without any."""
    if without := prompts.demonstrated.count(0):
        log.warning(
            "%s, %s/%s: no demonstration fits before %d of %d prompts, which are answered without; "
            "max_length is %d",
            *(recipe.technique, recipe.task["name"], split, without, len(prompts)),
            recipe.training["max_length"],
        )


def _room(recipe: Recipe) -> list[int]:
    """The settings that limit the tokens of prompts."""
    names = ("max_length", "max_new_tokens", "prefix_tokens")
    return [recipe.training.get(name, 0) for name in names]


def _check_length(recipe: Recipe, config: PreTrainedConfig) -> None:
    length, alias = recipe.training["max_length"], recipe.model["alias"]
    for name in ("max_position_embeddings", "n_positions", "sliding_window"):
        limit = getattr(config, name, None)
        if limit is not None and length > limit:
            raise UserError(
                f"model '{alias}': max_length {length} exceeds its {limit} tokens ({name}); "
                "set a smaller one"
            )

"""What the runs of a pack share: inputs that are what they should be, model, tokenised data."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from beft.data.encoded import Encoded, encode
from beft.data.mirror.lookup import locate
from beft.data.prompts import Prompts, demonstrations, encode_prompts, evaluated_rows
from beft.data.subsets import hold_out, read_subset
from beft.data.tables import check_source, split_checksums
from beft.engine.decoder.check import check_rows
from beft.engine.dispatch import serves
from beft.engine.encoder.flat import first_position
from beft.engine.gradients import measure
from beft.engine.memory import Passes
from beft.engine.precision import lowered
from beft.errors import UserError
from beft.models.decoder import Decoder, load_decoder
from beft.models.encoder import Encoder, init_head, load_encoder
from beft.selectors.inert import inert_terms
from beft.store.files import read_json
from beft.store.run_folder import Run
from beft.store.run_format import Statistic, grouped
from beft.study.layout import Layout
from beft.study.recipe import HELD_OUT, Recipe, kind_of
from beft.tasks.prompts import words_of
from beft.techniques import TECHNIQUES
from beft.training.loop import Data

PROBE_EXAMPLES = 32  # enough to tell a zero gradient from a small one


@dataclass
class Bench:
    """What the runs of a pack share: the frozen model and the tokenised data."""

    layout: Layout
    device: str
    encoders: dict[Any, Encoder | Decoder]
    splits: dict[Any, Encoded | Prompts]

    def model(self, recipe: Recipe) -> Encoder | Decoder:
        """The recipe's model with pretrained weights, loaded once per pack."""
        return self.decoder(recipe) if is_decoder(recipe) else self.encoder(recipe)

    def decoder(self, recipe: Recipe) -> Decoder:
        """In bfloat16 where that is the precision and no weight is trained, else in float32.

        What is measured is measured in float32: rounding would hide which terms are inert.
        """
        technique, training = TECHNIQUES[recipe.technique], recipe.training
        frozen = technique.biases_only or technique.adds or not technique.trains
        frozen &= not technique.measures
        lower = frozen and lowered(self.device, training["precision"])
        key = (training["dropout"], lower)
        if key not in self.encoders:
            self.encoders.clear()  # one large model at a time
            self.encoders[key] = load_decoder(
                locate(self.layout.root, self.layout.model(recipe)),
                sites=recipe.model["sites"],
                device=self.device,
                dropout=training["dropout"],
                dtype=torch.bfloat16 if lower else torch.float32,
                name=recipe.model["alias"],
            )
            check_rows(self.encoders[key], self.device, recipe.model["alias"])
        self._check_length(recipe, self.encoders[key].model.config)
        return self.encoders[key]

    def _check_length(self, recipe: Recipe, config) -> None:
        length, alias = recipe.training["max_length"], recipe.model["alias"]
        for name in ("max_position_embeddings", "n_positions", "sliding_window"):
            limit = getattr(config, name, None)
            if limit is not None and length > limit:
                raise UserError(
                    f"model '{alias}': max_length {length} exceeds its {limit} tokens ({name}); "
                    "set a smaller one"
                )

    def encoder(self, recipe: Recipe) -> Encoder:
        """An encoder with a head for the recipe's task."""
        dropout = recipe.training["dropout"]
        if dropout not in self.encoders:
            alias, length = recipe.model["alias"], recipe.training["max_length"]
            encoder = self.encoders[dropout] = load_encoder(
                locate(self.layout.root, self.layout.model(recipe)),
                len(recipe.task["labels"]) or 1,
                sites=recipe.model["sites"],
                device=self.device,
                dropout=dropout,
                name=alias,
            )
            limit = getattr(encoder.model.config, "max_position_embeddings", length)
            if length > limit - first_position(encoder.model.base_model):
                raise UserError(
                    f"model '{alias}': max_length {length} exceeds its {limit} positions"
                )
        return self.encoders[dropout]

    def split(self, recipe: Recipe, name: str) -> Encoded | Prompts:
        """A tokenised split."""
        if is_decoder(recipe):
            return self._evaluated(recipe, name)
        key = (name, recipe.training["max_length"])
        if key not in self.splits:
            tokenizer = self.encoder(recipe).tokenizer
            self.splits[key] = encode(self._table(recipe, name), recipe.task, tokenizer, key[1])
        return self.splits[key]

    def _evaluated(self, recipe: Recipe, name: str) -> Prompts:
        """The examples of a split that decoders are evaluated on, as prompts."""
        shown = recipe.training.get("demonstrations")
        drawn = (recipe.seed, recipe.subset) if shown else None
        size = recipe.training["evaluated"]
        room = [
            recipe.training.get(k, 0) for k in ("max_length", "max_new_tokens", "prefix_tokens")
        ]
        key = repr((name, room, size, shown, drawn))
        if key not in self.splits:
            words = words_of(
                self._table(recipe, name), recipe.task, f"{recipe.task['name']}/{name}"
            )
            words = [words[i] for i in evaluated_rows(words, size, recipe.task["name"])]
            before = None
            if shown:
                own = self._words(recipe)
                before = demonstrations(own, shown, recipe.seed, len(words))
            self.splits[key] = self._prompts(recipe, words, name, before)
        return self.splits[key]

    def _prompts(self, recipe: Recipe, words: list, split: str, before=None) -> Prompts:
        writes = recipe.task["kind"] == "generation"
        return encode_prompts(
            words,
            self.decoder(recipe).tokenizer,
            recipe.training["max_length"] - recipe.training.get("prefix_tokens", 0),
            room=recipe.training.get("max_new_tokens", 0),
            end="\n" if writes else "",
            answered=not writes or split == recipe.task["train"],
            before=before,
            where=f"{recipe.task['name']}/{split}",
        )

    def _table(self, recipe: Recipe, name: str):
        return pq.read_table(self.layout.source(recipe) / f"{name}.parquet")

    def _words(self, recipe: Recipe) -> list:
        """The run's training subset in words."""
        rows = read_subset(self.layout.source(recipe), recipe, self.layout.subset(recipe))
        name = recipe.task["train"]
        table = self._table(recipe, name).take(rows)
        return words_of(table, recipe.task, f"{recipe.task['name']}/{name}")

    def data(self, recipe: Recipe) -> Data:
        """The run's training subset, and the splits that it is evaluated on.

        What is held out from training comes first, so that it chooses the best epoch.
        """
        train, held = self._subset(recipe)
        splits = {HELD_OUT: held} if held is not None else {}
        return Data(train, splits | {s: self.split(recipe, s) for s in recipe.task["validation"]})

    def _subset(self, recipe: Recipe) -> tuple[Encoded | Prompts, Encoded | Prompts | None]:
        """The examples to train on and those held out, which runs of one seed share."""
        name, training = recipe.task["train"], recipe.training
        rows = read_subset(self.layout.source(recipe), recipe, self.layout.subset(recipe))
        kept, held = hold_out(rows, training.get("held_out", 0.0), recipe.task["name"])
        train = self._examples(recipe, kept, name)
        if not len(held):
            return train, None
        room = [training.get(k, 0) for k in ("max_length", "max_new_tokens", "prefix_tokens")]
        key = repr((HELD_OUT, room, held.tolist()))
        if key not in self.splits:
            self.splits[key] = self._examples(recipe, held, HELD_OUT)
        return train, self.splits[key]

    def _examples(self, recipe: Recipe, rows: np.ndarray, split: str) -> Encoded | Prompts:
        """Tokenised rows of the training split; `split` is what they serve as."""
        table = self._table(recipe, recipe.task["train"]).take(rows)
        if is_decoder(recipe):
            where = f"{recipe.task['name']}/{recipe.task['train']}"
            return self._prompts(recipe, words_of(table, recipe.task, where), split)
        length = recipe.training["max_length"]
        return encode(table, recipe.task, self.encoder(recipe).tokenizer, length)


def is_decoder(recipe: Recipe) -> bool:
    return kind_of(recipe.model) == "decoder"


def current_inputs(layout: Layout, recipe: Recipe) -> dict[str, Any]:
    """SHA-256 of what a run reads: weights and normalised splits.

    Raises:
        UserError: when something is missing or damaged.
    """
    source = layout.source(recipe)
    check_source(source, recipe.task["name"])
    splits = split_checksums(source)
    model = layout.model(recipe)
    if not model.is_file():
        alias = recipe.model["alias"]
        raise UserError(f"{model}: missing; run 'beft fetch --model {alias}' first")
    return {"source": splits, "model": read_json(model)["sha256"]}


def check_inputs(run: Run, inputs: dict[str, Any]) -> None:
    """A run counts only for the very data and weights that are there now."""
    recorded = run.provenance["inputs"]
    for kind, current in inputs.items():
        if recorded[kind] != current:
            what = "weights" if kind == "model" else "data"
            raise UserError(
                f"{run.folder}: trained on other {what} than are here now under the same revision; "
                "restore them, or pin a new revision"
            )


def gradients_file(
    bench: Bench,
    recipe: Recipe,
    encoder: Encoder | Decoder,
    data: Data,
    passes: Passes,
    progress: Callable[[int, int, str], None],
) -> bytes:
    """The file of an untuned run's gradients."""
    total = len(data.train)
    init_head(encoder, seed=0)  # one head for all seeds
    measured = measure(
        encoder,
        data.train,
        bench.device,
        recipe.training["batch_size"],
        serves(encoder, bench.device),
        passes,
        lambda done: progress(done, total, "gradients"),
    )
    tensors: dict[str, torch.Tensor] = {}
    for statistic in get_args(Statistic):
        terms = getattr(measured, statistic)
        tensors |= grouped(statistic, {t: torch.from_numpy(values) for t, values in terms.items()})
    return save(tensors)


def probe_inert(bench: Bench, recipe: Recipe) -> dict[str, str]:
    """Measures which terms are inert, on a few examples, without training."""
    exact = replace(recipe, training={**recipe.training, "precision": "float32"})
    encoder = bench.model(exact)
    data = bench.data(exact).train
    init_head(encoder, seed=0)
    few = data.take(np.arange(min(PROBE_EXAMPLES, len(data))))
    flat = serves(encoder, bench.device)
    measured = measure(encoder, few, bench.device, len(few), flat)
    return inert_terms(measured.mean_abs)

"""What the runs of a pack share: inputs that are what they should be, model, tokenised data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save

from beft.batches import Encoded, encode
from beft.data import check_source, read_subset, split_checksums
from beft.engine import serves
from beft.errors import UserError
from beft.flat import first_position
from beft.gradients import measure
from beft.inert import inert_terms
from beft.mirror import locate
from beft.models import Encoder, init_head, load_encoder
from beft.recipe import Recipe
from beft.store import Layout, read_json
from beft.train import Data

PROBE_EXAMPLES = 32  # enough to tell a zero gradient from a small one


@dataclass
class Bench:
    """What the runs of a pack share: the frozen model and the tokenised data."""

    layout: Layout
    device: str
    encoders: dict[Any, Encoder]
    splits: dict[Any, Encoded]

    def encoder(self, recipe: Recipe) -> Encoder:
        """The recipe's model with pretrained weights, loaded once per pack."""
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

    def split(self, recipe: Recipe, name: str) -> Encoded:
        """A tokenised split."""
        key = (name, recipe.training["max_length"])
        if key not in self.splits:
            table = pq.read_table(self.layout.source(recipe) / f"{name}.parquet")
            tokenizer = self.encoder(recipe).tokenizer
            self.splits[key] = encode(table, recipe.task, tokenizer, key[1])
        return self.splits[key]

    def data(self, recipe: Recipe) -> Data:
        """The run's training subset and validation splits."""
        source = self.layout.source(recipe)
        rows = read_subset(source, recipe, self.layout.subset(recipe))
        table = pq.read_table(source / f"{recipe.task['train']}.parquet").take(rows)
        length = recipe.training["max_length"]
        train = encode(table, recipe.task, self.encoder(recipe).tokenizer, length)
        return Data(train, {s: self.split(recipe, s) for s in recipe.task["validation"]})


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


def check_inputs(folder: Path, inputs: dict[str, Any]) -> None:
    """A run counts only for the very data and weights that are there now."""
    recorded = read_json(folder / "provenance.json")["inputs"]
    for kind, current in inputs.items():
        if recorded[kind] != current:
            raise UserError(
                f"{folder}: trained on other {'weights' if kind == 'model' else 'data'} than are "
                "here now under the same revision; restore them, or pin a new revision"
            )


def gradients_file(
    bench: Bench,
    recipe: Recipe,
    encoder: Encoder,
    data: Data,
    progress: Callable[[int, int, str], None],
) -> bytes:
    """gradients.safetensors of an untuned run: keys `{statistic}/{term}`, see `Gradients`."""
    total = len(data.train)
    measured = measure(
        encoder,
        data.train,
        bench.device,
        recipe.training["batch_size"],
        serves(encoder, bench.device),
        lambda done: progress(done, total, "gradients"),
    )
    tensors = {
        f"{kind}/{term}": torch.from_numpy(values)
        for kind, terms in vars(measured).items()
        for term, values in terms.items()
    }
    return save(tensors)


def probe_inert(bench: Bench, recipe: Recipe) -> dict[str, str]:
    """Measures which terms are inert, on a few examples, without training."""
    encoder = bench.encoder(recipe)
    data = bench.data(recipe).train
    init_head(encoder, recipe.seed)
    few = data.take(np.arange(min(PROBE_EXAMPLES, len(data))))
    flat = serves(encoder, bench.device)
    measured = measure(encoder, few, bench.device, len(few), flat)
    return inert_terms(measured.mean_abs)

"""An encoder's examples as tokens: each split is tokenised once, without padding."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from transformers import PreTrainedTokenizerBase

from beft.data.labelled import Labelled
from beft.errors import UserError
from beft.tasks.words import Plain, check_columns, fields


@dataclass(frozen=True)
class Encoded:
    """Tokenised examples."""

    ids: list[list[int]]  # the token ids of each example, without padding
    types: list[list[int]] | None  # the segment of each token; None if the tokenizer has none
    labels: torch.Tensor  # classes (n,) int64, or values (n,) float32
    weights: torch.Tensor | None = None  # of each example's loss, (n,) float32; None: 1

    def __len__(self) -> int:
        return len(self.ids)

    def length(self, row: int) -> int:
        """The number of tokens of an example."""
        return len(self.ids[row])

    def decide(self, logits: np.ndarray) -> np.ndarray:
        """Turns logits (n, classes) into classes (n,) int64, or logits (n, 1) into values (n,)."""
        return logits[:, 0] if logits.shape[1] == 1 else logits.argmax(axis=1)

    def evaluate(self, predictions: np.ndarray, metrics: Sequence[str]) -> dict[str, float]:
        """Computes each metric as a fraction; NaN if a prediction is not finite."""
        return Labelled(self.labels.numpy()).evaluate(predictions, metrics)

    def columns(self, predictions: np.ndarray, metric: str) -> np.ndarray:
        """What each example adds to the sums of a metric, (n, k); see `beft.tasks.metrics.sums`."""
        return Labelled(self.labels.numpy()).columns(predictions, metric)

    def take(self, rows: np.ndarray) -> "Encoded":
        """Selects examples by their row numbers, in the given order."""
        types = None if self.types is None else [self.types[r] for r in rows]
        places = torch.as_tensor(rows)
        weights = None if self.weights is None else self.weights[places]
        return Encoded([self.ids[r] for r in rows], types, self.labels[places], weights)

    def balanced(self) -> "Encoded":
        """Weights the examples so that all classes that they have count alike, and n in all."""
        _, place, counts = self.labels.unique(return_inverse=True, return_counts=True)
        weights = len(self) / (len(counts) * counts.double())
        return replace(self, weights=weights.float()[place])


def segments(table: pa.Table, text: Sequence[str]) -> list[list[str]]:
    """Builds the texts of each segment from its column or its template with `{columns}`."""
    result = []
    for entry in text:
        names = fields(entry)
        columns = [table[name].to_pylist() for name in names]
        if names != [entry]:
            pieces = re.split(r"\{[^{}]+\}", entry)
            columns = [[_fill(pieces, values) for values in zip(*columns, strict=True)]]
        result.append(columns[0])
    return result


def _fill(pieces: list[str], values: tuple[str, ...]) -> str:
    return "".join(p + v for p, v in zip(pieces, (*values, ""), strict=True))


def check_length(task: Plain, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Checks that an example has room for a token of each text beside the special tokens.

    Raises:
        UserError: it has not, so all examples would be alike.
    """
    texts = len(task["text"])
    special = tokenizer.num_special_tokens_to_add(pair=texts > 1)
    if max_length < special + texts:
        raise UserError(
            f"tasks.{task['name']}: max_length {max_length} leaves no room for words: this model "
            f"puts {special} special tokens around {texts} text{'s' * (texts > 1)}; set "
            f"{special + texts} or more"
        )


def encode(
    table: pa.Table,
    task: Plain,
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    rows: Sequence[int] | None = None,
) -> Encoded:
    """Tokenises a normalised split for the task of a recipe (`Recipe.task`).

    Examples get at most `max_length` tokens; the longer segment is truncated first.

    Args:
        table: the examples.
        task: the task of a recipe.
        tokenizer: the model's.
        max_length: the most tokens of an example.
        rows: the row of each example in its split, for messages. Default: its place in the table.

    Raises:
        UserError: if the table lacks a column, an example has no token, or all would be cut to
            their special tokens.
    """
    check_length(task, tokenizer, max_length)
    columns = [name for entry in task["text"] for name in fields(entry)]
    check_columns(table.column_names, columns, task["name"])
    out = tokenizer(
        *segments(table, task["text"]), truncation=True, max_length=max_length, padding=False
    )
    if [] in out["input_ids"]:
        place = out["input_ids"].index([])
        raise UserError(
            f"{task['name']}: row {place if rows is None else rows[place]}: its text is empty, and "
            "this model puts no token before a text; remove the row"
        )
    dtype = torch.int64 if task["labels"] else torch.float32
    labels = torch.tensor(table[task["label"]].to_pylist(), dtype=dtype)
    return Encoded(out["input_ids"], out.get("token_type_ids"), labels)

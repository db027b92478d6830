"""The files of a finished run that follow from its recipe alone."""

import csv
import io
import json

import torch
from safetensors.torch import save

from beft.models import Encoder
from beft.padded import trained_numbers
from beft.recipe import Recipe
from beft.store import to_json
from beft.techniques import Part
from beft.train import State


def run_files(
    recipe: Recipe, state: State, encoder: Encoder, parts: tuple[Part, ...], train_examples: int
) -> dict[str, bytes]:
    """The files of a finished run that follow from its recipe alone."""
    trained, total = trained_numbers(encoder, parts)
    metric = recipe.task["metric"]
    scores = {}
    for split in recipe.task["validation"]:
        values = {h["epoch"]: h[f"{split}/{metric}"] for h in state.history}
        fine = bool(values) and state.status == "ok"
        scores[split] = {
            "best": values[state.best_epoch] if fine else None,
            "last": values[max(values)] if fine else None,
        }
    metrics = {
        "status": state.status,
        "reason": state.reason,
        "metric": metric,
        "splits": scores,
        "best_epoch": state.best_epoch,
        "epochs": len(state.history),
        "train_examples": train_examples,
        "trainable_params": trained,
        "trainable_percent": 100 * trained / total,
        "encoder_params": total,
    }
    groups: dict[str, dict[str, torch.Tensor]] = {"biases": {}, "head": {}, "predictions": {}}
    for key, tensor in state.tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor.contiguous().clone()
    return {
        "recipe.json": to_json(recipe.to_dict()),
        "metrics.json": to_json(metrics),
        "history.csv": _history_csv(recipe, state),
        **{f"{name}.safetensors": save(tensors) for name, tensors in groups.items()},
    }


def _history_csv(recipe: Recipe, state: State) -> bytes:
    columns = ["epoch", "train_loss"]
    columns += [f"{s}/{recipe.task['metric']}" for s in recipe.task["validation"]]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in state.history:
        writer.writerow({k: "" if v is None else json.dumps(v) for k, v in row.items()})
    return out.getvalue().encode()

"""The files of a finished run that follow from its recipe alone."""

import csv
import io
import json
from typing import Any

import torch
from safetensors.torch import save

from beft.engine.single import trained_numbers
from beft.store.files import to_json
from beft.study.recipe import Recipe
from beft.techniques import Part
from beft.training.loop import State, metrics_of


def run_files(
    recipe: Recipe,
    state: State,
    encoder: Any,
    parts: tuple[Part, ...],
    added: int,
    train_examples: int,
) -> dict[str, bytes]:
    """The files of a finished run that follow from its recipe alone."""
    trained, total = trained_numbers(encoder, parts)
    trained += added
    metric = recipe.task["metric"]
    scores, others = {}, {}
    for split in recipe.task["validation"]:
        fine = bool(state.history) and state.status == "ok"
        scores[split] = _best_and_last(state, f"{split}/{metric}", fine)
        for name in metrics_of(recipe.task)[1:]:
            others.setdefault(split, {})[name] = _best_and_last(state, f"{split}/{name}", fine)
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
    if names := getattr(encoder, "added", ()):
        metrics["added_biases"] = sum(encoder.model.get_parameter(n).numel() for n in names)
    if others:
        metrics["other_metrics"] = others
    groups: dict[str, dict[str, torch.Tensor]]
    groups = {name: {} for name in ("biases", "head", "predictions", "examples")}
    for key, tensor in state.tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor.contiguous().clone()
    return {
        "recipe.json": to_json(recipe.to_dict()),
        "metrics.json": to_json(metrics),
        "history.csv": _history_csv(recipe, state),
        **{f"{name}.safetensors": save(tensors) for name, tensors in groups.items()},
    }


def _best_and_last(state: State, key: str, fine: bool) -> dict[str, float | None]:
    """A metric at the epoch that the reported one chose, and at the last one."""
    if not fine:
        return {"best": None, "last": None}
    values = {h["epoch"]: h[key] for h in state.history}
    return {"best": values[state.best_epoch], "last": values[max(values)]}


def _history_csv(recipe: Recipe, state: State) -> bytes:
    columns = ["epoch", "train_loss"]
    columns += [f"{s}/{m}" for s in recipe.splits() for m in metrics_of(recipe.task)]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    for row in state.history:
        writer.writerow({k: "" if v is None else json.dumps(v) for k, v in row.items()})
    return out.getvalue().encode()

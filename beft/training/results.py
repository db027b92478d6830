"""The files of a finished run that follow from its recipe alone."""

from safetensors.torch import save

from beft.engine.parts import parts_of, trained_numbers
from beft.engine.peft_methods import added_numbers
from beft.models.base import Model
from beft.store import run_format as F
from beft.store.files import to_json
from beft.study.recipe import Recipe, metrics_of
from beft.training.state import State


def run_files(recipe: Recipe, state: State, model: Model, train_examples: int) -> dict[str, bytes]:
    """Name -> content of these files.

    Args:
        model: with pretrained weights.
    """
    trained, total = trained_numbers(model, parts_of(model, recipe))
    trained += added_numbers(model, recipe)
    metric, *others = metrics_of(recipe.task)
    splits = recipe.task["validation"]
    metrics: F.Metrics = {
        "status": state.status,
        "reason": state.reason,
        "metric": metric,
        "splits": {split: _best_and_last(state, split, metric) for split in splits},
        "best_epoch": state.best_epoch,
        "epochs": F.ended_epochs([row["epoch"] for row in state.history]),
        "train_examples": train_examples,
        "trainable_params": trained,
        "trainable_percent": 100 * trained / total,
        "encoder_params": total,
    }
    if model.added:
        counts = (model.model.get_parameter(n).numel() for n in model.added)
        metrics["added_biases"] = sum(counts)
    if others:
        metrics["other_metrics"] = {
            split: {name: _best_and_last(state, split, name) for name in others} for split in splits
        }
    arrays = F.array_files({k: t.contiguous().clone() for k, t in state.tensors.items()})
    return {
        F.RECIPE: to_json(recipe.to_dict()),
        F.METRICS: to_json(metrics),
        F.HISTORY: F.history_csv(recipe.splits(), metrics_of(recipe.task), state.history),
        **{name: save(tensors) for name, tensors in arrays.items()},
    }


def _best_and_last(state: State, split: str, metric: str) -> F.Scores:
    """A metric at the epoch that the reported one chose, and at the last one."""
    if state.status != "ok" or not state.history:
        return {"best": None, "last": None}
    values = {h["epoch"]: h[F.column(split, metric)] for h in state.history}
    return {"best": values[state.best_epoch], "last": values[max(values)]}

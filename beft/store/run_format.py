"""The format of a run folder: names of its files, and the keys and columns in them.

| file | content |
| --- | --- |
| recipe.json | the recipe (`Recipe.to_dict`) |
| metrics.json | how training ended, metrics, sizes (`Metrics`) |
| history.csv | training loss and metrics after each epoch, or after the last one |
| provenance.json | code, inputs, versions, hardware, seconds (`training.provenance`) |
| biases.safetensors | all biases, `{pre,post,epoch-N}/{term}`: (layers, width) |
| head.safetensors | the trained head, `{best,last}/{parameter}`; nothing for decoders |
| predictions.safetensors | `{best,last}/{split}`: one row per example |
| examples.safetensors | what each example adds to the metric, `{best,last}/{split}`: (n, k) |
| gradients.safetensors | of `untuned` runs, `{statistic}/{term}`: (layers, width) |

The folder is written whole, with a checksum of each file (`files.write_folder`).
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NotRequired, TypedDict, TypeVar, get_args

from beft.store.csv_text import to_csv

RECIPE = "recipe.json"
METRICS = "metrics.json"
HISTORY = "history.csv"
PROVENANCE = "provenance.json"
GRADIENTS = "gradients.safetensors"
BIASES, HEAD = "biases.safetensors", "head.safetensors"
PREDICTIONS, EXAMPLES = "predictions.safetensors", "examples.safetensors"

AFTER = "epoch-"  # and its number: the group of a snapshot after an epoch

Part = Literal["biases", "head", "predictions", "examples"]  # files that training fills
Epoch = Literal["best", "last"]
Snapshot = Literal["pre", "post"] | int  # before training, after it, after an epoch
Statistic = Literal["mean_square", "batch_square", "mean_abs"]
Group = Snapshot | Epoch | Statistic

Array = TypeVar("Array")  # numpy's or torch's


class Scores(TypedDict):
    """A metric after the epoch that validation chose, and after the last one; None if undefined."""

    best: float | None
    last: float | None


class Metrics(TypedDict):
    """metrics.json. `splits` holds the reported metric of each validation split."""

    status: Literal["ok", "diverged"]
    reason: str
    metric: str
    splits: dict[str, Scores]
    best_epoch: int
    epochs: int
    train_examples: int
    trainable_params: int
    trainable_percent: float
    encoder_params: int
    added_biases: NotRequired[int]
    other_metrics: NotRequired[dict[str, dict[str, Scores]]]


_NUMBER = (int, float)
# What is read of a file: its keys, and the types of their values.
_READ: dict[str, dict[str, type | tuple[type, ...]]] = {
    METRICS: {
        **{"status": str, "reason": str, "metric": str, "splits": dict, "best_epoch": int},
        **{"epochs": int, "train_examples": int, "trainable_params": int},
        "trainable_percent": _NUMBER,
    },
    PROVENANCE: {
        **{"code": str, "inputs": dict, "versions": dict},
        **{"seconds": _NUMBER, "peak_memory_mb": _NUMBER},
    },
}


def json_flaw(file: str, content: object, splits: Iterable[str] = ()) -> str | None:
    """What metrics.json or provenance.json lacks of what is read of it; None if nothing.

    Args:
        splits: those that metrics.json has to give scores of.
    """
    if not isinstance(content, dict):
        return f"{file} is damaged (it is no object)"
    wrong = [key for key, kind in _READ[file].items() if not isinstance(content.get(key), kind)]
    if file == METRICS and not wrong:
        wrong = [
            f"splits.{name}" for name in splits if not _are_scores(content["splits"].get(name))
        ]
        wrong += ["status"] if content["status"] not in ("ok", "diverged") else []
    return f"{file} is damaged (its '{wrong[0]}' is missing or wrong)" if wrong else None


def _are_scores(value: object) -> bool:
    if not isinstance(value, dict) or not value.keys() >= Scores.__required_keys__:
        return False
    return all(each is None or isinstance(each, _NUMBER) for each in value.values())


def column(split: str, metric: str) -> str:
    """The column of history.csv that holds a metric of a split."""
    return f"{split}/{metric}"


def history_csv(
    splits: Iterable[str], metrics: Sequence[str], rows: Iterable[Mapping[str, float | None]]
) -> bytes:
    """history.csv: one row per evaluation with `epoch`, `train_loss` and each metric's `column`."""
    columns = ["epoch", "train_loss", *(column(s, m) for s in splits for m in metrics)]
    texts = ({k: "" if v is None else json.dumps(v) for k, v in row.items()} for row in rows)
    return to_csv(columns, texts)


def grouped(name: Group, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays by their keys in a file of the run."""
    return {f"{group_name(name)}/{key}": array for key, array in arrays.items()}


def kept(part: Part, name: Snapshot | Epoch, arrays: Mapping[str, Array]) -> dict[str, Array]:
    """Arrays by their keys while a run is trained: those of all its files together."""
    return {f"{part}/{key}": array for key, array in grouped(name, arrays).items()}


def array_files(arrays: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    """The arrays that `kept` named, by file."""
    files: dict[str, dict[str, Array]] = {f"{part}.safetensors": {} for part in get_args(Part)}
    for name, array in arrays.items():
        part, _, key = name.partition("/")
        files[f"{part}.safetensors"][key] = array
    return files


def group_name(name: Group) -> str:
    """The part of a key that names a group: `pre`, `post`, `epoch-3`, `best`, `mean_abs`, ..."""
    return f"{AFTER}{name}" if isinstance(name, int) else name


def ended_epochs(evaluated: Collection[int]) -> int:
    """How many epochs a run had ended when it was last evaluated; 1 where it was not trained.

    Args:
        evaluated: the epochs in its history; one alone where it was evaluated after the last one.
    """
    return max([len(evaluated), *evaluated])


def epochs_of(keys: Iterable[str]) -> list[int]:
    """The epochs whose groups are among these keys, in order."""
    names = {key.partition("/")[0] for key in keys}
    return sorted(int(name.removeprefix(AFTER)) for name in names if name.startswith(AFTER))

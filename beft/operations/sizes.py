"""Estimate the sizes of models and tasks, for plans and for the memory that jobs request."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from beft.data.mirror.lookup import mirrors
from beft.study import params as P
from beft.tasks.words import Plain

CONFIG = {  # size -> its names in the config.json of different architectures
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model", "dim"),
    "vocabulary": ("vocab_size",),
}


@dataclass(frozen=True)
class Shape:
    """The size of a model."""

    parameters: int  # the number of all parameters
    inner: float  # the number of the layers' parameters, with which every token is multiplied
    layers: float  # the number of layers; a fraction where it is estimated
    width: float  # the width of the layers


@dataclass(frozen=True)
class Extent:
    """The size of a task; tokens are means over rows."""

    train: int  # rows of the training split
    validation: int  # rows of all splits that are evaluated
    text: float = 0  # tokens of a training row for an encoder
    evaluated: float = 0  # tokens of a validation row for an encoder
    prompt: float = 0  # tokens of a decoder's prompt
    answers: float = 0  # tokens of all candidates of a prompt; 0 if answers are generated


# Rows: as on the hub. Tokens: means over the first 2,000 rows of each split, with BERT's uncased
# vocabulary, texts of at most 128 tokens, and the prompts of `beft.tasks`. The tokens of qqp, mnli,
# boolq, wsc and drop are guessed from the lengths that their authors report.
EXTENTS = {
    "sst2": Extent(67_349, 872, 13, 25, 25),
    "rte": Extent(2_490, 277, 67, 65, 81),
    "qqp": Extent(363_846, 40_430, 30, 30, 45),
    "qnli": Extent(104_743, 5_463, 49, 51, 64),
    "mnli": Extent(392_702, 19_647, 39, 39, 55),
    "cola": Extent(8_551, 1_043, 12, 12, 24),
    "mrpc": Extent(3_668, 408, 53, 53, 65),
    "stsb": Extent(5_749, 1_500, 28, 31),
    "cb": Extent(250, 56, 78, 84, 105),
    "wic": Extent(5_428, 638, 23, 24, 41),
    "boolq": Extent(9_427, 3_270, 115, 115, 150),
    "wsc": Extent(554, 104, 40, 40, 60),
    "multirc": Extent(27_243, 4_848, 128, 128, 360),
    "copa": Extent(400, 100, prompt=8, answers=11),
    "record": Extent(100_730, 10_000, prompt=225, answers=200),
    "squad": Extent(87_599, 10_570, prompt=180),
    "drop": Extent(77_400, 9_535, prompt=300),
}


def shape(root: Path, model: P.Model) -> Shape | None:
    """The shape of a model, from its definition or its files; None if neither tells its size.

    What config.json does not tell is estimated from the number of parameters. Files that cannot be
    read count as missing; whatever needs them will report them.
    """
    folder = model_folder(root, model)
    total = model.parameters or (_header_parameters(folder) if folder else 0)
    if not total:
        return None
    told = _mapping(folder / "config.json") if folder else {}
    found = {
        key: next((told[n] for n in names if isinstance(told.get(n), int)), None)
        for key, names in CONFIG.items()
    }
    usual = _usual(total)
    width, inner = found["width"] or usual.width, usual.inner
    if found["vocabulary"] and found["width"]:
        inner = max(total - found["vocabulary"] * width, total / 10)
    return Shape(total, inner, found["layers"] or inner / (12 * width**2), width)


def model_folder(root: Path, model: P.Model) -> Path | None:
    """The folder of a model; None if there is none. Its files are not checked."""
    folders = [root / model.path] if model.path is not None else []
    if model.hub is not None:
        folders += [mirror / "models" / model.hub for mirror in mirrors(root)]
    return next((p for p in folders if (p / "config.json").is_file()), None)


def _mapping(path: Path) -> Plain:
    """A JSON file that holds a mapping; an empty one if it cannot be read."""
    with suppress(OSError, ValueError):
        data = json.loads(path.read_bytes())
        return data if isinstance(data, dict) else {}
    return {}


def _header_parameters(folder: Path) -> int:
    """The number of parameters in the headers of safetensors files; 0 if they are unreadable."""
    from safetensors import SafetensorError, safe_open

    total = 0
    with suppress(SafetensorError, OSError):
        for path in sorted(folder.glob("*.safetensors")):
            with safe_open(path, "np") as file:
                names = list(file.keys())
                total += sum(math.prod(file.get_slice(name).get_shape()) for name in names)
        return total
    return 0


@cache
def _usual(parameters: int) -> Shape:
    """The shape of a typical transformer: 40,000 words, and a width that grows as inner^0.4.

    For BERT, RoBERTa, OPT, Llama and GPT-J, `inner` is within 10 % of the true value, and layers x
    width within 20 %.
    """
    inner, width = float(parameters), 0.0
    for _ in range(30):
        width = 0.49 * inner**0.4
        inner = max(parameters - 40_000 * width, parameters / 10)
    return Shape(parameters, inner, inner / (12 * width**2), width)


def extent(source: Path, task: Plain, max_length: int) -> Extent | None:
    """The size of a recipe's task; None if its number of rows is unknown.

    Rows are counted in the fetched dataset, or else taken from `EXTENTS`. Tokens are taken from
    `EXTENTS`, or else estimated as a quarter of the characters in the fetched dataset.

    Args:
        source: the folder of the fetched dataset, which need not exist.
        task: the task of a recipe, `Recipe.task`.
    """
    known = EXTENTS.get(task["name"])
    rows = {
        name: split["rows"]
        for name, split in _mapping(source / "source.json").get("read", {}).items()
    }
    if not rows.keys() >= {task["train"], *task["validation"]}:
        return known and _cut(known, max_length)
    if known is None:
        tokens = _mean_tokens(source / f"{task['train']}.parquet") or max_length
        known = Extent(0, 0, tokens, tokens, tokens)
    validation = sum(rows[split] for split in task["validation"])
    return _cut(replace(known, train=rows[task["train"]], validation=validation), max_length)


def _cut(known: Extent, most: int) -> Extent:
    """The same task with at most so many tokens in a row."""
    tokens = {name: getattr(known, name) for name in ("text", "evaluated", "prompt")}
    return replace(known, **{name: min(count, most) for name, count in tokens.items()})


def _mean_tokens(path: Path) -> float:
    """A quarter of a row's mean bytes of text, from the file's footer; 0 if it is unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(pa.ArrowException, OSError):
        footer = pq.read_metadata(path)
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        texts = [c.total_uncompressed_size for c in columns if c.physical_type == "BYTE_ARRAY"]
        return sum(texts) / 4 / max(footer.num_rows, 1)
    return 0

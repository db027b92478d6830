"""How large models and tasks are, for plans and for what jobs ask for: no number depends on it."""

import json
import math
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from beft.data.mirror.lookup import mirrors
from beft.study import params as P

CONFIG = {  # what architectures call the same thing in config.json
    "layers": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model", "dim"),
    "vocabulary": ("vocab_size",),
}


@dataclass(frozen=True)
class Shape:
    """A model.

    Attributes:
        parameters: all of them.
        inner: those of the layers, which every token is multiplied with.
        layers, width: of the layers.
    """

    parameters: int
    inner: float
    layers: float
    width: float


@dataclass(frozen=True)
class Extent:
    """A task.

    Attributes:
        train, validation: rows; of validation, all splits that are evaluated.
        text, evaluated: tokens that an encoder sees of a training and of a validation row.
        prompt: tokens of a decoder's prompt.
        answers: tokens of all its candidates; none where answers are generated.
    """

    train: int
    validation: int
    text: float = 0
    evaluated: float = 0
    prompt: float = 0
    answers: float = 0


# Rows as on the hub. Tokens: means over the first 2,000 rows of each split with BERT's uncased
# vocabulary, texts cut at 128 tokens, and the project's own prompts; qqp, mnli, boolq, wsc and drop
# are guesses by the lengths that their authors report.
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
    """A model's shape: what its definition says, else its files where they are there.

    None when neither is known. A layout that config.json does not tell is that of a usual model of
    as many parameters. Files that cannot be read count as absent: who needs them will say so.
    """
    folder = model_folder(root, model)
    total = model.parameters or (folder and _header_parameters(folder))
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
    """Where a model lies, unchecked: this is for estimates, and weights are large."""
    if model.path is not None:
        places = [root / model.path]
    else:
        places = [mirror / "models" / model.hub for mirror in mirrors(root)]
    return next((p for p in places if (p / "config.json").is_file()), None)


def _mapping(path: Path) -> dict:
    with suppress(OSError, ValueError):
        data = json.loads(path.read_bytes())
        return data if isinstance(data, dict) else {}
    return {}


def _header_parameters(folder: Path) -> int:
    """The numbers in a checkpoint, by the headers of its safetensors files; 0 if unreadable."""
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
    """The shape of a usual transformer: 40,000 words, and a width that grows as inner^0.4.

    For BERT, RoBERTa, OPT, Llama and GPT-J, `inner` is within 10 % of the real one, layers x width
    within 20 %.
    """
    inner, width = float(parameters), 0.0
    for _ in range(30):
        width = 0.49 * inner**0.4
        inner = max(parameters - 40_000 * width, parameters / 10)
    return Shape(parameters, inner, inner / (12 * width**2), width)


def extent(source: Path, task: dict, max_length: int) -> Extent | None:
    """How large a recipe's task is.

    Rows are those of the fetched source where it is there, else the table's; tokens the table's,
    else a quarter of the characters in the fetched source. None when the rows are not known.

    Args:
        source: the folder of the fetched source, there or not.
        task: as it stands in a recipe.
        max_length: tokens that no row exceeds.
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
    tokens = {name: getattr(known, name) for name in ("text", "evaluated", "prompt")}
    return replace(known, **{name: min(count, most) for name, count in tokens.items()})


def _mean_tokens(path: Path) -> float:
    """A quarter of the bytes of a row's texts, by the file's footer alone; 0 if unreadable."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with suppress(pa.ArrowException, OSError):
        footer = pq.read_metadata(path)
        groups = [footer.row_group(i) for i in range(footer.num_row_groups)]
        columns = [group.column(i) for group in groups for i in range(group.num_columns)]
        texts = [c.total_uncompressed_size for c in columns if c.physical_type == "BYTE_ARRAY"]
        return sum(texts) / 4 / max(footer.num_rows, 1)
    return 0

